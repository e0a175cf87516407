"""What the SQLite store remembers of jobs is never older than what it has acknowledged."""

import asyncio

import msgspec
import pytest

from clary.store.port import NoSuchJob, StaleVersion
from clary.store.recent import JOBS_MAX, RecentJobs
from clary.store.sqlite import SqliteStore
from factories import make_job


def on_store(tmp_path, scenario):
    async def run():
        store = await SqliteStore.open(tmp_path / "jobs.db")
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


def test_a_job_that_was_looked_up_is_seen_as_it_was_written_last(tmp_path):
    async def scenario(store):
        await store.create(make_job())
        job = await store.get("job")
        written = await store.commit(msgspec.structs.replace(job, attempt=1))
        assert await store.get("job") == written

    on_store(tmp_path, scenario)


def test_a_write_that_was_refused_leaves_no_trace(tmp_path):
    async def scenario(store):
        await store.create(make_job())
        job = await store.get("job")
        newest = await store.commit(msgspec.structs.replace(job, attempt=1))
        with pytest.raises(StaleVersion):
            await store.commit(msgspec.structs.replace(job, attempt=7))
        assert await store.get("job") == newest

    on_store(tmp_path, scenario)


def test_readers_during_a_write_see_the_old_job_or_the_new_one_and_then_the_new_one(tmp_path):
    async def scenario(store):
        await store.create(make_job())
        job = await store.get("job")
        writing = asyncio.create_task(store.commit(msgspec.structs.replace(job, attempt=1)))
        seen = []
        while not writing.done():
            seen.append((await store.get("job")).attempt)
            await asyncio.sleep(0)
        assert seen == sorted(seen)
        assert (await store.get("job")).attempt == 1

    on_store(tmp_path, scenario)


def test_a_deleted_job_is_gone_also_for_who_looked_while_it_was_deleted(tmp_path):
    async def scenario(store):
        await store.create(make_job())
        deleting = asyncio.create_task(store.delete(await store.get("job")))
        while not deleting.done():
            try:
                await store.get("job")
            except NoSuchJob:
                break
            await asyncio.sleep(0)
        await deleting
        with pytest.raises(NoSuchJob):
            await store.get("job")

    on_store(tmp_path, scenario)


@pytest.mark.parametrize("verb", ["commit", "delete"])
def test_a_write_whose_caller_was_cancelled_counts_all_the_same(tmp_path, verb):
    async def scenario(store):
        await store.create(make_job())
        job = await store.get("job")
        change = store.commit(msgspec.structs.replace(job, attempt=1)) if verb == "commit" else store.delete(job)
        writing = asyncio.create_task(change)
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.sleep(0)  # the write itself gets into the queue, and its caller out of the way
        await store.get("job")  # while the write is on its way
        await store.create(make_job("other"))  # behind it in the queue: when this is written, so is that

        if verb == "commit":
            assert (await store.get("job")).attempt == 1
        else:
            with pytest.raises(NoSuchJob):
                await store.get("job")

    on_store(tmp_path, scenario)


def test_the_job_that_was_used_longest_ago_makes_room():
    recent = RecentJobs()
    for number in range(JOBS_MAX):
        recent.put(make_job(f"j{number}"))
    assert recent.get("j0") is not None

    recent.put(make_job("one-more"))

    assert recent.get("j0") is not None
    assert recent.get("j1") is None
