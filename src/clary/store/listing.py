"""Finds a page of jobs in SQLite, in bounded time whatever the filters are and however many jobs there are.

Used by `sqlite`. Two ways, each within a budget:

- *narrow*: a filter on a time leaves few jobs (at most NARROW_MAX). Take them all from that filter's index and sort them.
- *walk*: go through the index of the wanted order, from the cursor on, and keep what the other filters let pass. When
  the budget of WINDOWS is spent the walk ends; the page is then short, perhaps empty, and its cursor goes on from there.
  SageMaker's pages may be short too ("Filter after page"), so that every client goes on while there is a token.

Both look at indexes alone, and only the jobs of the page are read. The planner is told which index to take: statistics,
which it would otherwise ask, are those of another day.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clary.base.clock import Instant
from clary.jobs.status import TrainingJobStatus
from clary.store.port import Cursor, ListQuery, Page, SortBy, Summary

NARROW_MAX = 12_000
WINDOWS = (1_000, 4_000, 10_000)
"""How many index entries a walk looks at in one go; the first is small, since most pages are full at once."""

NARROW_MAX_WITH_ROWS = 1_000
WINDOWS_WITH_ROWS = (1_000, 4_000)
WINDOWS_WITH_SCATTERED_ROWS = (250, 750)
"""The same where each job's row must be read, since no index of an order carries last_modified_time. In the order of
creation the rows lie side by side; in any other, each is on another page."""

Key = tuple[str | int, ...]
"""What an order sorts by: its columns' values. The name is among them, so that no two jobs have the same."""

_Found = tuple[int, Key]

_COLUMNS: dict[SortBy, tuple[str, ...]] = {
    SortBy.NAME: ("training_job_name",),
    SortBy.CREATION_TIME: ("creation_time", "training_job_name"),
    SortBy.STATUS: ("status", "training_job_name"),
}
_INDEX: dict[SortBy, str] = {
    SortBy.NAME: "training_job_by_name",
    SortBy.CREATION_TIME: "training_job_by_creation",
    SortBy.STATUS: "training_job_by_status_name",
}
_INDEX_OF_ONE_STATUS: dict[SortBy, str] = {
    SortBy.NAME: "training_job_by_status_name",
    SortBy.CREATION_TIME: "training_job_by_status_creation",
    SortBy.STATUS: "training_job_by_status_name",
}


@dataclass(frozen=True, kw_only=True)
class _Where:
    """A conjunction of SQL terms, with the values of their places."""

    terms: tuple[str, ...] = ()
    values: tuple[str | int, ...] = ()

    def also(self, term: str, *values: str | int) -> "_Where":
        return _Where(terms=(*self.terms, term), values=self.values + values)

    def between(self, column: str, after: int | None, before: int | None) -> "_Where":
        """Exclusive bounds, where there are any."""
        where = self if after is None else self.also(f"{column} > ?", after)
        return where if before is None else where.also(f"{column} < ?", before)

    def __and__(self, other: "_Where") -> "_Where":
        return _Where(terms=self.terms + other.terms, values=self.values + other.values)

    def __str__(self) -> str:
        return " AND ".join(self.terms) or "1"


def find_page(connection: sqlite3.Connection, query: ListQuery, *, limit: int, after: Cursor | None) -> Page:
    """At most `limit` jobs behind the cursor. Raises sqlite3.Error."""
    connection.execute("BEGIN")  # one snapshot: a job that arrives between two windows must not shift their border
    try:
        search = _Search(connection, query, wanted=limit + 1, after=after)
        found, examined = search.run()
        shown = found[:limit]
        summaries = _summaries(connection, [row for row, _ in shown])
    finally:
        connection.execute("ROLLBACK")
    last = shown[-1][1] if len(found) > limit else examined
    return Page(summaries=summaries, cursor=None if last is None else search.cursor(last))


