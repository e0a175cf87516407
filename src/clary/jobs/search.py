"""What a search asks of training jobs, and whether a job answers to it: the meaning of SearchExpression, pure.

`clary.service.search_expression` makes these from a request; stores answer by them, and however a store finds jobs,
`matches` and `sort_key` are its judge. A job is judged by its *record*: what Describe shows of it, with its Tags.

A property that goes through a list has several values: a filter is satisfied when one of them satisfies it (inferred);
NotEquals when there are values and none equals (inferred). Letter case matters (inferred).
Source: API model, SearchExpression, Filter and NestedFilters.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from clary.jobs.model import TrainingJob
from clary.jobs.search_spans import Operator, Span, cut_number_span, decimal, number_span, time_span

Record = Mapping[str, Any]
ToRecord = Callable[[TrainingJob], Record]

SORT_TEXT_MAX = 200
"""Texts are sorted by so many characters, see `cut_text`."""

NUMBERS, TEXTS, LACKING = 0, 1, 2
"""The ranks of sort keys: numbers (times, booleans) come before texts, and jobs that lack the property come last in
either order (inferred)."""


class InvalidSearch(Exception):
    """A filter that means nothing. The text is for the caller."""


class Kind(StrEnum):
    """What the values of a property are. A hyperparameter is a text, and a number too if it spells one."""

    TEXT = "text"
    HYPER_PARAMETER = "hyperparameter"
    NUMBER = "number"
    TIME = "timestamp"
    BOOLEAN = "Boolean"
    GROUP = "structure"


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """A property by its name in a request. `path` leads to it through a record; what is named freely is one step."""

    name: str
    path: tuple[str, ...]
    kind: Kind


class OneOf(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The text is one of these."""

    texts: tuple[str, ...]


