"""Finds the jobs of an expression by what is rare about it, if anything is.

Used by `search`. The answer holds every job that the expression lets pass, and perhaps more.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from clary.jobs.search import Both, Condition, Either, Expression, Holds, Lies, Mode, OneElement, OneOf, Test
from clary.jobs.search_spans import Span
from clary.store.search_index import may_be_filed
from clary.store.search_terms import bounds, filed_test, instants

FEW_ENOUGH = 100
"""With so few there is no point in looking for fewer."""

_BY_COLUMN = {
    "TrainingJobName": ("training_job_by_name", "training_job_name"),
    "TrainingJobStatus": ("training_job_by_status_creation", "status"),
    "CreationTime": ("training_job_by_creation", "creation_time"),
    "LastModifiedTime": ("training_job_by_modification", "last_modified_time"),
}

Values = Sequence[str | int | float | bytes]


def few(connection: sqlite3.Connection, expression: Expression | None, most: int) -> set[int] | None:
    """The rows; None if there may be more than `most`, or if no index tells."""
    match expression:
        case None:
            return None
        case Both(parts=parts):
            return _of_all(connection, parts, most)
        case OneElement(conditions=conditions):
            return _of_all(connection, conditions, most)
        case Either(parts=parts):
            return _of_any(connection, parts, most)
        case _:
            return _of_condition(connection, expression, most)


def _of_all(connection: sqlite3.Connection, parts: Sequence[Expression], most: int) -> set[int] | None:
    rows: set[int] | None = None
    for part in _merged(parts):
        found = few(connection, part, most)
        if found is not None:
            rows = found if rows is None else rows & found
            most = min(most, 4 * len(rows))
            if len(rows) <= FEW_ENOUGH:
                break
    return rows


def _merged(parts: Sequence[Expression]) -> list[Expression]:
    """The same parts, but with one span for each property: two wide ones may leave little between them."""
    spans: dict[str, tuple[Condition, Span]] = {}
    others: list[Expression] = []
    waiting = list(parts)
    while waiting:
        match part := waiting.pop():
            case Both(parts=inner):
                waiting += inner
            case Condition(mode=Mode.ANY, property=wanted, tests=(Lies(span=span),)) if _is_single(wanted.name):
                before = spans.get(wanted.name)
                spans[wanted.name] = (part, span if before is None else before[1] & span)
            case _:
                others.append(part)
    merged = [msgspec.structs.replace(part, tests=(Lies(span=span),)) for part, span in spans.values()]
    return [*merged, *others]


def _is_single(name: str) -> bool:
    """Whether jobs have at most one value of the property."""
    return name in _BY_COLUMN or may_be_filed(name)


def _of_any(connection: sqlite3.Connection, parts: Sequence[Expression], most: int) -> set[int] | None:
    rows: set[int] = set()
    for part in parts:
        found = few(connection, part, most - len(rows))
        if found is None or len(rows | found) > most:
            return None
        rows |= found
    return rows


def _of_condition(connection: sqlite3.Connection, wanted: Condition, most: int) -> set[int] | None:
    name = wanted.property.name
    if name in _BY_COLUMN:
        if wanted.mode is not Mode.ANY:
            return None
        tests: Sequence[Test | None] = wanted.tests
    elif may_be_filed(name) and wanted.mode is not Mode.ABSENT:
        tests = wanted.tests if wanted.mode is Mode.ANY else [None]
    else:
        return None
    rows: set[int] = set()
    for test in tests:
        for sql, values in _selects(name, test):
            rows.update(row for (row,) in connection.execute(f"{sql} LIMIT {most + 1}", values))
            if len(rows) > most:
                return None
        if isinstance(test, Holds) and name in _BY_COLUMN:
            return None
    return rows


def _selects(name: str, test: Test | None) -> list[tuple[str, Values]]:
    """Statements that find the rows of a test (None: any value) in an index."""
    if name in _BY_COLUMN:
        index, column = _BY_COLUMN[name]
        match test:
            case OneOf(texts=texts):
                places = ", ".join("?" for _ in texts)
                return [(f"SELECT id FROM training_job INDEXED BY {index} WHERE {column} IN ({places})", texts)]  # noqa: S608
            case Lies(span=span):
                return [
                    (
                        f"SELECT id FROM training_job INDEXED BY {index} WHERE {column} BETWEEN ? AND ?",  # noqa: S608
                        instants(span),
                    )
                ]
            case _:
                return []
    match test:
        case OneOf():
            return [_filed("text", name, filed_test(test).text, filed_test(test).values)]
        case Lies(span=span):
            return [_filed("number", name, "v.number BETWEEN ? AND ?", bounds(span))]
        case _:
            return [_filed(column, name, f"v.{column} IS NOT NULL", ()) for column in ("number", "text")]


def _filed(column: str, name: str, test: str, values: Values) -> tuple[str, Values]:
    index = f"search_value v INDEXED BY search_value_by_{column}"
    return f"SELECT v.id FROM {index} WHERE v.property = ? AND v.{column} IS NOT NULL AND {test}", (name, *values)  # noqa: S608
