r"""Patterns of the service models, which are Java's, as matchers that any caller's text may meet.

RE2 runs them in linear time, knows `\p{L}` and reads `\d`, `\s`, `\w` as Java does. What it lacks (look-ahead, repetition
over 1000) runs on Python's `re`, which can take exponential time; `is_linear` tells the validator to keep such matchers
from values that are too long anyway.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import re2

_SURROGATE_PAIRS = r"\uD800\uDC00-\uDBFF\uDFFF"
_ESCAPED_UNIT = re.compile(r"\\u([0-9A-Fa-f]{4})")
_CLASS_THEN_DASH = re.compile(r"(\\[wds])-(?=[^\]])")


class Pattern(NamedTuple):
    """`matches` says whether the whole text obeys; `is_linear` whether its time is bounded by the text's length."""

    matches: Callable[[str], bool]
    is_linear: bool


def compile_pattern(pattern: str) -> Pattern:
    """The matcher of a model's pattern. Raises `re.error` when it can be run on neither engine."""
    if pattern == ".*":
        return Pattern(_one_line, is_linear=True)
    options = re2.Options()
    options.log_errors = False
    one = re2.Set.FullMatchSet(options)  # a set of one: it answers yes or no six times faster than a match object
    try:
        one.Add(_for_re2(pattern))
    except re2.error:
        slow = re.compile(_CLASS_THEN_DASH.sub(r"\1\\-", pattern), re.ASCII).fullmatch
        return Pattern(lambda text: slow(text) is not None, is_linear=False)
    one.Compile()
    return Pattern(lambda text: bool(one.Match(text)), is_linear=True)


def _one_line(text: str) -> bool:
    return "\n" not in text and "\r" not in text  # Java's dot matches no line terminator


def _for_re2(pattern: str) -> str:
    pattern = pattern.replace(_SURROGATE_PAIRS, r"\x{10000}-\x{10FFFF}")
    pattern = _ESCAPED_UNIT.sub(r"\\x{\1}", pattern)
    pattern = pattern.replace(r"\p{Alnum}", "a-zA-Z0-9")
    return _CLASS_THEN_DASH.sub(r"\1\\-", pattern)
