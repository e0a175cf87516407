"""Numbers and times as search filters compare them: every comparison is "the value lies in this span".

Used by `search`, which decides what is compared, and by stores that turn a span into bounds of an index. Pure.

What equals a filter's value is an interval of its own: an integer stands for all decimals that are cut to it, a time in
whole seconds for its thousand milliseconds. The other operators begin or end where that interval does, so that of
"less", "equal" and "greater" exactly one is true. Source: API model, Filter (the rule on decimals for hyperparameters;
the one on seconds is inferred from it).
"""

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

Number = int | float | Decimal

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class Operator(StrEnum):
    """How a filter compares. Source: API model, Operator."""

    EQUALS = "Equals"
    NOT_EQUALS = "NotEquals"
    GREATER_THAN = "GreaterThan"
    GREATER_THAN_OR_EQUAL_TO = "GreaterThanOrEqualTo"
    LESS_THAN = "LessThan"
    LESS_THAN_OR_EQUAL_TO = "LessThanOrEqualTo"
    CONTAINS = "Contains"
    EXISTS = "Exists"
    NOT_EXISTS = "NotExists"
    IN = "In"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers between two ends; None is no end, and an open end does not belong to the span."""

    low: Number | None = None
    high: Number | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: Number) -> bool:
        """Whether the value lies in the span; exact, whatever the types are."""
        if self.low is not None and not (value > self.low if self.low_open else value >= self.low):
            return False
        return self.high is None or (value < self.high if self.high_open else value <= self.high)

    def __and__(self, other: "Span") -> "Span":
        """What lies in both spans."""
        first, second = self, other
        if second.low is None or (
            first.low is not None and (first.low, first.low_open) > (second.low, second.low_open)
        ):
            first, second = second, first
        low, low_open = second.low, second.low_open
        if second.high is None or (
            first.high is not None and (first.high, not first.high_open) < (second.high, not second.high_open)
        ):
            first, second = second, first
        return Span(low=low, low_open=low_open, high=second.high, high_open=second.high_open)

    def compared(self, operator: Operator) -> "Span":
        """What an ordering operator asks for, if this span is what equals the filter's value."""
        match operator:
            case Operator.GREATER_THAN:
                return Span(low=self.high, low_open=not self.high_open)
            case Operator.GREATER_THAN_OR_EQUAL_TO:
                return Span(low=self.low, low_open=self.low_open)
            case Operator.LESS_THAN:
                return Span(high=self.low, high_open=not self.low_open)
            case Operator.LESS_THAN_OR_EQUAL_TO:
                return Span(high=self.high, high_open=self.high_open)
            case _:
                return self


def decimal(text: str) -> Decimal | None:
    """The number that the text spells, of a size that a double can have; None if it spells none."""
    if not _DECIMAL.fullmatch(text) or math.isinf(float(text)):
        return None
    return Decimal(text)


def number_span(value: str) -> Span | None:
    """What equals a filter's value among numbers. None if the value is no number."""
    if decimal(value) is None:
        return None
    number = int(value) if _INTEGER.fullmatch(value) else float(value)
    return Span(low=number, high=number)


def cut_number_span(value: str) -> Span | None:
    """What equals a filter's value among hyperparameters: to an integer, decimals are cut. None if it is no number."""
    exact = decimal(value)
    if exact is None or not _INTEGER.fullmatch(value):
        return None if exact is None else Span(low=exact, high=exact)
    whole = int(value)
    return Span(
        low=whole if whole > 0 else whole - 1,
        low_open=whole <= 0,
        high=whole if whole < 0 else whole + 1,
        high_open=whole >= 0,
    )


def time_span(value: str) -> Span | None:
    """What equals a filter's value among instants (milliseconds since the epoch). None if the value is no time.

    The form is YYYY-mm-ddTHH:MM:SS, in UTC; fractions of a second and an offset are understood too (inferred).
    """
    if not _TIME.fullmatch(value):
        return None
    try:
        time = datetime.fromisoformat(value)
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    except (ValueError, OverflowError):
        return None
    ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return Span(low=ms, high=ms) if "." in value else Span(low=ms, high=ms + 1000, high_open=True)