class Holds(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The text has this in it."""

    text: str


class Lies(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The number, time or Boolean (0 or 1) lies in this span."""

    span: Span


Test = OneOf | Holds | Lies


class Mode(StrEnum):
    """What the tests of a condition say about its property."""

    ANY = "any"  # one value passes one test
    NONE = "none"  # there are values, and none passes a test
    PRESENT = "present"
    ABSENT = "absent"


class Condition(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One filter."""

    property: Property
    mode: Mode
    tests: tuple[Test, ...] = ()


class Both(msgspec.Struct, frozen=True, kw_only=True, tag="And"):
    """All parts are satisfied."""

    parts: tuple["Expression", ...]


class Either(msgspec.Struct, frozen=True, kw_only=True, tag="Or"):
    """One part is satisfied."""

    parts: tuple["Expression", ...]


class OneElement(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One element of the list at `path` satisfies all conditions, whose properties lie below that path."""

    path: tuple[str, ...]
    conditions: tuple[Condition, ...]


Expression = Condition | Both | Either | OneElement


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs (None: all), in which order."""

    sort_by: Property
    expression: Expression | None = None
    descending: bool = True


def condition(wanted: Property, operator: Operator | None, value: str | None) -> Condition:
    """A filter's meaning. Without operator: Equals if there is a value, else Exists. Raises `InvalidSearch` (inferred)."""
    operator = operator or (Operator.EXISTS if value is None else Operator.EQUALS)
    if operator in {Operator.EXISTS, Operator.NOT_EXISTS}:
        if value is not None:
            raise InvalidSearch(f"The operator {operator} on {wanted.name} does not take a value.")
        return Condition(property=wanted, mode=Mode.PRESENT if operator is Operator.EXISTS else Mode.ABSENT)
    if value is None:
        raise InvalidSearch(f"The operator {operator} on {wanted.name} needs a value.")
    mode = Mode.NONE if operator is Operator.NOT_EQUALS else Mode.ANY
    return Condition(property=wanted, mode=mode, tests=_tests(wanted, operator, value))


def matches(expression: Expression | None, record: Record) -> bool:
    """Whether the job of that record satisfies the expression."""
    match expression:
        case None:
            return True
        case Both(parts=parts):
            return all(matches(part, record) for part in parts)
        case Either(parts=parts):
            return any(matches(part, record) for part in parts)
        case OneElement(path=path, conditions=conditions):
            return any(all(_satisfied(c, alone) for c in conditions) for alone in _elements(record, path))
        case _:
            return _satisfied(expression, record)


def sort_key(wanted: Property, record: Record) -> tuple[int, str | int | float]:
    """What a job is sorted by: a rank and, for comparison within the rank, a value; by the first of several values."""
    value = next(values(record, wanted.path), None)
    if value is None or wanted.kind is Kind.GROUP:
        return LACKING, 0
    match wanted.kind:
        case Kind.TEXT:
            return TEXTS, cut_text(value)
        case Kind.HYPER_PARAMETER:
            number = decimal(value)
            return (TEXTS, cut_text(value)) if number is None else (NUMBERS, float(number))
        case _:
            comparable = _comparable(wanted.kind, value)
            return (LACKING, 0) if comparable is None else (NUMBERS, comparable)


def cut_text(text: str) -> str:
    """As much of a text as it is sorted by: SORT_TEXT_MAX characters, or what stands before a NUL."""
    return text.partition("\0")[0][:SORT_TEXT_MAX]


def values(record: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """All that stands at a path, through lists; nothing where there is nothing."""
    if isinstance(record, list | tuple):
        for element in record:
            yield from values(element, path)
    elif not path:
        if record is not None and record != {}:
            yield record
    elif isinstance(record, Mapping):
        if len(path) == 2 and path[0] in _LISTED:
            source, key, value = _LISTED[path[0]]
            yield from (pair[value] for pair in record.get(source, ()) if pair[key] == path[1])
        elif path == ("Metrics",):
            yield from values(record.get("FinalMetricDataList"), ())
        else:
            yield from values(record.get(path[0]), path[1:])


_LISTED = {"Tags": ("Tags", "Key", "Value"), "Metrics": ("FinalMetricDataList", "MetricName", "Value")}
"""Families of properties that a record holds as a list: its name, and which members name and are the property."""


def _tests(wanted: Property, operator: Operator, value: str) -> tuple[Test, ...]:
    kind = wanted.kind
    equality = operator in {Operator.EQUALS, Operator.NOT_EQUALS}
    if kind in {Kind.TEXT, Kind.HYPER_PARAMETER}:
        if operator is Operator.CONTAINS:
            return (Holds(text=value),)
        items = value.split(",") if operator is Operator.IN else [value]
        if kind is Kind.TEXT:
            if equality or operator is Operator.IN:
                return (OneOf(texts=tuple(items)),)
            raise InvalidSearch(f"The operator {operator} is not supported for the text property {wanted.name}.")
        spans = [cut_number_span(item) for item in items]
        if not equality and operator is not Operator.IN and None in spans:
            raise InvalidSearch(f"The operator {operator} on {wanted.name} is not supported for text: '{value}'.")
        return tuple(
            OneOf(texts=(item,)) if span is None else Lies(span=span.compared(operator))
            for item, span in zip(items, spans, strict=True)
        )
    if kind is Kind.GROUP:
        raise InvalidSearch(f"{wanted.name} is no single value: name a property in it, or use Exists or NotExists.")
    if operator in {Operator.CONTAINS, Operator.IN}:
        raise InvalidSearch(f"The operator {operator} is only supported for text properties, not for {wanted.name}.")
    if kind is Kind.BOOLEAN and not equality:
        raise InvalidSearch(f"The operator {operator} is not supported for the Boolean property {wanted.name}.")
    span, form = _SPANS[kind]
    found = span(value)
    if found is None:
        raise InvalidSearch(f"The value of a filter on the {kind} property {wanted.name} must be {form}.")
    return (Lies(span=found.compared(operator)),)


def _boolean_span(value: str) -> Span | None:
    number = {"true": 1, "false": 0}.get(value.lower())
    return None if number is None else Span(low=number, high=number)


_SPANS: dict[Kind, tuple[Callable[[str], Span | None], str]] = {
    Kind.NUMBER: (number_span, "an integer or floating-point decimal"),
    Kind.TIME: (time_span, "an ISO 8601 date-time string of the format YYYY-mm-dd'T'HH:MM:SS"),
    Kind.BOOLEAN: (_boolean_span, "true or false"),
}


def _comparable(kind: Kind, value: Any) -> int | float | None:
    """A value of a record as spans have it; times of a record are seconds."""
    number: int | float = round(value * 1000) if kind is Kind.TIME else int(value) if kind is Kind.BOOLEAN else value
    return number if number == number else None  # noqa: PLR0124  not a number compares with nothing


def _satisfied(wanted: Condition, record: Record) -> bool:
    found = list(values(record, wanted.property.path))
    match wanted.mode:
        case Mode.PRESENT:
            return bool(found)
        case Mode.ABSENT:
            return not found
        case Mode.NONE:
            return bool(found) and not any(_passes(wanted, value) for value in found)
        case Mode.ANY:
            return any(_passes(wanted, value) for value in found)


def _passes(wanted: Condition, value: Any) -> bool:
    for test in wanted.tests:
        match test:
            case OneOf(texts=texts):
                if value in texts:
                    return True
            case Holds(text=text):
                if text in value:
                    return True
            case Lies(span=span):
                kind = wanted.property.kind
                number = decimal(value) if kind is Kind.HYPER_PARAMETER else _comparable(kind, value)
                if number is not None and span.holds(number):
                    return True
    return False


def _elements(record: Record, path: tuple[str, ...]) -> Iterator[Record]:
    """The record again, once for each element at the path and with no other."""
    for element in values(record, path):
        alone: Any = element
        for step in reversed(path):
            alone = {step: alone}
        yield alone
