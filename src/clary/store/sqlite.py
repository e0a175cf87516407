"""Jobs in one SQLite file: the store of a server that runs alone, with nothing to set up.

Opened by `app`. Writes go to one thread, which commits all that wait together (`group_commit`). A look-up of one job takes
microseconds and is answered on the event loop; lists (`listing`) and searches (`sqlite_search`) have each a thread of
their own. Each of the four has its connection, and the write-ahead log lets them work at once.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from clary.base import typed
from clary.jobs.model import TrainingJob
from clary.jobs.search import SearchQuery, ToRecord
from clary.store.connections import open_reader, open_writer, unavailable
from clary.store.errors import DatabaseUnavailable
from clary.store.group_commit import GroupCommit, Write
from clary.store.listing import find_page
from clary.store.new_jobs import NewJob, insert_job, insert_jobs
from clary.store.port import Cursor, ListQuery, NameTaken, NoSuchJob, Page, SearchCursor, SearchPage, StaleVersion
from clary.store.recent import RecentJobs
from clary.store.sqlite_algorithms import REFUSALS as ALGORITHM_REFUSALS
from clary.store.sqlite_algorithms import SqliteAlgorithmStore
from clary.store.sqlite_search import SqliteSearch

_T = TypeVar("_T")

_decoder = typed.json_decoder(TrainingJob)
_encoder = msgspec.json.Encoder()

_PRESENT = "SELECT id, version, creation_time, status, released FROM training_job WHERE training_job_name = ?"
# Two, because SQLite rewrites each index that has a column which is set, changed or not.
_UPDATE = """
    UPDATE training_job SET last_modified_time = ?, training_end_time = ?, secondary_status = ?, version = ?
    WHERE id = ?"""
_UPDATE_AND_REFILE = """
    UPDATE training_job SET last_modified_time = ?, training_end_time = ?, secondary_status = ?, version = ?,
        status = ?, released = ?
    WHERE id = ?"""
_UPDATE_DOCUMENT = "UPDATE training_job_document SET document = ? WHERE id = ?"
_GET = "SELECT document FROM training_job JOIN training_job_document USING (id) WHERE training_job_name = ?"
_FIND = _GET + " COLLATE NOCASE"
_DELETE = "DELETE FROM training_job WHERE id = ?"
_DELETE_DOCUMENT = "DELETE FROM training_job_document WHERE id = ?"
_UNRELEASED = "SELECT training_job_name FROM training_job WHERE released = 0 ORDER BY creation_time, training_job_name"


class SqliteStore:
    """See `port.Store`. Use it on one event loop, and close it."""

    def __init__(self, path: Path) -> None:
        """Blocks while the file is opened; `open` does not. Raises `DatabaseUnavailable`."""
        self._path = path
        writer = open_writer(path)
        self._lookups = open_reader(path)
        self._lists = open_reader(path)
        self._list_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clary-store-lists")
        self._writes = GroupCommit(
            writer,
            refusals=(NameTaken, StaleVersion, NoSuchJob, *ALGORITHM_REFUSALS),
        )
        self._recent = RecentJobs()
        self._search = SqliteSearch(path, write=partial(self._write, is_long=True))
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> "SqliteStore":
        """The store in the file `path`, which is made (mode 0600) if it is missing; its directory must be there.

        Raises `DatabaseUnavailable`, also for a file that a newer Clary wrote.
        """
        return await asyncio.to_thread(cls, path)

    async def create(self, job: TrainingJob) -> None:
        """See `port.Store`."""
        new = NewJob(
            training_job_name=job.training_job_name,
            training_job_arn=job.training_job_arn,
            creation_time=job.creation_time,
            changing=_changing(job),
            document=_encoder.encode(job),
        )
        self._search.expect()
        self._check_open()
        with unavailable(self._path):
            await self._writes.submit(partial(insert_job, new), together=insert_jobs, item=new)

    async def get(self, training_job_name: str) -> TrainingJob:
        """See `port.Store`."""
        recent = self._recent.get(training_job_name)
        if recent is not None:
            self._check_open()
            return recent
        job = self._look_up(_GET, training_job_name)
        self._recent.put(job)
        return job

    async def find(self, training_job_name: str) -> TrainingJob:
        """See `port.Store`."""
        return self._look_up(_FIND, training_job_name)

    async def commit(self, job: TrainingJob) -> TrainingJob:
        """See `port.Store`."""
        written = msgspec.structs.replace(job, version=job.version + 1)
        columns = _changing(written)
        document = _encoder.encode(written)

        def write(connection: sqlite3.Connection) -> None:
            row, filed_under = _present(connection, job)
            if filed_under == [*columns[4:]]:
                connection.execute(_UPDATE, (*columns[:4], row))
            else:
                connection.execute(_UPDATE_AND_REFILE, (*columns, row))
            connection.execute(_UPDATE_DOCUMENT, (document, row))

        self._search.expect()
        await self._write_job(job.training_job_name, write, written=written)
        return written

    async def delete(self, job: TrainingJob) -> None:
        """See `port.Store`."""

        def write(connection: sqlite3.Connection) -> None:
            row, _ = _present(connection, job)
            connection.execute(_DELETE, (row,))
            connection.execute(_DELETE_DOCUMENT, (row,))

        await self._write_job(job.training_job_name, write, written=None)

    async def list(self, query: ListQuery, *, limit: int, after: Cursor | None = None) -> Page:
        """See `port.Store`."""
        return await self._read_apart(lambda: find_page(self._lists, query, limit=limit, after=after))

    async def search(
        self, query: SearchQuery, *, limit: int, record: ToRecord, after: SearchCursor | None = None
    ) -> SearchPage:
        """See `port.Store`."""
        self._check_open()
        return await self._search.search(query, limit=limit, record=record, after=after)

    async def property_names(self, prefix: str, *, limit: int) -> tuple[str, ...]:
        """See `port.Store`."""
        self._check_open()
        return await self._search.property_names(prefix, limit=limit)

    async def unreleased(self) -> tuple[str, ...]:
        """See `port.Store`."""
        return await self._read_apart(lambda: tuple(row[0] for row in self._lists.execute(_UNRELEASED)))

    def algorithms(self) -> SqliteAlgorithmStore:
        """The algorithms in the same file, of use until this store is closed."""
        return SqliteAlgorithmStore(self._path, write=self._write, read=self._read_with)

    async def close(self) -> None:
        """See `port.Store`."""
        if not self._closed:
            self._closed = True
            await self._search.close()
            await asyncio.to_thread(self._list_thread.shutdown)
            self._lists.close()
            self._lookups.close()
            await self._writes.close()  # last: see there

    def _look_up(self, query: str, training_job_name: str) -> TrainingJob:
        with unavailable(self._path):
            # All rows, though there is one: a statement short of its end keeps its snapshot, and the log cannot shrink.
            rows = self._lookups.execute(query, (training_job_name,)).fetchall()
        if not rows:
            raise NoSuchJob(training_job_name)
        try:
            return _decoder.decode(rows[0][0])
        except msgspec.DecodeError as error:
            raise DatabaseUnavailable(f"{self._path}: the job {training_job_name} is damaged: {error}") from error

    async def _write_job(self, training_job_name: str, write: Write, *, written: TrainingJob | None) -> None:
        """Write, and remember the outcome when the write has settled, also for a caller who was cancelled meanwhile."""

        def settle(writing: "asyncio.Task[None]") -> None:
            failed = writing.cancelled() or writing.exception() is not None
            self._recent.settle(training_job_name, None if failed else written)

        self._recent.begin(training_job_name)
        writing = asyncio.create_task(self._write(write))
        writing.add_done_callback(settle)
        await asyncio.shield(writing)

    async def _write(self, write: Write, *, is_long: bool = False) -> None:
        self._check_open()
        with unavailable(self._path):
            await self._writes.submit(write, is_long=is_long)

    async def _read_apart(self, read: Callable[[], _T]) -> _T:
        self._check_open()
        with unavailable(self._path):
            return await asyncio.get_running_loop().run_in_executor(self._list_thread, read)

    async def _read_with(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._read_apart(lambda: read(self._lists))

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseUnavailable(f"{self._path}: the store is closed")


def _present(connection: sqlite3.Connection, job: TrainingJob) -> tuple[int, list[str | int]]:
    """The row of the job, and what indexes file it under. Raises `NoSuchJob`, or `StaleVersion` if it is not that job."""
    present = connection.execute(_PRESENT, (job.training_job_name,)).fetchone()
    if present is None:
        raise NoSuchJob(job.training_job_name)
    row, version, creation_time, *filed_under = present
    if (version, creation_time) != (job.version, job.creation_time):
        raise StaleVersion(job.training_job_name)
    return row, filed_under


def _changing(job: TrainingJob) -> tuple[str | int | None, ...]:
    """The columns that a write may change: first those that always may, then the two that indexes file under."""
    return (
        job.last_modified_time,
        job.training_end_time,
        job.secondary_status.value,
        job.version,
        job.training_job_status.value,
        int(job.released),
    )
