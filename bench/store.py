"""How fast jobs are kept and found in SQLite, beside the plainest loop that is as durable.

    PYTHONPATH=src:tests python bench/store.py [JOBS]

Prints one JSON object:

- creates and commits a second with 8 concurrent writers, and look-ups a second. The peer, in the same run, on the same
  disk and in turns with ours, is stdlib `sqlite3` with the same documents, WAL and synchronous=FULL, which inserts or
  updates one row at a time in one table with one index;
- p50 and p99, in milliseconds, of a page of 100 among JOBS jobs (default 100,000), over every order, filter and depth that
  AWS has; the slowest kind of query by its own p99, and how many pages a search for a name that nobody has takes.
"""

import asyncio
import itertools
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from clary.jobs import transitions
from clary.jobs.model import TrainingJob
from clary.jobs.status import TrainingJobStatus
from clary.store.port import Cursor, ListQuery, SortBy
from clary.store.sqlite import SqliteStore
from factories import NOW, arn, make_job

WRITERS = 8
WRITES = 4_000
ROUNDS = 3
LOOKUPS = 20_000
PAGES_OF_A_KIND = 30
PAGE_SIZE = 100
SPACING_MS = 1000
STATUSES = ["Completed"] * 80 + ["Failed"] * 14 + ["Stopped"] * 5 + ["Training"]

_TEMPLATES = {status: make_job(status=status) for status in set(STATUSES)}


def jobs(count: int) -> Iterator[TrainingJob]:
    """Jobs as a busy team has them: one a second, four families of names, most of them completed within 20 minutes."""
    rng = random.Random(1)
    for n in range(count):
        name = f"{rng.choice(('xgboost', 'pytorch-training', 'sklearn', 'tune'))}-{n:08x}-{rng.randrange(10**6):06}"
        created = NOW + SPACING_MS * n
        template = _TEMPLATES[rng.choice(STATUSES)]
        yield msgspec.structs.replace(
            template,
            training_job_name=name,
            training_job_arn=arn(name),
            creation_time=created,
            last_modified_time=created + rng.randrange(20 * 60_000),
            released=template.is_terminal,
        )


async def _by_writers(count: int, work: Callable[[int], Any]) -> float:
    """Operations a second when WRITERS share them."""

    async def writer(first: int) -> None:
        for n in range(first, count, WRITERS):
            await work(n)

    began = time.perf_counter()
    await asyncio.gather(*(writer(first) for first in range(WRITERS)))
    return count / (time.perf_counter() - began)


def _plain(path: Path, batch: list[TrainingJob]) -> dict[str, float]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, version INTEGER, document BLOB)")
    rates = {}
    began = time.perf_counter()
    for job in batch:
        connection.execute("INSERT INTO job VALUES (?, 0, ?)", (job.training_job_name, msgspec.json.encode(job)))
    rates["creates_per_s"] = len(batch) / (time.perf_counter() - began)
    began = time.perf_counter()
    for job in batch:
        connection.execute(
            "UPDATE job SET version = 1, document = ? WHERE name = ? AND version = 0",
            (msgspec.json.encode(transitions.say(job, "again")), job.training_job_name),
        )
    rates["commits_per_s"] = len(batch) / (time.perf_counter() - began)
    connection.close()
    return rates


async def writes(directory: Path) -> dict[str, Any]:
    """Ours and the plain loop in turns; the median of the rounds."""
    ours: dict[str, list[float]] = {"creates_per_s": [], "commits_per_s": [], "gets_per_s": []}
    plain: dict[str, list[float]] = {"creates_per_s": [], "commits_per_s": []}
    source = jobs(WRITES * ROUNDS)
    store = await SqliteStore.open(directory / "writes.db")
    for _ in range(ROUNDS):
        batch = list(itertools.islice(source, WRITES))
        ours["creates_per_s"].append(await _by_writers(WRITES, lambda n, batch=batch: store.create(batch[n])))
        ours["commits_per_s"].append(
            await _by_writers(WRITES, lambda n, batch=batch: store.commit(transitions.say(batch[n], "again")))
        )
        began = time.perf_counter()
        for n in range(LOOKUPS):
            await store.get(batch[n % WRITES].training_job_name)
        ours["gets_per_s"].append(LOOKUPS / (time.perf_counter() - began))
        for name, rate in _plain(directory / "plain.db", batch).items():
            plain[name].append(rate)
    await store.close()
    medians = {name: round(statistics.median(rates)) for name, rates in ours.items()}
    peers = {name: round(statistics.median(rates)) for name, rates in plain.items()}
    return {
        "writers": WRITERS,
        "clary": medians,
        "plain_sqlite": peers,
        "ratio": {name: round(medians[name] / peer, 2) for name, peer in peers.items()},
    }


