"""Jobs that are inserted together, and what becomes of a group of writes."""

import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from clary.store.connections import open_reader, open_writer
from clary.store.group_commit import GroupCommit
from clary.store.new_jobs import AT_ONCE, NewJob, insert_job, insert_jobs
from clary.store.port import NameTaken
from clary.store.sqlite import SqliteStore
from factories import arn, make_job


def _new(name: str) -> NewJob:
    changing = (0, None, "Starting", 0, "InProgress", 0)
    return NewJob(
        training_job_name=name,
        training_job_arn=arn(name),
        creation_time=0,
        changing=changing,
        document=f"the document of {name}".encode(),
    )


def _writes(path: Path) -> GroupCommit:
    return GroupCommit(open_writer(path), refusals=(NameTaken,))


async def _create(writes: GroupCommit, name: str) -> None:
    new = _new(name)
    await writes.submit(partial(insert_job, new), together=insert_jobs, item=new)


def _kept(connection: sqlite3.Connection) -> dict[str, bytes]:
    sql = "SELECT training_job_name, document FROM training_job JOIN training_job_document USING (id) ORDER BY id"
    return dict(connection.execute(sql).fetchall())


@pytest.mark.parametrize("count", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE + 5])
def test_each_job_gets_its_own_document_and_is_noted(tmp_path, count):
    """In the order in which they came, however many statements it takes, also where ids are missing before them."""
    connection = open_writer(tmp_path / "jobs.db")
    insert_jobs(connection, [_new(f"before-{n}") for n in range(3)])
    connection.execute("DELETE FROM training_job WHERE id = 2")
    connection.execute("DELETE FROM search_backlog")
    names = [f"job-{n}" for n in range(count)]
    insert_jobs(connection, [_new(name) for name in names])
    kept = _kept(connection)
    assert list(kept)[2:] == names
    assert all(document == f"the document of {name}".encode() for name, document in kept.items())
    noted = [row for (row,) in connection.execute("SELECT id FROM search_backlog ORDER BY number")]
    assert noted == list(range(4, 4 + count))
    connection.close()


def test_a_name_is_refused_to_whoever_comes_later(tmp_path):
    """Letter case aside, whether the first stands in the file or in the same group; the others are kept."""
    path = tmp_path / "jobs.db"
    names = ["a", "THERE", "b", "A", *(f"c-{n}" for n in range(AT_ONCE)), "B", "d"]

    async def scenario():
        writes = _writes(path)
        await _create(writes, "There")
        outcomes = await asyncio.gather(*(_create(writes, name) for name in names), return_exceptions=True)
        await writes.close()
        return outcomes

    outcomes = asyncio.run(scenario())
    refused = {
        name: outcome.training_job_arn for name, outcome in zip(names, outcomes, strict=True) if outcome is not None
    }
    assert refused == {"THERE": arn("There"), "A": arn("a"), "B": arn("b")}
    reader = open_reader(path)
    assert list(_kept(reader)) == ["There", *(name for name in names if name not in refused)]
    reader.close()


def test_writes_of_a_group_are_done_in_their_order(tmp_path):
    """Items of a joint write that are parted by another write see what that one did, and it sees the first."""
    path = tmp_path / "jobs.db"

    def forget(connection: sqlite3.Connection) -> None:
        assert list(_kept(connection)) == ["a", "b"]
        connection.execute("DELETE FROM training_job WHERE training_job_name = 'a'")

    async def scenario():
        writes = _writes(path)
        outcomes = await asyncio.gather(
            _create(writes, "a"),
            _create(writes, "b"),
            writes.submit(forget),
            _create(writes, "a"),
            _create(writes, "b"),
            return_exceptions=True,
        )
        await writes.close()
        return outcomes

    *done, refused = asyncio.run(scenario())
    assert done == [None] * 4
    assert isinstance(refused, NameTaken)
    reader = open_reader(path)
    assert [name for (name,) in reader.execute("SELECT training_job_name FROM training_job ORDER BY id")] == ["b", "a"]
    reader.close()


def test_a_write_that_was_submitted_before_the_end_is_done(tmp_path):
    """Also in the very turn of the loop in which the store is closed."""
    path = tmp_path / "jobs.db"

    async def scenario():
        store = await SqliteStore.open(path)
        creating = asyncio.create_task(store.create(make_job("last")))
        await asyncio.sleep(0)  # it has submitted its write, which is not handed over yet
        await store.close()
        await creating
        again = await SqliteStore.open(path)
        job = await again.get("last")
        await again.close()
        return job.training_job_name

    assert asyncio.run(scenario()) == "last"
