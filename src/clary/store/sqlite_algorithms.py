"""Algorithms in the SQLite file of the training jobs, through the same writer, so that they share its syncs of the disk.

Made by `sqlite.SqliteStore.algorithms`, which owns the connections and closes them. A list reads an index in the wanted
order from the cursor on; a name filter that matches little reads the index to its end, which for the numbers in which
people keep algorithms is a matter of milliseconds.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from clary.base import typed
from clary.base.clock import Instant
from clary.jobs.algorithm import Algorithm, AlgorithmStatus
from clary.store.algorithm_port import (
    AlgorithmCursor,
    AlgorithmNameTaken,
    AlgorithmPage,
    AlgorithmQuery,
    AlgorithmSortBy,
    AlgorithmSummary,
    NoSuchAlgorithm,
    StaleAlgorithm,
)
from clary.store.errors import DatabaseUnavailable
from clary.store.group_commit import Write

_T = TypeVar("_T")

REFUSALS: tuple[type[Exception], ...] = (AlgorithmNameTaken, NoSuchAlgorithm, StaleAlgorithm)
"""With these a write says no and has changed nothing."""

_decoder = typed.json_decoder(Algorithm)
_encoder = msgspec.json.Encoder()

_INSERT = """
    INSERT INTO algorithm (algorithm_name, algorithm_arn, algorithm_description, creation_time, status, version)
    VALUES (?, ?, ?, ?, ?, ?)"""
_INSERT_DOCUMENT = "INSERT INTO algorithm_document (id, document) VALUES (?, ?)"
_ARN = "SELECT algorithm_arn FROM algorithm WHERE algorithm_name = ? COLLATE NOCASE"
_PRESENT = "SELECT id, version FROM algorithm WHERE algorithm_name = ? COLLATE NOCASE"
_UPDATE = "UPDATE algorithm SET version = ? WHERE id = ?"
_UPDATE_DOCUMENT = "UPDATE algorithm_document SET document = ? WHERE id = ?"
_DELETE_DOCUMENT = "DELETE FROM algorithm_document WHERE id = ?"
_DELETE = "DELETE FROM algorithm WHERE id = ?"
_GET = """
    SELECT document FROM algorithm JOIN algorithm_document USING (id)
    WHERE algorithm_name = ? COLLATE NOCASE"""
_COLUMNS = {
    AlgorithmSortBy.NAME: "algorithm_name, creation_time",
    AlgorithmSortBy.CREATION_TIME: "creation_time, algorithm_name",
}


class ReadApart(Protocol):
    """Runs a read on the thread of lists, with its connection. Raises `DatabaseUnavailable`."""

    def __call__(self, read: Callable[[sqlite3.Connection], _T]) -> Awaitable[_T]:
        """What the read answered."""
        ...


class SqliteAlgorithmStore:
    """See `algorithm_port.AlgorithmStore`. `write` runs a write as `GroupCommit.submit` does; `path` is for errors."""

    def __init__(self, path: Path, *, write: Callable[[Write], Awaitable[None]], read: ReadApart) -> None:
        self._path = path
        self._write = write
        self._read = read

    async def create(self, algorithm: Algorithm) -> None:
        """See `algorithm_port.AlgorithmStore`."""
        columns = (
            algorithm.algorithm_name,
            algorithm.algorithm_arn,
            algorithm.request.algorithm_description,
            algorithm.creation_time,
            algorithm.algorithm_status.value,
            algorithm.version,
        )
        document = _encoder.encode(algorithm)

        def write(connection: sqlite3.Connection) -> None:
            taken = connection.execute(_ARN, (algorithm.algorithm_name,)).fetchone()
            if taken is not None:
                raise AlgorithmNameTaken(taken[0])
            added = connection.execute(_INSERT, columns)
            connection.execute(_INSERT_DOCUMENT, (added.lastrowid, document))

        await self._write(write)

    async def get(self, algorithm_name: str) -> Algorithm:
        """See `algorithm_port.AlgorithmStore`."""
        rows = await self._read(lambda connection: connection.execute(_GET, (algorithm_name,)).fetchall())
        if not rows:
            raise NoSuchAlgorithm(algorithm_name)
        try:
            return _decoder.decode(rows[0][0])
        except msgspec.DecodeError as error:
            raise DatabaseUnavailable(f"{self._path}: the algorithm {algorithm_name} is damaged: {error}") from error

    async def commit(self, algorithm: Algorithm) -> Algorithm:
        """See `algorithm_port.AlgorithmStore`."""
        written = msgspec.structs.replace(algorithm, version=algorithm.version + 1)
        document = _encoder.encode(written)

        def write(connection: sqlite3.Connection) -> None:
            row, version = _present(connection, algorithm.algorithm_name)
            if version != algorithm.version:
                raise StaleAlgorithm(algorithm.algorithm_name)
            connection.execute(_UPDATE, (written.version, row))
            connection.execute(_UPDATE_DOCUMENT, (document, row))

        await self._write(write)
        return written

    async def delete(self, algorithm_name: str) -> None:
        """See `algorithm_port.AlgorithmStore`."""

        def write(connection: sqlite3.Connection) -> None:
            row, _ = _present(connection, algorithm_name)
            connection.execute(_DELETE_DOCUMENT, (row,))
            connection.execute(_DELETE, (row,))

        await self._write(write)

    async def list(self, query: AlgorithmQuery, *, limit: int, after: AlgorithmCursor | None = None) -> AlgorithmPage:
        """See `algorithm_port.AlgorithmStore`."""
        sql, values = _statement(query, limit, after)
        rows = await self._read(lambda connection: connection.execute(sql, values).fetchall())
        summaries = tuple(
            AlgorithmSummary(
                algorithm_name=row[0],
                algorithm_arn=row[1],
                algorithm_description=row[2],
                creation_time=Instant(row[3]),
                algorithm_status=AlgorithmStatus(row[4]),
            )
            for row in rows[:limit]
        )
        cursor = None
        if len(rows) > limit:
            last = summaries[-1]
            by_name = query.sort_by is AlgorithmSortBy.NAME
            cursor = AlgorithmCursor(
                value=last.algorithm_name if by_name else last.creation_time, name=last.algorithm_name
            )
        return AlgorithmPage(summaries=summaries, cursor=cursor)


def _present(connection: sqlite3.Connection, name: str) -> tuple[int, int]:
    """Row and version of an algorithm. Raises `NoSuchAlgorithm`."""
    present = connection.execute(_PRESENT, (name,)).fetchone()
    if present is None:
        raise NoSuchAlgorithm(name)
    row, version = present
    return row, version


def _statement(query: AlgorithmQuery, limit: int, after: AlgorithmCursor | None) -> tuple[str, tuple[str | int, ...]]:
    """The page as SQL, one row more than is wanted, so that the last page is known. Its text is our own words alone."""
    terms: list[str] = []
    values: list[str | int] = []
    if after is not None:
        passed = "<" if query.descending else ">"
        if query.sort_by is AlgorithmSortBy.NAME:
            terms.append(f"algorithm_name {passed} ?")
            values.append(after.name)
        else:
            terms.append(f"(creation_time, algorithm_name) {passed} (?, ?)")
            values += [after.value, after.name]
    if query.creation_time_after is not None:
        terms.append("creation_time > ?")
        values.append(query.creation_time_after)
    if query.creation_time_before is not None:
        terms.append("creation_time < ?")
        values.append(query.creation_time_before)
    if query.name_contains is not None:
        terms.append("instr(algorithm_name, ?)")
        values.append(query.name_contains)
    direction = " DESC" if query.descending else ""
    order = ", ".join(column + direction for column in _COLUMNS[query.sort_by].split(", "))
    sql = (
        "SELECT algorithm_name, algorithm_arn, algorithm_description, creation_time, status FROM algorithm "  # noqa: S608
        f"WHERE {' AND '.join(terms) or '1'} ORDER BY {order} LIMIT ?"
    )
    return sql, (*values, limit + 1)