def _queries(count: int) -> dict[str, dict[str, Any]]:
    middle, tenth = NOW + SPACING_MS * count // 2, SPACING_MS * count // 10
    return {
        "all": {},
        "status, common": {"status_equals": TrainingJobStatus.COMPLETED},
        "status, rare": {"status_equals": TrainingJobStatus.IN_PROGRESS},
        "status, none": {"status_equals": TrainingJobStatus.STOPPING},
        "name, common": {"name_contains": "tune"},
        "name, rare": {"name_contains": "0badca"},
        "name, none": {"name_contains": "nobody-has-this"},
        "created, half": {"creation_time_after": middle},
        "created, tenth": {"creation_time_after": middle, "creation_time_before": middle + tenth},
        "created, few": {"creation_time_after": middle, "creation_time_before": middle + 50 * SPACING_MS},
        "modified, half": {"last_modified_time_after": middle},
        "modified, before": {"last_modified_time_before": middle},
        "modified, few": {
            "last_modified_time_after": middle,
            "last_modified_time_before": middle + 50 * SPACING_MS,
        },
        "everything": {
            "status_equals": TrainingJobStatus.FAILED,
            "name_contains": "sk",
            "creation_time_after": middle,
            "last_modified_time_after": middle,
            "last_modified_time_before": middle + 2 * tenth,
        },
    }


async def lists(directory: Path, count: int) -> dict[str, Any]:
    """Pages of every kind, in random order, each beginning where the last of its kind ended."""
    store = await SqliteStore.open(directory / "lists.db")
    source = jobs(count)
    while batch := list(itertools.islice(source, 1000)):
        await asyncio.gather(*(store.create(job) for job in batch))
    kinds = [
        (f"{what}; by {sort_by}, {'descending' if descending else 'ascending'}", query)
        for what, filters in _queries(count).items()
        for sort_by in SortBy
        for descending in (False, True)
        for query in [ListQuery(sort_by=sort_by, descending=descending, **filters)]
    ]
    cursors: dict[str, Cursor | None] = {}
    took_ms: dict[str, list[float]] = {kind: [] for kind, _ in kinds}
    work = kinds * PAGES_OF_A_KIND
    random.Random(2).shuffle(work)
    for kind, query in work:
        began = time.perf_counter()
        page = await store.list(query, limit=PAGE_SIZE, after=cursors.get(kind))
        took_ms[kind].append((time.perf_counter() - began) * 1000)
        cursors[kind] = page.cursor
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        page = await store.list(ListQuery(name_contains="nobody-has-this"), limit=PAGE_SIZE, after=cursor)
        pages, cursor = pages + 1, page.cursor
    await store.close()
    everything = [took for all_of_kind in took_ms.values() for took in all_of_kind]
    slowest = max(took_ms, key=lambda kind: _percentile(took_ms[kind], 99))
    return {
        "jobs": count,
        "pages": len(everything),
        "database_mb": round((directory / "lists.db").stat().st_size / 1e6),
        "p50_ms": round(_percentile(everything, 50), 2),
        "p99_ms": round(_percentile(everything, 99), 2),
        "slowest_kind": {"query": slowest, "p99_ms": round(_percentile(took_ms[slowest], 99), 2)},
        "empty_pages_of_a_search_for_nothing": pages,
    }


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """Both parts, in a directory that is gone afterwards."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        result = {"writes": asyncio.run(writes(place)), "lists": asyncio.run(lists(place, count))}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
