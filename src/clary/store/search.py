"""Finds a page of the jobs that a search asks for, in SQLite, and judges each by `clary.jobs.search`.

Used by `sqlite`, in a thread of its own. Three ways:

- *few*: an index knows a few jobs (at most FEW_MAX) of which the expression is true, if of any. They are sorted and judged.
- *walk*: go through the index of the wanted order, let SQL drop what it can, judge the rest.
- *scan*: nothing is in the wanted order. Every job is looked at, for each page; memory holds a page's worth of them.
  Its time grows with the number of jobs, so that it looks at SCAN_AT_ONCE jobs at a time and asks in between whether to
  stop; jobs that change meanwhile are seen as they were or as they are.

Of the first two a page ends, short or even empty, and its cursor goes on from there, as with a list: when the BUDGET is
spent, when JUDGED_MAX jobs were turned down, or when it took PATIENCE_S and something has been done in it. That last bound
is for jobs that lie scattered on a disk; the others hold on any machine.

A job written between two pages may move across the cursor, if it is sorted or filtered by what was written.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from clary.base import typed
from clary.jobs.model import TrainingJob
from clary.jobs.search import LACKING, Record, SearchQuery, ToRecord, matches, sort_key
from clary.store.port import SearchCursor, SearchPage
from clary.store.search_few import few
from clary.store.search_orders import Key, Order, Segment, order_of
from clary.store.search_terms import Sql, term

FEW_MAX = 3_000
BUDGET = 30_000
"""How many index entries a walk looks at, where that is all it does; fewer, where each costs more (see `Sql.work`)."""

FIRST_WINDOW = 1_000
"""Most pages are full at once; each further window is twice as large, up to the largest."""
LARGEST_WINDOW = 2_000
"""What is begun is ended: a larger one would take long past PATIENCE_S."""

JUDGED_MAX = 200

PATIENCE_S = 0.007
BUDGET_AT_LEAST = 3_000
JUDGED_AT_LEAST = 25
"""What a page does at least, however long it takes."""

SCAN_AT_ONCE = 500

_Place = tuple[int, Key | None]
"""A rank, and the key behind which to go on; None: at the beginning."""

_decoder = typed.json_decoder(TrainingJob)


class Stopped(Exception):
    """The store is closing."""


class Search:
    """One page. `record` shows a job to the judge and to the caller; `stopping` says whether a scan is to end early."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        query: SearchQuery,
        *,
        limit: int,
        record: ToRecord,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connection = connection
        self._query = query
        self._limit = limit
        self._record = record
        self._stopping = stopping
        self._term = term(query.expression)
        self._until = 0.0

    def page(self, after: SearchCursor | None) -> SearchPage:
        """The page behind the cursor. Raises sqlite3.Error, msgspec.DecodeError and `Stopped`."""
        order = order_of(self._query)
        self._until = time.monotonic() + PATIENCE_S
        self._connection.execute("BEGIN")  # one snapshot
        try:
            rows = few(self._connection, self._query.expression, FEW_MAX)
            if order is None:
                return self._scan(rows, after)
            place = _place(order, after)
            if rows is not None:
                return self._few(rows, order, place)
            return self._walk(order, place)
        finally:
            self._connection.execute("ROLLBACK")

    # --- few

    def _few(self, rows: set[int], order: Order, place: _Place) -> SearchPage:
        where = self._term or Sql(text="1")
        # The text is made of this room's own words; what the caller gave is in the values.
        sql = (
            f"SELECT j.id, {order.key} FROM json_each(?) e CROSS JOIN training_job j ON j.id = e.value "  # noqa: S608
            f"{_document(where)} {order.join.text} WHERE {where.text}"
        )
        ids = msgspec.json.encode(sorted(rows)).decode()
        by_rank: dict[int, list[tuple[Key, int]]] = {segment.rank: [] for segment in order.segments}
        for row, rank, value, tie in self._connection.execute(sql, (ids, *order.join.values, *where.values)):
            if rank in by_rank:
                by_rank[rank].append(((value, tie), row))
        found = _Found(self._limit)
        for segment in _from(order, place):
            key = place[1] if segment.rank == place[0] else None
            for own, row in sorted(by_rank[segment.rank], reverse=self._query.descending):
                if key is not None and not (own < key if self._query.descending else own > key):
                    continue
                (document,) = self._connection.execute(_DOCUMENT, (row,)).fetchone()
                if self._judge(found, (segment.rank, own), document):
                    return found.page()
        return found.page()

    # --- walk

    def _walk(self, order: Order, place: _Place) -> SearchPage:
        found = _Found(self._limit)
        budget, window = BUDGET, FIRST_WINDOW
        for segment in _from(order, place):
            start = place[1] if segment.rank == place[0] else None
            where = segment.lacks & self._term if segment.lacks else self._term or Sql(text="1")
            work = 20 + 4 * where.work if segment.scattered else 1 + where.work
            while True:
                if budget <= 0 or (budget <= BUDGET - BUDGET_AT_LEAST and self._is_late()):
                    found.examined = (segment.rank, start)
                    return found.page()
                size = max(1, min(budget, window) // work)  # at least one, or no page would ever get further
                border = self._key_at(segment, start, size - 1)
                for value, tie, document in self._rows(segment, where, start, border):
                    if self._judge(found, (segment.rank, (value, tie)), document):
                        return found.page()
                budget -= size * work
                window = min(2 * window, LARGEST_WINDOW)
                if border is None:
                    break
                start = border
        return found.page()

    def _key_at(self, segment: Segment, start: Key | None, offset: int) -> Key | None:
        where = self._behind(segment, start) & segment.within
        sql = (
            f"SELECT {segment.value}, {segment.tie} FROM {segment.source} WHERE {where.text} "  # noqa: S608
            f"ORDER BY {self._by(segment)} LIMIT 1 OFFSET {offset}"
        )
        row = self._connection.execute(sql, where.values).fetchone()
        return None if row is None else (row[0], row[1])

    def _rows(self, segment: Segment, where: Sql, start: Key | None, border: Key | None) -> Iterator[Any]:
        within = self._behind(segment, start) & segment.within
        if border is not None:
            within &= _compare(segment, ">=" if self._query.descending else "<=", border)
        within &= where
        sql = (
            f"SELECT {segment.value}, {segment.tie}, d.document FROM {segment.source} "  # noqa: S608
            f"CROSS JOIN training_job_document d ON d.id = j.id WHERE {within.text} ORDER BY {self._by(segment)}"
        )
        return self._connection.execute(sql, within.values)

    def _behind(self, segment: Segment, start: Key | None) -> Sql:
        if start is None:
            return Sql(text="1")
        return _compare(segment, "<" if self._query.descending else ">", start)

    def _by(self, segment: Segment) -> str:
        direction = "DESC" if self._query.descending else "ASC"
        return f"{segment.value} {direction}, {segment.tie} {direction}"

    def _judge(self, found: "_Found", key: tuple[int, Key], document: bytes) -> bool:
        """Whether the page ends here."""
        record = self._record(_decoder.decode(document))
        if matches(self._query.expression, record):
            found.jobs.append((key, record))
            if len(found.jobs) > self._limit:
                return True
        else:
            found.turned_down += 1
        is_enough = len(found.jobs) + found.turned_down >= JUDGED_AT_LEAST and self._is_late()
        if not is_enough and found.turned_down < JUDGED_MAX:
            return False
        found.examined = key
        return True

    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    # --- scan

    def _scan(self, rows: set[int] | None, after: SearchCursor | None) -> SearchPage:
        best: list[tuple[tuple[int, Key], Record]] = []
        place = None
        if after is not None and after.value is not None and after.tie is not None:
            place = (after.rank, (after.value, after.tie))
        for name, document in self._documents(rows):
            record = self._record(_decoder.decode(document))
            if matches(self._query.expression, record):
                rank, value = sort_key(self._query.sort_by, record)
                key = (rank, (value, name))
                if place is None or self._comes_later(key, place):
                    best.append((key, record))
                    if len(best) > 4 * self._limit + 100:
                        best = self._sorted(best)[: self._limit + 1]
        found = _Found(self._limit)
        found.jobs = self._sorted(best)[: self._limit + 1]
        return found.page()

    def _documents(self, rows: set[int] | None) -> Iterator[tuple[str, bytes]]:
        """Names and documents of these rows, or of all."""
        if rows is not None:
            ids = msgspec.json.encode(sorted(rows)).decode()
            sql = f"{_SCAN} j.id IN (SELECT value FROM json_each(?))"  # noqa: S608
            yield from self._connection.execute(sql, (ids,))
            return
        where = self._term or Sql(text="1")
        (last,) = self._connection.execute("SELECT max(id) FROM training_job").fetchone()
        for first in range(1, (last or 0) + 1, SCAN_AT_ONCE):
            if self._stopping():
                raise Stopped
            sql = f"{_SCAN} j.id BETWEEN ? AND ? AND {where.text}"
            yield from self._connection.execute(sql, (first, first + SCAN_AT_ONCE - 1, *where.values)).fetchall()
            self._connection.execute("ROLLBACK")  # an old snapshot would keep the log from being emptied
            self._connection.execute("BEGIN")

    def _comes_later(self, key: tuple[int, Key], place: tuple[int, Key]) -> bool:
        if (key[0] == LACKING) != (place[0] == LACKING):
            return key[0] == LACKING
        return key < place if self._query.descending else key > place

    def _sorted(self, jobs: list[tuple[tuple[int, Key], Record]]) -> list[tuple[tuple[int, Key], Record]]:
        """In the order of the query: those that lack the property come last in either direction."""
        descending = self._query.descending
        by_key = sorted(jobs, key=lambda job: job[0], reverse=descending)
        return [job for job in by_key if job[0][0] != LACKING] + [job for job in by_key if job[0][0] == LACKING]


_DOCUMENT = "SELECT document FROM training_job_document WHERE id = ?"
_SCAN = "SELECT j.training_job_name, d.document FROM training_job j JOIN training_job_document d ON d.id = j.id WHERE "


class _Found:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.jobs: list[tuple[tuple[int, Key], Record]] = []
        self.turned_down = 0
        self.examined: _Place | None = None
        """Up to where the search looked, if it ended before the page was full."""

    def page(self) -> SearchPage:
        """One job more than asked for says that there are more."""
        shown = self.jobs[: self.limit]
        place: _Place | None = shown[-1][0] if len(self.jobs) > self.limit else self.examined
        cursor = None
        if place is not None:
            rank, key = place
            value, tie = (None, None) if key is None else key
            cursor = SearchCursor(rank=rank, value=value, tie=tie)
        return SearchPage(records=tuple(record for _, record in shown), cursor=cursor)


def _place(order: Order, after: SearchCursor | None) -> _Place:
    if after is None:
        return order.segments[0].rank, None
    key = None if after.value is None or after.tie is None else (after.value, after.tie)
    return after.rank, key


def _from(order: Order, place: _Place) -> list[Segment]:
    """The segments that are left, beginning with the one of the place."""
    ranks = [segment.rank for segment in order.segments]
    return list(order.segments[ranks.index(place[0]) :])


def _compare(segment: Segment, operator: str, key: Key) -> Sql:
    return Sql(text=f"({segment.value}, {segment.tie}) {operator} (?, ?)", values=key)


def _document(where: Sql) -> str:
    return "CROSS JOIN training_job_document d ON d.id = j.id" if where.document else ""
