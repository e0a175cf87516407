"""Keeps the table `search_value` true, behind the writes but before any search.

Used by `sqlite`. Filing a job costs several times what writing it costs, so a write only notes that its job is to be
filed, in its own transaction (a trigger does so). What is noted is filed many jobs at a time: at leisure, with a small share of the event
loop's time, and before a search, which therefore finds all that was written before it came.

What is filed is what users search and sort by most and cannot be found otherwise. `search` judges by the whole job anyway:
a property needs a place here only for speed.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

import msgspec

from clary.base import typed
from clary.jobs.model import TrainingJob
from clary.jobs.search import cut_text
from clary.jobs.search_spans import decimal
from clary.store.errors import DatabaseUnavailable
from clary.store.group_commit import Write

FAMILIES = frozenset({"HyperParameters", "Metrics", "Tags"})
"""Of each, every property is filed, by the name that a search gives it."""

INSTANCE_TYPE = "ResourceConfig.InstanceType"
TRAINING_IMAGE = "AlgorithmSpecification.TrainingImage"

BATCH = 256
BATCH_AT_LEISURE = 64
BATCH_BESIDE_WRITES = 16
"""How many notes are taken up in one transaction, which takes about 0.1 ms for each and keeps other writes waiting: while a
search waits (large ones cost least in all), while nobody writes, and while jobs are being written."""

LEISURE_S = 0.05
SHARE = 10
"""Filing at leisure rests SHARE - 1 times as long as it took, while jobs are being written."""

# Each of the following is one step for many jobs, because a thread that comes back from SQLite has to wait for the
# interpreter's lock each time, and meanwhile it keeps all other writers waiting.
_NOTED = """
    SELECT count(*), max(number), json_group_array(DISTINCT id)
    FROM (SELECT number, id FROM search_backlog ORDER BY number LIMIT ?)"""
_JOBS = """
    SELECT CAST('[' || group_concat('[' || id || ',' || CAST(document AS TEXT) || ']') || ']' AS BLOB)
    FROM training_job_document WHERE id IN (SELECT value FROM json_each(?))"""
_EACH_JOB = "SELECT id, document FROM training_job_document WHERE id IN (SELECT value FROM json_each(?))"
_FORGET = """
    DELETE FROM search_value WHERE id IN (SELECT value FROM json_each(?)) AND (id, property) NOT IN
        (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"""
_FILE = """
    INSERT INTO search_value (id, property, number, text)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]')
    FROM json_each(?) WHERE true
    ON CONFLICT (id, property) DO UPDATE SET number = excluded.number, text = excluded.text
    WHERE number IS NOT excluded.number OR text IS NOT excluded.text"""
_TAKE = "DELETE FROM search_backlog WHERE number <= ?"

Filed = tuple[str, float | None, str | None]

_decoder = typed.json_decoder(list[tuple[int, TrainingJob]])
_one_decoder = typed.json_decoder(TrainingJob)


class Filing:
    """Files what is noted. `write` submits a write and returns when it is durable. Belongs to one event loop."""

    def __init__(self, write: Callable[[Write], Awaitable[None]]) -> None:
        self._write = write
        self._submitted = 1  # what an earlier run has left
        self._filed = 0
        self._leisure: asyncio.Task[None] | None = None

    def expect(self) -> None:
        """Say that a write which notes a job is submitted now."""
        self._submitted += 1
        if self._leisure is None or self._leisure.done():
            self._leisure = asyncio.get_running_loop().create_task(self._at_leisure())

    async def catch_up(self) -> None:
        """File everything that was submitted before this was called. Raises what `write` raises."""
        upto = self._submitted
        while self._filed < upto:
            await self._file_some(BATCH)

    async def close(self) -> None:
        """File no more; what is noted stays noted."""
        if self._leisure is not None:
            self._leisure.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._leisure

    async def _at_leisure(self) -> None:
        loop = asyncio.get_running_loop()
        rest_s, most = LEISURE_S, BATCH_BESIDE_WRITES
        with contextlib.suppress(DatabaseUnavailable):  # the next write tries again, and a search says what is wrong
            while self._filed < self._submitted:
                submitted = self._submitted
                await asyncio.sleep(rest_s)  # leaves the disk and the processor to others
                began = loop.time()
                await self._file_some(most)
                busy = self._submitted > submitted
                rest_s = (loop.time() - began) * (SHARE - 1 if busy else 1)
                most = BATCH_BESIDE_WRITES if busy else BATCH_AT_LEISURE

    async def _file_some(self, most: int) -> None:
        upto, taken = self._submitted, 0

        def write(connection: sqlite3.Connection) -> None:
            nonlocal taken
            taken = _file_batch(connection, most)

        await self._write(write)
        # Writes are done in the order in which they were submitted. One that was refused has noted nothing, so that only
        # a short batch says that all is filed.
        self._filed = max(self._filed, upto) if taken < most else self._filed + taken


def may_be_filed(name: str) -> bool:
    """Whether a property of that name is filed wherever a job has it."""
    family, dot, _ = name.partition(".")
    return name in {INSTANCE_TYPE, TRAINING_IMAGE} or (bool(dot) and family in FAMILIES and "\0" not in name)


def filed(job: TrainingJob) -> list[Filed]:
    """What is filed of a job: a property, and a number or a text as `cut_text` has it."""
    request = job.request
    found: list[Filed] = []
    if request.resource_config.instance_type:
        found.append((INSTANCE_TYPE, *_text(request.resource_config.instance_type)))
    if request.algorithm_specification.training_image:
        found.append((TRAINING_IMAGE, *_text(request.algorithm_specification.training_image)))
    for name, value in request.hyper_parameters.items():
        number = decimal(value)
        found.append((f"HyperParameters.{name}", *(_text(value) if number is None else (float(number), None))))
    found += [(f"Tags.{tag.key}", *_text(tag.value)) for tag in job.tags]
    found += [(f"Metrics.{metric.metric_name}", metric.value, None) for metric in job.final_metric_data_list]
    return [value for value in found if may_be_filed(value[0])]


def _file_batch(connection: sqlite3.Connection, most: int) -> int:
    """File the jobs of at most so many notes; answers how many notes there were."""
    count, last, rows = connection.execute(_NOTED, (most,)).fetchone()
    if count:
        jobs = _jobs(connection, rows)  # without those deleted since
        values = msgspec.json.encode([(row, *value) for row, job in jobs for value in filed(job)]).decode()
        connection.execute(_FORGET, (rows, values))
        connection.execute(_FILE, (values,))
        connection.execute(_TAKE, (last,))
    return int(count)


def _jobs(connection: sqlite3.Connection, rows: str) -> list[tuple[int, TrainingJob]]:
    with contextlib.suppress(msgspec.DecodeError):
        return _decoder.decode(connection.execute(_JOBS, (rows,)).fetchone()[0] or b"[]")
    # One of them is damaged: it alone is left out, lest it keep all others from being filed.
    jobs: list[tuple[int, TrainingJob]] = []
    for row, document in connection.execute(_EACH_JOB, (rows,)).fetchall():
        with contextlib.suppress(msgspec.DecodeError):
            jobs.append((row, _one_decoder.decode(document)))
    return jobs


def _text(value: str) -> tuple[None, str]:
    return None, cut_text(value)
