"""Searches in the SQLite file of the jobs: a connection and a thread of their own, and the filing that they need.

Used by `sqlite`. A long search holds up other searches, and nothing else.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from clary.jobs.search import SearchQuery, ToRecord
from clary.store.connections import open_reader, unavailable
from clary.store.errors import DatabaseUnavailable
from clary.store.group_commit import Write
from clary.store.port import SearchCursor, SearchPage
from clary.store.search import Search, Stopped
from clary.store.search_index import FAMILIES, Filing

_T = TypeVar("_T")


class SqliteSearch:
    """See `port.Store`. `write` submits a write to the store; call `expect` when one is submitted that notes a job."""

    def __init__(self, path: Path, *, write: Callable[[Write], Awaitable[None]]) -> None:
        self._path = path
        self._connection = open_reader(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clary-store-searches")
        self._filing = Filing(write)
        self._closing = False

    def expect(self) -> None:
        """See `Filing`."""
        self._filing.expect()

    async def search(
        self, query: SearchQuery, *, limit: int, record: ToRecord, after: SearchCursor | None
    ) -> SearchPage:
        """See `port.Store`."""
        search = Search(self._connection, query, limit=limit, record=record, stopping=lambda: self._closing)
        return await self._read(lambda: search.page(after))

    async def property_names(self, prefix: str, *, limit: int) -> tuple[str, ...]:
        """See `port.Store`."""
        return await self._read(lambda: _property_names(self._connection, prefix, limit))

    async def close(self) -> None:
        """End what is under way; a search of everything ends early."""
        self._closing = True
        await self._filing.close()
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()

    async def _read(self, read: Callable[[], _T]) -> _T:
        await self._filing.catch_up()
        try:
            with unavailable(self._path):
                return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except msgspec.DecodeError as error:
            raise DatabaseUnavailable(f"{self._path}: a job is damaged: {error}") from error
        except Stopped:
            raise DatabaseUnavailable(f"{self._path}: the store is closed") from None


def _property_names(connection: sqlite3.Connection, prefix: str, limit: int) -> tuple[str, ...]:
    names: set[str] = set()
    for family in FAMILIES:
        begins = prefix if prefix.startswith(f"{family}.") else f"{family}."
        if begins.startswith(prefix):
            for column in ("number", "text"):
                names |= set(_names(connection, column, begins, limit))
    return tuple(sorted(names)[:limit])


def _names(connection: sqlite3.Connection, column: str, begins: str, limit: int) -> list[str]:
    """From name to name through an index: however many jobs have the same name, it is looked at once."""
    names: list[str] = []
    sought, operator = begins, ">="
    while len(names) < limit:
        (name,) = connection.execute(
            f"SELECT min(property) FROM search_value INDEXED BY search_value_by_{column} "  # noqa: S608  our own words
            f"WHERE {column} IS NOT NULL AND property {operator} ?",
            (sought,),
        ).fetchone()
        if name is None or not name.startswith(begins):
            break
        names.append(name)
        sought, operator = name, ">"
    return names
