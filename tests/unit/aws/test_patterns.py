"""Java's patterns as they stand in the service models."""

import re
import time

import pytest

from clary.aws.model import ServiceModel
from clary.aws.patterns import compile_pattern


@pytest.mark.parametrize("service", ["sagemaker", "logs", "sts", "monitoring", "iam"])
def test_every_pattern_of_every_model_runs(service):
    """No shape of a model that is served, or soon will be, has a pattern that no engine reads."""
    model = ServiceModel(service)
    patterns = {model.shape(name).metadata.get("pattern") for name in model.shape_names()} - {None}
    assert patterns
    for pattern in patterns:
        compile_pattern(pattern).matches("x")


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", "a-b--c", True),
        (r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", "a-", False),
        (r"^abc$", "abc", True),
        (r"^abc$", "abc\n", False),
        (r"a|bc", "ab", False),
        (r".*", "any text", True),
        (r".*", "two\nlines", False),
        (r".*", "two\rlines", False),
        (r"[\S\s]*", "two\nlines", True),
        (r"\d+", "٣", False),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Prénom 日本", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "a;b", False),
        (r"arn:[\p{Alnum}\-]+", "arn:aws-cn", True),
        (r"[\w-_]*", "a-_", True),
        (r"(?!\s*$).+", "  ", False),
        (r"(?!\s*$).+", " a", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "a\t😀", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "a\n", False),
    ],
)
def test_they_match_as_in_java(pattern, text, matches):
    """Full match, ASCII classes, Unicode properties, look-ahead, surrogate pairs."""
    assert compile_pattern(pattern).matches(text) is matches


def test_what_no_engine_reads_is_an_error():
    """A broken pattern is a fault of the model, seen by its name."""
    with pytest.raises(re.error):
        compile_pattern("[")


def test_a_pattern_made_to_explode_does_not():
    """Nested repetitions, which take Python's engine exponential time, take linear time here."""
    pattern = compile_pattern("(a*)*b")
    assert pattern.is_linear
    begin = time.monotonic()
    assert not pattern.matches("a" * 100_000)
    assert time.monotonic() - begin < 5


def test_look_ahead_is_marked_as_not_linear():
    """The validator keeps such patterns from texts that are too long."""
    assert not compile_pattern(r"(?!\s*$).+").is_linear
