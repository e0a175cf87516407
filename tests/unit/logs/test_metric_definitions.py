"""Metric definitions on lines of a log."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.base.clock import Instant
from clary.logs import metric_definitions
from clary.logs.backtracking import nests_repetitions
from clary.logs.metric_definitions import MAX_BACKTRACKED_CHARACTERS, MetricMatcher, MetricValue, validate

NOW = Instant(1_700_000_000_000)
XGBOOST = r".*\[[0-9]+\].*#011validation-rmse:([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?).*"


def values(regex: str, *lines: str) -> list[float]:
    return [found.value for found in MetricMatcher([("m", regex)]).feed([line.encode() for line in lines], NOW)]


@pytest.mark.parametrize(
    ("regex", "line", "expected"),
    [
        (XGBOOST, "[10]#011train-rmse:0.39#011validation-rmse:0.41", [0.4099999964237213]),
        (r"loss=(\S+)", "step 3 loss=1.19876 loss=2", [1.1987600326538086]),
        (r"lr: ([0-9.]+)", "lr: 2.38e-06", [2.380000114440918]),
        (r"lr: ([0-9.e-]+)", "lr: 2.38e-06", [2.3800000690243905e-06]),
        (r"loss=(\S+)", "loss=nan", []),
        (r"loss=(\S+)", "loss=inf", []),
        (r"loss=(\S+)", "loss=1e39", []),
        (r"loss=(\S+)", "loss=1_0", []),
        (r"loss=(\S+)", "loss=low", []),
        (r"loss=(\d+)|acc=(\d+)", "acc=5", []),
        (r"loss=\d+", "loss=5", []),
        (r"(?<=val )loss=(\d+)", "val loss=5", [5.0]),
        (r"(?<=val )loss=(\d+)", "train loss=5", []),
        (r"(a|b)\1=(\d)", "aa=1", []),
        (r"^loss (\d+)$", "loss 7", [7.0]),
        (r"\Aloss (\d+)\Z", "loss 7", [7.0]),
        (r"é+ (\d)", "ééé 4", [4.0]),
        (r"^.{3} (\d)", "日本語 4", [4.0]),
        (r"x{,2}y(\d)", "y3", [3.0]),
        (r"[[:digit:]]+ ([0-9])", "d] 3", [3.0]),
        (r"(?u)\w+ (\d)", "é 3", [3.0]),
    ],
)
def test_a_value_is_group_1_of_the_first_match_in_32_bits(regex, line, expected):
    """Each row is a regex, a line, and the values."""

    assert expected == values(regex, line)


def test_values_come_by_line_then_by_definition_and_names_may_repeat():
    """Definitions that only Python can search stand in their place among the others."""
    matcher = MetricMatcher([("b", r"x(?!y)=(\d)"), ("a", r"x=(\d)"), ("b", r"(?<=x)=(\d)"), ("a", r"=(\d)")])

    assert [MetricValue(name, value, NOW) for value in (1.0, 2.0) for name in "baba"] == matcher.feed(
        [b"x=1", b"nothing", b"x=2"], NOW
    )


def test_no_definitions_find_nothing():
    """A job without metric definitions costs nothing."""

    assert MetricMatcher([]).feed([b"x=1"], NOW) == []


def test_more_than_re2_takes_at_once_is_still_searched(monkeypatch):
    """A set that RE2 refuses for its size gives way to one definition after the other."""
    monkeypatch.setattr(metric_definitions, "_MEMORY_BYTES", 1 << 20)
    matcher = MetricMatcher([(f"m{n}", rf"(?:[a-z]{{1,20}}{n}.*){{1,10}} x=(\d)") for n in range(40)])

    assert matcher._set is None
    assert matcher._filtered
    assert [MetricValue("m7", 5.0, NOW)] == matcher.feed([b"abc7 x=5"], NOW)


def test_a_pattern_that_holds_up_python_is_searched_by_re2():
    """Nested repetitions on a line where Python's engine would need years before it comes to the match."""

    assert values(r"(?:a+)+b=(\d)", "a" * 5000 + "c ab=7") == [7.0]
    assert values(r"(?:a+)+b=(\d)", "a" * 60 + "c ab=7") == [7.0]


def test_only_the_head_of_a_line_is_searched_with_back_tracking():
    """That bounds what a regex with look-around costs on an overlong line; others see the whole line."""
    line = " " * MAX_BACKTRACKED_CHARACTERS + "x=1"

    assert values(r"(?<= )x=(\d)", line) == []
    assert values(r" x=(\d)", line) == [1.0]


@pytest.mark.parametrize("regex", [XGBOOST, r"loss=(\d+)", r"(?<=val )(\d+)", r"(?:a+)+b(\d)", r"\d", r"(?u)(\w)"])
def test_usable_regexes_are_accepted(regex):
    """Also one without a group, and one that Python alone would be slow at."""

    assert validate(regex) is None


@pytest.mark.parametrize("regex", [r"(", r"loss=(\d+", r"*", r"\pL", r"(?L)x", r"x{2}{3}", r"(?<=a+)x"])
def test_what_does_not_compile_is_refused_with_the_reason(regex):
    """The text goes into the answer to CreateTrainingJob."""

    assert "not a valid regular expression" in (validate(regex) or "")


@pytest.mark.parametrize("regex", [r"(?=x)(a+)+b", r"(a*)*\1", r"(?:(?:a|b+)c?)*(?!d)", r"(?<!x)(?:\w+\s?)*:"])
def test_nested_repetitions_that_re2_cannot_search_are_refused(regex):
    """They could stall the log of the job for ever."""

    assert "exponential" in (validate(regex) or "")


def test_repetitions_side_by_side_or_never_taken_back_do_not_nest():
    """Only a repetition within a repetition counts."""

    assert not nests_repetitions(r"(?=.*a).*b+(\d+)(?:ab){1,3}(x+)?")
    assert not nests_repetitions(r"(?>a+)+b")
    assert nests_repetitions(r"(?>(?:a+)+b)")
    assert nests_repetitions(r"(a)?(?(1)(?:b+)*|c)")


ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "1",
        " ",
        "=",
        "é",
        ".",
        r"\d",
        r"\w",
        r"\S",
        r"\s",
        r"\b",
        "[ab1]",
        "[^a]",
        "^",
        "$",
        r"#011",
        r"\.",
        "(?:)",
    ]
)
REGEXES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{1,2}", "{,2}", "{2}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        inner.map(lambda one: f"(?i:{one})"),
        inner.map(lambda one: f"(?={one})"),
    ),
    max_leaves=6,
)
LINES = st.lists(st.text("ab1 =.é#0AB", min_size=1, max_size=12), max_size=6)


@settings(deadline=None)
@given(st.lists(REGEXES, min_size=1, max_size=4), LINES)
def test_the_fast_way_finds_what_python_alone_would_find(regexes, lines):
    """Any regex, around a group for the number, gives the values of a plain search in each line."""
    regexes = [rf"{regex}.*?(\d)" for regex in regexes]
    plain = []
    for line in lines:
        for place, regex in enumerate(regexes):
            found = re.search(regex, line, re.ASCII)
            if found:
                plain.append(MetricValue(str(place), float(found[1]), NOW))
    matcher = MetricMatcher([(str(place), regex) for place, regex in enumerate(regexes)])

    assert plain == matcher.feed([line.encode() for line in lines], NOW)
