"""The orders in which a search can walk an index, and how a job's place in them is told.

Used by `search`. An order has up to three segments, by the ranks of `clary.jobs.search.sort_key`: numbers, texts, and the
jobs that lack the property. A job's key in a segment is its value and, among equals, its name or row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clary.jobs.search import LACKING, NUMBERS, TEXTS, Both, Condition, Expression, Lies, Mode, Property, SearchQuery
from clary.store.search_index import may_be_filed
from clary.store.search_terms import COLUMNS, NUMBER_COLUMNS, Sql, bounds, instants

Key = tuple[str | int | float, str | int]

_INDEX = {
    "TrainingJobName": "training_job_by_name",
    "TrainingJobStatus": "training_job_by_status_name",
    "CreationTime": "training_job_by_creation",
    "LastModifiedTime": "training_job_by_modification",
}
_BY_CREATION = "training_job j INDEXED BY training_job_by_creation"
_LACKS = "NOT EXISTS (SELECT 1 FROM search_value v WHERE v.id = j.id AND v.property = ?)"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Jobs of one rank: where they stand in order (`source` names the index), and by which two columns.

    `within` is true of all of them and bounds the walk; it must be decidable by the index. `lacks` is true of all of them
    too, but costs a look at each. `scattered`: neighbours in this order are far from each other in the file.
    """

    rank: int
    source: str
    value: str
    tie: str
    within: Sql | None = None
    lacks: Sql | None = None
    scattered: bool = False


@dataclass(frozen=True, kw_only=True)
class Order:
    """Segments in the order of the query; `join` and `key` (rank, value, tie) give the key of a job found otherwise."""

    segments: Sequence[Segment]
    join: Sql
    key: str


def order_of(query: SearchQuery) -> Order | None:
    """None if nothing is in the order that the query asks for."""
    name = query.sort_by.name
    if name in _INDEX:
        return _by_column(query, name)
    return _by_filed_values(query) if may_be_filed(name) else None


def _by_column(query: SearchQuery, name: str) -> Order:
    rank = NUMBERS if name in NUMBER_COLUMNS else TEXTS
    column = COLUMNS[name]
    tie = "j.creation_time" if name == "TrainingJobName" else "j.training_job_name"
    within: Sql | None = None
    for bounded in _bounding(query.expression, query.sort_by):
        for test in bounded.tests:
            if isinstance(test, Lies):
                within = Sql(text=f"{column} BETWEEN ? AND ?", values=instants(test.span)) & within
    segment = Segment(
        rank=rank, source=f"training_job j INDEXED BY {_INDEX[name]}", value=column, tie=tie, within=within
    )
    return Order(segments=(segment,), join=Sql(text=""), key=f"{rank}, {column}, {tie}")


def _by_filed_values(query: SearchQuery) -> Order:
    name = query.sort_by.name
    is_it = Sql(text="s.property = ?", values=(name,))
    bounding = _bounding(query.expression, query.sort_by)
    numbers = is_it
    for bounded in bounding:
        if len(bounded.tests) == 1 and isinstance(test := bounded.tests[0], Lies):
            numbers &= Sql(text="s.number BETWEEN ? AND ?", values=bounds(test.span))
    segments = [
        Segment(
            rank=rank,
            source=f"search_value s INDEXED BY search_value_by_{column} CROSS JOIN training_job j ON j.id = s.id",
            value=f"s.{column}",
            tie="s.id",
            within=within & Sql(text=f"s.{column} IS NOT NULL"),  # else the index, which is partial, is no choice
            scattered=True,
        )
        for rank, column, within in ((NUMBERS, "number", numbers), (TEXTS, "text", is_it))
    ]
    if query.descending:
        segments.reverse()
    if not bounding:
        lacks = Sql(text=_LACKS, values=(name,), work=4)
        segments.append(
            Segment(
                rank=LACKING,
                source=_BY_CREATION,
                value="j.creation_time",
                tie="j.training_job_name",
                lacks=lacks,
            )
        )
    return Order(
        segments=segments,
        join=Sql(text="LEFT JOIN search_value s ON s.id = j.id AND s.property = ?", values=(name,)),
        key=(
            f"CASE WHEN s.number IS NOT NULL THEN {NUMBERS} WHEN s.text IS NOT NULL THEN {TEXTS} ELSE {LACKING} END, "
            "COALESCE(s.number, s.text, j.creation_time), "
            "CASE WHEN s.id IS NULL THEN j.training_job_name ELSE s.id END"
        ),
    )


def _bounding(expression: Expression | None, wanted: Property) -> list[Condition]:
    """The conditions on the property that every job found satisfies, and that no job without it does."""
    match expression:
        case Both(parts=parts):
            return [found for part in parts for found in _bounding(part, wanted)]
        case Condition() if expression.property.name == wanted.name and expression.mode is not Mode.ABSENT:
            return [expression] if expression.mode is not Mode.NONE else [_present(expression)]
        case _:
            return []


def _present(wanted: Condition) -> Condition:
    return Condition(property=wanted.property, mode=Mode.PRESENT)
