r"""Metric definitions: a name and a regular expression that is searched in each line of the log.

Called by the instance with the messages that it stores (control characters are escaped by then, which is what AWS's own
regexes expect), and by the service to refuse a definition when a job is created. What becomes of the values is theirs.

- Capture group 1 is the value. What is no finite number is ignored, as is a line whose group 1 took no part in the
  match (inferred). The first match of a line counts (inferred). A regex without a group is accepted and yields nothing:
  that is a definition that never matches (inferred).
- Values are rounded to 32 bits, as Describe shows them (observed).
- Python's syntax; `\d`, `\w`, `\s`, `\b` and `(?i)` know ASCII only, unless the regex says `(?u)` (inferred).

How it is fast: one RE2 set of all definitions passes over each line and says which of them match; Python's `re`, quick
where there is a match, then finds the value. Where a regex nests repetitions, or the line is long, RE2 finds it: it is
slower to call, but its time is linear in the line. A regex that RE2 lacks (look-around, back-references) is searched by
`re` alone, in the first MAX_BACKTRACKED_CHARACTERS of each line; `validate` refuses it if it nests repetitions too. What
remains is that a contrived one, such as `(?=.)(a|a)*b`, can still stall the shipping of its own job's log.
"""

import math
import re
import struct
import warnings
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import msgspec
import re2

from clary.base.clock import Instant
from clary.logs.backtracking import nests_repetitions

MAX_BACKTRACKED_CHARACTERS = 4096

_MEMORY_BYTES = 64 * 1024 * 1024
_PROBE = "^$"  # no message is empty, so this costs nothing; it tells whether a set can search at all
_FLOAT32 = struct.Struct("f")


class MetricValue(msgspec.Struct, frozen=True, gc=False):
    """A value that a line yielded, and when the line was read."""

    name: str
    value: float
    timestamp: Instant


def validate(regex: str) -> str | None:
    """Why a regex cannot be used, in words for the caller of CreateTrainingJob; None if it can."""
    try:
        _compile(regex)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        return f"not a valid regular expression: {error}"
    if _compile_linear(regex) is None and _nests(regex):
        return (
            "has a repetition within a repetition, together with look-around, a back-reference or the like; "
            "searching for it can take exponential time"
        )
    return None


class MetricMatcher:
    """Finds the values of metric definitions, (name, regex) in the order of the request, in log messages.

    Raises re.error or ValueError for a regex that `validate` would have called invalid.
    """

    def __init__(self, definitions: Sequence[tuple[str, str]]) -> None:
        every = [_Definition(order, name, regex) for order, (name, regex) in enumerate(definitions)]
        self._always = [each for each in every if each.pattern.groups and each.linear is None]
        self._filtered = [each for each in every if each.pattern.groups and each.linear is not None]
        self._set = _set_of(self._filtered)
        if self._set is None:
            self._always = sorted(self._always + self._filtered, key=_order)

    def feed(self, messages: Sequence[bytes], timestamp: Instant) -> list[MetricValue]:
        """The values in messages of `LineSplitter` read at that time, by message, then in the order of definitions."""
        found: list[MetricValue] = []
        filtered, always = self._filtered, self._always
        for message, hits in zip(messages, self._hits(messages), strict=False):
            if hits or always:
                text = message.decode()
                for definition in sorted([filtered[hit] for hit in hits or ()] + always, key=_order):
                    value = definition.value(message, text)
                    if value is not None:
                        found.append(MetricValue(definition.name, value, timestamp))
        return found

    def _hits(self, messages: Sequence[bytes]) -> Iterable[Sequence[int] | None]:
        """For each message the places in `_filtered` of those that match it."""
        return repeat(None) if self._set is None else map(self._set.Match, messages)


class _Definition:
    """A definition, compiled for both engines; `linear` is None where RE2 lacks what the regex uses."""

    def __init__(self, order: int, name: str, regex: str) -> None:
        self.order = order
        self.name = name
        self.regex = regex
        self.pattern = _compile(regex)
        self.linear = _compile_linear(regex)
        self._nests = _nests(regex)

    def value(self, message: bytes, text: str) -> float | None:
        """The value in a message, which is given in both forms."""
        if self.linear is not None and (self._nests or len(text) > MAX_BACKTRACKED_CHARACTERS):
            match = self.linear.search(message)
            group = match and match[1]
            return _number(group.decode()) if group else None
        found = self.pattern.search(text, 0, MAX_BACKTRACKED_CHARACTERS)
        return _number(found[1]) if found and found[1] else None


def _order(definition: _Definition) -> int:
    return definition.order


def _number(text: str) -> float | None:
    if "_" in text:  # 1_000 is a number to Python alone
        return None
    try:
        value: float = _FLOAT32.unpack(_FLOAT32.pack(float(text)))[0]
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _compile(regex: str) -> re.Pattern[str]:
    with warnings.catch_warnings(action="ignore"):  # of what another version of Python may understand otherwise
        try:
            return re.compile(regex, re.ASCII)
        except ValueError:  # it says (?u)
            return re.compile(regex)


def _nests(regex: str) -> bool:
    with warnings.catch_warnings(action="ignore"):
        return nests_repetitions(regex)


def _compile_linear(regex: str) -> Any | None:
    """The regex for RE2, or None if RE2 lacks something or means something else by it."""
    if "{," in regex or "[:" in regex:
        return None
    try:
        return re2.compile(regex, _options())
    except (re2.error, UnicodeEncodeError):
        return None


def _set_of(definitions: Sequence[_Definition]) -> Any | None:
    """One RE2 set of all these; None if there are none, or they are more than RE2 takes at once."""
    if not definitions:
        return None
    patterns = re2.Set.SearchSet(_options())
    try:
        for definition in definitions:
            patterns.Add(definition.regex)
        patterns.Add(_PROBE)
        patterns.Compile()
    except re2.error:
        return None
    return patterns if patterns.Match(b"") else None


def _options() -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return options