class _Search:
    def __init__(self, connection: sqlite3.Connection, query: ListQuery, *, wanted: int, after: Cursor | None) -> None:
        self._connection = connection
        self._query = query
        self._wanted = wanted
        # Of one status, sorted by status, the status says nothing: SQLite then walks the names behind it.
        sort_by = SortBy.NAME if query.status_equals and query.sort_by is SortBy.STATUS else query.sort_by
        self._columns = _COLUMNS[sort_by]
        self._index = (_INDEX_OF_ONE_STATUS if query.status_equals else _INDEX)[sort_by]
        self._order = ", ".join(f"{column} DESC" if query.descending else column for column in self._columns)
        self._after: Key | None = None
        if after is not None:
            self._after = (after.name,) if len(self._columns) == 1 else (after.value, after.name)
        # A job is never modified before it is created, so one bound gives another, which an index can use.
        bounds = [b for b in (query.creation_time_before, query.last_modified_time_before) if b is not None]
        self._creation = (query.creation_time_after, min(bounds, default=None))
        self._modification = (query.last_modified_time_after, query.last_modified_time_before)

    def run(self) -> tuple[list[_Found], Key | None]:
        """Row ids and keys, at most `wanted`; and the last key looked at if there may be more jobs behind it."""
        modified = any(bound is not None for bound in self._modification)
        created = any(bound is not None for bound in self._creation)
        if modified:
            where = _Where().between("last_modified_time", *self._modification)
            if self._holds_few("training_job_by_modification", where, NARROW_MAX):
                return self._narrow("training_job_by_modification", where & self._filters()), None
        if created and "creation_time" not in self._columns:
            index = _INDEX_OF_ONE_STATUS if self._query.status_equals else _INDEX
            by_creation = index[SortBy.CREATION_TIME]
            where = self._status().between("creation_time", *self._creation)
            if self._holds_few(by_creation, where, NARROW_MAX_WITH_ROWS if modified else NARROW_MAX):
                return self._narrow(by_creation, self._filters()), None
        if not modified:
            return self._walk(WINDOWS)
        return self._walk(WINDOWS_WITH_ROWS if self._columns[0] == "creation_time" else WINDOWS_WITH_SCATTERED_ROWS)

    def cursor(self, key: Key) -> Cursor:
        """The cursor that goes on behind `key`."""
        name = str(key[-1])
        by_status = self._query.status_equals if self._query.sort_by is SortBy.STATUS else None
        return Cursor(value=key[0] if by_status is None else by_status.value, name=name)

    def _status(self) -> _Where:
        status = self._query.status_equals
        return _Where() if status is None else _Where().also("status = ?", status.value)

    def _filters(self) -> _Where:
        """Everything that the query asks for."""
        where = self._status().between("creation_time", *self._creation)
        where = where.between("last_modified_time", *self._modification)
        contains = self._query.name_contains
        return where if contains is None else where.also("instr(training_job_name, ?)", contains)

    def _holds_few(self, index: str, where: _Where, most: int) -> bool:
        return len(self._select("1", index, where, f"LIMIT {most + 1}")) <= most

    def _narrow(self, index: str, where: _Where) -> list[_Found]:
        if self._after is not None:
            where &= self._compare("<" if self._query.descending else ">", self._after)
        return self._rows(index, where, self._wanted)

    def _walk(self, windows: Sequence[int]) -> tuple[list[_Found], Key | None]:
        start, end = self._ends()
        forward, backward = ("<", ">") if self._query.descending else (">", "<")
        found: list[_Found] = []
        for window in windows:
            behind = self._status() if start is None else self._status() & self._compare(forward, start)
            upto_end = behind if end is None else behind & self._compare(backward, end)
            border = self._key_at(upto_end, window - 1)
            within = upto_end if border is None else behind & self._compare(f"{backward}=", border)
            found += self._rows(self._index, within & self._filters(), self._wanted - len(found))
            if border is None or len(found) == self._wanted:
                return found, None
            start = border
        return found, start

    def _ends(self) -> tuple[Key | None, Key | None]:
        """Between which keys, exclusive, the walk goes: the cursor, and the bounds on what is sorted by."""
        first: Key | None = None
        last: Key | None = None
        if self._columns[0] == "creation_time":
            # No name is empty, so that (t, "") lies before all jobs of the millisecond t.
            lower, upper = self._creation
            first = None if lower is None else (lower + 1, "")
            last = None if upper is None else (upper, "")
        if self._query.descending:
            first, last = last, first
        nearest = min if self._query.descending else max
        return nearest((key for key in (first, self._after) if key is not None), default=None), last

    def _compare(self, operator: str, key: Key) -> _Where:
        places = ", ".join("?" for _ in key)
        return _Where().also(f"({', '.join(self._columns)}) {operator} ({places})", *key)

    def _key_at(self, where: _Where, offset: int) -> Key | None:
        tail = f"ORDER BY {self._order} LIMIT 1 OFFSET {offset}"
        rows = self._select(", ".join(self._columns), self._index, where, tail)
        return rows[0] if rows else None

    def _rows(self, index: str, where: _Where, limit: int) -> list[_Found]:
        columns = ", ".join(("id", *self._columns))
        return [
            (row[0], row[1:]) for row in self._select(columns, index, where, f"ORDER BY {self._order} LIMIT {limit}")
        ]

    def _select(self, columns: str, index: str, where: _Where, tail: str) -> list[tuple[Any, ...]]:
        # The text is made of this file's own words; what the caller gave is in `where.values`.
        sql = f"SELECT {columns} FROM training_job INDEXED BY {index} WHERE {where} {tail}"  # noqa: S608
        return self._connection.execute(sql, where.values).fetchall()


def _summaries(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[Summary, ...]:
    """The summaries of these rows, in the order of `ids`."""
    places = ", ".join("?" for _ in ids)
    columns = "id, training_job_name, training_job_arn, creation_time, last_modified_time, training_end_time, status"
    sql = f"SELECT {columns}, secondary_status FROM training_job WHERE id IN ({places})"  # noqa: S608  our own words
    by_id = {
        row[0]: Summary(
            training_job_name=row[1],
            training_job_arn=row[2],
            creation_time=Instant(row[3]),
            last_modified_time=Instant(row[4]),
            training_end_time=None if row[5] is None else Instant(row[5]),
            training_job_status=TrainingJobStatus(row[6]),
            secondary_status=row[7],
        )
        for row in connection.execute(sql, ids)
    }
    return tuple(by_id[row] for row in ids)
