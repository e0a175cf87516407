"""Hyperparameters as data: a name, how its text is read, what values it may take.

Used by each algorithm's table. Knows no algorithm. The wording of the refusals is what users of the built-in
algorithms search the web for, so it is kept.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clary_algorithms.container import CustomerError

Value = int | float | str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval of numbers; a bound of None is open to infinity, `low_open` and `high_open` leave the bound out."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether the number lies inside; NaN never does."""
        if math.isnan(value):
            return False
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below

    def __str__(self) -> str:
        left = "(-inf" if self.low is None else f"{'(' if self.low_open else '['}{self.low}"
        right = "+inf)" if self.high is None else f"{self.high}{')' if self.high_open else ']'}"
        return f"{left}, {right}"


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One row of an algorithm's table.

    `parse` reads the text and raises ValueError; `holds` says whether the value is allowed, and `allowed` describes
    that in words. `default` is the value that is in force when the caller sends none; None where there is none, or
    where it depends on the data.
    """

    name: str
    parse: Callable[[str], Value]
    holds: Callable[[Value], bool]
    allowed: str
    default: Value | None = None
    required: bool = False


def integer(name: str, interval: Interval, *, default: int | None = None, required: bool = False) -> Hyperparameter:
    """A whole number; `5.0` is refused, as in the built-in algorithms."""
    return _number(name, int, interval, default, required=required)


def continuous(name: str, interval: Interval, *, default: float | None = None) -> Hyperparameter:
    """A decimal number."""
    return _number(name, float, interval, default, required=False)


def _number(
    name: str, parse: Callable[[str], Value], interval: Interval, default: Value | None, *, required: bool
) -> Hyperparameter:
    def holds(value: Value) -> bool:
        return isinstance(value, int | float) and interval.holds(value)

    return Hyperparameter(
        name=name, parse=parse, holds=holds, allowed=str(interval), default=default, required=required
    )


def categorical(name: str, choices: Sequence[str], *, default: str | None = None) -> Hyperparameter:
    """One word of several, in exactly this spelling."""
    return Hyperparameter(
        name=name, parse=str, holds=lambda value: value in choices, allowed=str(list(choices)), default=default
    )


def comma_list(name: str, holds: Callable[[str], bool], allowed: str) -> Hyperparameter:
    """A list of words between commas; blanks around a word do not count."""

    def parse(text: str) -> Value:
        return tuple(word.strip() for word in text.split(","))

    def all_hold(value: Value) -> bool:
        return isinstance(value, tuple) and all(holds(word) for word in value)

    return Hyperparameter(name=name, parse=parse, holds=all_hold, allowed=allowed)


def validate(table: Sequence[Hyperparameter], aliases: Mapping[str, str], given: Mapping[str, str]) -> dict[str, Value]:
    """Read and check what the caller sent; the answer holds those values only, under their chief names.

    Raises `CustomerError` for a name that the table lacks, a missing required one, a text that cannot be read and a
    value that is not allowed.
    """
    rows = {row.name: row for row in table}
    sent = {aliases.get(name, name): unquote(text) for name, text in given.items()}
    _refuse_unknown(sorted(set(sent) - set(rows)))
    for row in table:
        if row.required and row.name not in sent:
            raise CustomerError(f"Missing required hyperparameter: {row.name}")
    values: dict[str, Value] = {}
    for name, text in sent.items():
        try:
            value = rows[name].parse(text)
        except (ValueError, SyntaxError):
            raise CustomerError(f"Hyperparameter {name}: could not parse value {text!r}") from None
        if not rows[name].holds(value):
            shown = ",".join(value) if isinstance(value, tuple) else value
            raise CustomerError(f"Hyperparameter {name}: {shown} is not in {rows[name].allowed}")
        values[name] = value
    return values


def unquote(text: str) -> str:
    """Undo the JSON encoding of a string, which the framework SDK puts around every value it sends."""
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _refuse_unknown(names: Sequence[str]) -> None:
    if names:
        quoted = ", ".join(f"'{name}'" for name in names)
        verb = "was" if len(names) == 1 else "were"
        raise CustomerError(
            f"Extraneous hyperparameter found: {', '.join(names)}. "
            f"Additional properties are not allowed ({quoted} {verb} unexpected)"
        )
