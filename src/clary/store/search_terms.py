"""What an expression says in SQL: less than it says, but never more, so that no job is lost that it lets pass.

Used by `search`, which judges the jobs that remain one by one. Statements give the name `j` to training_job and, where a
term needs it, `d` to training_job_document.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from clary.jobs.search import Both, Condition, Either, Expression, Holds, Lies, Mode, OneElement, OneOf, Test, cut_text
from clary.jobs.search_spans import Span
from clary.store.search_index import may_be_filed

TEXT_COLUMNS = {
    "TrainingJobName": "j.training_job_name",
    "TrainingJobArn": "j.training_job_arn",
    "TrainingJobStatus": "j.status",
    "SecondaryStatus": "j.secondary_status",
}
NUMBER_COLUMNS = {"CreationTime": "j.creation_time", "LastModifiedTime": "j.last_modified_time"}
COLUMNS = TEXT_COLUMNS | NUMBER_COLUMNS
"""Properties that every job has, and where they stand."""

_ROW_COLUMNS = {"TrainingJobArn", "SecondaryStatus"}
"""Those that are in no index."""

_VERBATIM = frozenset(
    {
        "AlgorithmSpecification.AlgorithmName",
        "AlgorithmSpecification.TrainingImage",
        "InputDataConfig.ChannelName",
        "InputDataConfig.ContentType",
        "InputDataConfig.DataSource.S3DataSource.S3Uri",
        "ModelArtifacts.S3ModelArtifacts",
        "OutputDataConfig.S3OutputPath",
        "ResourceConfig.InstanceType",
        "RoleArn",
    }
)
_VERBATIM_FAMILIES = frozenset({"Environment", "HyperParameters", "Tags"})
"""Texts of a record that stand in the job's document as they are, none being a default: sought in its bytes."""

_ULPS = 1e-14
"""SQLite reads numbers a little less exactly than Python does."""

Value = str | int | float | bytes


@dataclass(frozen=True, kw_only=True)
class Sql:
    """A piece of SQL and the values of its places. `work` estimates what it costs for a job, an index entry being 1."""

    text: str
    values: tuple[Value, ...] = ()
    work: int = 0
    document: bool = False

    def __and__(self, other: "Sql | None") -> "Sql":
        return self if other is None else _joined("AND", [self, other])


NOTHING = Sql(text="+j.id < 0")
"""True of no job. A plain 0 would make SQLite drop the order and then find no use for the index."""


def term(expression: Expression | None) -> Sql | None:
    """What can be said of the expression; None where nothing can."""
    match expression:
        case None:
            return None
        case Both(parts=parts):
            return _all(parts)
        case OneElement(conditions=conditions):
            return _all([wanted for wanted in conditions if wanted.mode in {Mode.ANY, Mode.PRESENT}])
        case Either(parts=parts):
            found = [term(part) for part in parts]
            some = [piece for piece in found if piece is not None]
            return _joined("OR", some) if len(some) == len(found) else None
        case _:
            return _condition(expression)


def bounds(span: Span) -> tuple[float, float]:
    """Ends for numbers that SQLite has read: inclusive, and a little apart."""
    low, high = (
        -math.inf if span.low is None else _float(span.low),
        math.inf if span.high is None else _float(span.high),
    )
    if math.isfinite(low):
        low -= abs(low) * _ULPS
    if math.isfinite(high):
        high += abs(high) * _ULPS
    return low, high


def _float(number: object) -> float:
    try:
        return float(number)  # type: ignore[arg-type]  # int, float and Decimal alike
    except OverflowError:
        return math.inf if number > 0 else -math.inf  # type: ignore[operator]


def _all(parts: Sequence[Expression]) -> Sql | None:
    found = [piece for piece in map(term, parts) if piece is not None]
    # What costs least is asked first.
    return _joined("AND", sorted(found, key=lambda piece: piece.work)) if found else None


def _joined(word: str, pieces: Sequence[Sql]) -> Sql:
    return Sql(
        text="(" + f" {word} ".join(piece.text for piece in pieces) + ")",
        values=tuple(value for piece in pieces for value in piece.values),
        work=sum(piece.work for piece in pieces),
        document=any(piece.document for piece in pieces),
    )


def _condition(wanted: Condition) -> Sql | None:
    name = wanted.property.name
    if name in COLUMNS:
        return _column(wanted, COLUMNS[name], work=3 if name in _ROW_COLUMNS else 0)
    if may_be_filed(name):
        return _filed(wanted)
    return _verbatim(wanted) if wanted.mode is Mode.ANY else None


def _column(wanted: Condition, column: str, work: int) -> Sql | None:
    if wanted.mode is Mode.PRESENT:
        return None
    if wanted.mode is Mode.ABSENT:
        return NOTHING
    passes = _joined("OR", [_column_test(test, column, work) for test in wanted.tests])
    return passes if wanted.mode is Mode.ANY else Sql(text=f"NOT {passes.text}", values=passes.values, work=work)


def _column_test(test: Test, column: str, work: int) -> Sql:
    match test:
        case OneOf(texts=texts):
            return Sql(text=f"{column} IN ({', '.join('?' for _ in texts)})", values=texts, work=work)
        case Holds(text=text):
            return Sql(text=f"instr({column}, ?)", values=(text,), work=work + 1)
        case Lies(span=span):
            return Sql(text=f"{column} BETWEEN ? AND ?", values=instants(span), work=work)


def instants(span: Span) -> tuple[int, int]:
    """The first and the last millisecond of a span of times; exact, since instants are whole."""
    low, high = -(2**63), 2**63 - 1
    if span.low is not None:
        low = int(span.low) + span.low_open
    if span.high is not None:
        high = int(span.high) - span.high_open
    return low, high


def _filed(wanted: Condition) -> Sql:
    probe = "EXISTS (SELECT 1 FROM search_value v WHERE v.id = j.id AND v.property = ?"
    found = Sql(text=probe + ")", values=(wanted.property.name,), work=4)
    if wanted.mode is Mode.ABSENT:
        return Sql(text=f"NOT {found.text}", values=found.values, work=4)
    if wanted.mode is not Mode.ANY:
        return found
    if any(isinstance(test, Holds) for test in wanted.tests):
        return found & _verbatim(wanted)
    passes = _joined("OR", [filed_test(test) for test in wanted.tests])
    return Sql(text=f"{probe} AND {passes.text})", values=(wanted.property.name, *passes.values), work=5)


def filed_test(test: Test) -> Sql:
    """A test of a value that is filed, but not of what a text holds: long texts are cut."""
    match test:
        case OneOf(texts=texts):
            return Sql(text=f"v.text IN ({', '.join('?' for _ in texts)})", values=tuple(map(cut_text, texts)))
        case Lies(span=span):
            return Sql(text="v.number BETWEEN ? AND ?", values=bounds(span))
        case Holds():
            return Sql(text="1")


def _verbatim(wanted: Condition) -> Sql | None:
    name = wanted.property.name
    if name not in _VERBATIM and not (len(wanted.property.path) > 1 and wanted.property.path[0] in _VERBATIM_FAMILIES):
        return None
    sought: list[str] = []
    for test in wanted.tests:
        match test:
            case OneOf(texts=texts):
                sought += texts
            case Holds(text=text):
                sought.append(text)
            case _:
                return None
    return _joined(
        "OR",
        [
            Sql(text="instr(d.document, ?)", values=(msgspec.json.encode(text)[1:-1],), work=40, document=True)
            for text in sought
        ],
    )
