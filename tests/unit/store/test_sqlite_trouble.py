"""A database in trouble: the error says so, nothing is half written, and it works again when the trouble is over."""

import asyncio
import os
import sqlite3
import subprocess
import sys

import pytest

from clary.store import connections
from clary.store.errors import DatabaseUnavailable
from clary.store.port import ListQuery
from clary.store.sqlite import SqliteStore
from factories import make_job


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """And left as it is."""
    path = tmp_path / "jobs.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(DatabaseUnavailable, match=r"jobs\.db: file is not a database"):
        asyncio.run(SqliteStore.open(path))
    assert path.read_bytes() == b"this is no database" * 100


def test_a_directory_that_is_not_there_is_refused(tmp_path):
    """A store does not make up places."""
    with pytest.raises(DatabaseUnavailable, match="No such file or directory"):
        asyncio.run(SqliteStore.open(tmp_path / "nowhere" / "jobs.db"))


def test_a_database_that_another_process_keeps_locked_is_unavailable_for_writes(tmp_path, monkeypatch):
    """All writes that wait together are told; reads go on; afterwards writes work again."""
    monkeypatch.setattr(connections, "WRITE_PATIENCE_S", 0.05)
    path = tmp_path / "jobs.db"

    async def scenario():
        store = await SqliteStore.open(path)
        await store.create(make_job("before"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(*(store.create(make_job(f"job-{n}")) for n in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
        assert "database is locked" in str(outcomes[0])
        assert (await store.get("before")).training_job_name == "before"
        other.execute("ROLLBACK")
        other.close()
        await store.create(make_job("job-0"))
        page = await store.list(ListQuery(), limit=10)
        await store.close()
        return sorted(summary.training_job_name for summary in page.summaries)

    assert asyncio.run(scenario()) == ["before", "job-0"]


def test_a_damaged_page_is_an_error_and_no_answer(tmp_path):
    """Reads, lists and writes of a database whose pages were overwritten."""
    path = tmp_path / "jobs.db"

    async def fill():
        store = await SqliteStore.open(path)
        await asyncio.gather(*(store.create(make_job(f"job-{n}")) for n in range(50)))
        await store.close()

    asyncio.run(fill())
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))

    async def use():
        store = await SqliteStore.open(path)
        for attempt in (store.get("job-1"), store.list(ListQuery(), limit=10), store.create(make_job("job-x"))):
            with pytest.raises(DatabaseUnavailable, match="malformed"):
                await attempt
        await store.close()

    asyncio.run(use())


def test_a_document_that_does_not_fit_the_model_names_the_job(tmp_path):
    """Somebody edited the database by hand."""
    path = tmp_path / "jobs.db"

    async def scenario():
        store = await SqliteStore.open(path)
        await store.create(make_job("job"))
        with sqlite3.connect(path) as other:
            other.execute("UPDATE training_job_document SET document = '{}'")
        other.close()
        with pytest.raises(DatabaseUnavailable, match="the job job is damaged"):
            await store.get("job")
        await store.close()

    asyncio.run(scenario())


def test_a_closed_store_says_that_it_is_closed(tmp_path):
    """A request that arrives while the server goes down gets an error and is not left waiting."""

    async def scenario():
        store = await SqliteStore.open(tmp_path / "jobs.db")
        await store.close()
        for attempt in (store.get("a"), store.create(make_job()), store.commit(make_job()), store.unreleased()):
            with pytest.raises(DatabaseUnavailable, match="closed"):
                await attempt

    asyncio.run(scenario())


def test_a_caller_that_gives_up_does_not_take_its_write_back(tmp_path):
    """Nor does it disturb the writer."""

    async def scenario():
        store = await SqliteStore.open(tmp_path / "jobs.db")
        impatient = asyncio.create_task(store.create(make_job("impatient")))
        await asyncio.sleep(0)  # it has handed its write over
        impatient.cancel()
        await store.create(make_job("patient"))
        found = await store.get("impatient"), await store.get("patient")
        await store.close()
        return [job.training_job_name for job in found]

    assert asyncio.run(scenario()) == ["impatient", "patient"]


_FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from factories import make_job
from clary.store.errors import DatabaseUnavailable
from clary.store.port import NoSuchJob
from clary.store.sqlite import SqliteStore

async def main():
    path = Path(sys.argv[1])
    store = await SqliteStore.open(path)
    # No file may grow beyond this: as good as a full disk, and it can be emptied again.
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    kept, refused = [], []
    for n in range(100):
        names = [f"job-{n}-{k}" for k in range(8)]
        outcomes = await asyncio.gather(*(store.create(make_job(name)) for name in names), return_exceptions=True)
        for name, outcome in zip(names, outcomes):
            assert outcome is None or isinstance(outcome, DatabaseUnavailable), outcome
            (refused if outcome else kept).append(name)
        if len(refused) > 16:
            break
    assert kept and len(refused) > 16, (len(kept), len(refused))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.create(make_job("afterwards"))
    await store.close()

    store = await SqliteStore.open(path)
    for name in (*kept, "afterwards"):
        await store.get(name)
    for name in refused:
        try:
            await store.get(name)
        except NoSuchJob:
            continue
        raise AssertionError(f"{name} was refused and is there")
    assert set(await store.unreleased()) == {*kept, "afterwards"}
    await store.close()

asyncio.run(main())
"""


def test_a_full_disk_loses_nothing_that_was_acknowledged_and_keeps_nothing_that_was_refused(tmp_path):
    """And when there is room again, the same store goes on."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, tmp_path / "jobs.db"], env=environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
