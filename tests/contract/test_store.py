"""What `clary.store.port.Store` promises, held against every adapter and against the fake that other tests lean on."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clary.jobs import transitions
from clary.jobs.model import MetricData, TrainingJob
from clary.jobs.status import TrainingJobStatus
from clary.store.faulty import FaultyStore
from clary.store.memory import MemoryStore
from clary.store.port import Cursor, ListQuery, NameTaken, NoSuchJob, Page, SortBy, StaleVersion, Store
from clary.store.sqlite import SqliteStore
from factories import NOW, STEPS, arn, make_job

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine on the one loop of the test."""
    with asyncio.Runner() as runner:
        yield runner.run


async def _pages(store: Store, query: ListQuery, limit: int) -> AsyncIterator[Page]:
    cursor: Cursor | None = None
    while True:
        page = await store.list(query, limit=limit, after=cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


async def _names(store: Store, limit: int = 2, **query: Any) -> list[str]:
    return [s.training_job_name async for page in _pages(store, ListQuery(**query), limit) for s in page.summaries]


class StoreContract:
    @pytest.fixture
    def store(self, run: Run) -> Iterator[Store]:
        raise NotImplementedError

    # --- one job

    @pytest.mark.parametrize("status", STEPS)
    def test_a_job_comes_back_as_it_was_kept(self, store, run, status):
        """Whatever its status, with everything a job can carry."""
        job = make_job(
            "Job-1",
            status=status,
            s3_model_artifacts="s3://models/out/Job-1/output/model.tar.gz",
            final_metric_data_list=(MetricData(metric_name="loss", value=0.25, timestamp=NOW),),
            request=msgspec.structs.replace(make_job("Job-1").request, recorded={"ProfilerConfig": {"Ö": [1, None]}}),
        )
        run(store.create(job))
        assert run(store.get("Job-1")) == job

    def test_a_job_that_was_never_created_is_not_there(self, store, run):
        """Neither to be read nor to be written."""
        with pytest.raises(NoSuchJob):
            run(store.get("job"))
        with pytest.raises(NoSuchJob):
            run(store.commit(make_job("job")))
        assert run(_names(store)) == []

    def test_a_name_is_read_only_as_it_is_spelt(self, store, run):
        """Letter case matters to a look-up."""
        run(store.create(make_job("Job")))
        with pytest.raises(NoSuchJob):
            run(store.get("job"))
        with pytest.raises(NoSuchJob):
            run(store.commit(make_job("job")))

    @pytest.mark.parametrize("name", ["job-a", "JOB-A", "Job-a"])
    def test_names_that_differ_only_in_letter_case_collide(self, store, run, name):
        """The refusal carries the ARN of the job that is there, and that job is untouched."""
        first = make_job("Job-A")
        run(store.create(first))
        with pytest.raises(NameTaken) as refusal:
            run(store.create(make_job(name, at=NOW + 5)))
        assert refusal.value.training_job_arn == arn("Job-A")
        assert run(_names(store)) == ["Job-A"]
        assert run(store.get("Job-A")) == first

    def test_a_name_stays_taken_when_its_job_has_ended(self, store, run):
        """Until somebody deletes the job."""
        run(store.create(make_job("job", status="Completed", released=True)))
        with pytest.raises(NameTaken):
            run(store.create(make_job("job")))

    @pytest.mark.parametrize("name", ["Job-A", "job-a", "JOB-A"])
    def test_a_job_is_found_by_its_name_in_any_letter_case(self, store, run, name):
        """As its ARN has it; a name that was never used finds nothing."""
        job = make_job("Job-A")
        run(store.create(job))
        run(store.create(make_job("Job-B")))
        assert run(store.find(name)) == job
        with pytest.raises(NoSuchJob):
            run(store.find("job"))

    # --- deleting

    def test_a_deleted_job_is_nowhere(self, store, run):
        """Not to be read, written, listed or worked on; its neighbours are untouched."""
        job = make_job("Job", status="Completed")
        run(store.create(job))
        run(store.create(make_job("neighbour")))
        run(store.delete(job))
        for refused in (store.get("Job"), store.find("job"), store.commit(job), store.delete(job)):
            with pytest.raises(NoSuchJob):
                run(refused)
        assert run(_names(store)) == ["neighbour"]
        assert run(_names(store, status_equals=TrainingJobStatus.COMPLETED)) == []
        assert run(store.unreleased()) == ("neighbour",)

    def test_a_job_that_was_written_meanwhile_is_not_deleted(self, store, run):
        """Who deletes must have seen what is deleted."""
        job = make_job("job")
        run(store.create(job))
        kept = run(store.commit(transitions.say(job, "written")))
        with pytest.raises(StaleVersion):
            run(store.delete(job))
        assert run(store.get("job")) == kept
        run(store.delete(kept))
        assert run(_names(store)) == []

    def test_a_name_is_free_when_its_job_is_deleted(self, store, run):
        """In any letter case; the new job has nothing of the old one."""
        first = make_job("Job", status="Failed")
        run(store.create(first))
        run(store.delete(first))
        second = make_job("JOB", at=NOW + 1)
        run(store.create(second))
        assert run(store.find("job")) == second
        assert run(_names(store)) == ["JOB"]

    def test_a_late_write_reaches_no_later_job_of_the_same_name(self, store, run):
        """Even at the same version: neither a commit nor a delete that was meant for the job that is gone."""
        first = make_job("job")
        run(store.create(first))
        run(store.delete(first))
        second = make_job("job", at=NOW + 1)
        run(store.create(second))
        for late in (store.commit(transitions.say(first, "late")), store.delete(first)):
            with pytest.raises(StaleVersion):
                run(late)
        assert run(store.get("job")) == second

    def test_a_delete_and_a_write_at_the_same_moment_do_not_both_happen(self, store, run):
        """The first wins; a deleted job is not written back."""
        job = make_job("job")

        async def race(delete_first: bool) -> list[Any]:
            await store.create(job)
            calls = [store.delete(job), store.commit(transitions.say(job, "written"))]
            return await asyncio.gather(*(calls if delete_first else reversed(calls)), return_exceptions=True)

        assert [type(outcome) for outcome in run(race(delete_first=True))] == [type(None), NoSuchJob]
        assert run(_names(store)) == []
        assert [type(outcome) for outcome in run(race(delete_first=False))] == [TrainingJob, StaleVersion]
        assert run(_names(store)) == ["job"]

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("sort_by", SortBy)
    def test_jobs_that_are_deleted_between_two_pages_hide_no_other(self, store, run, sort_by, descending):
        """Also if they are the last of a page, at which the cursor stands."""

        async def walk() -> list[str]:
            jobs = {f"job-{n}": make_job(f"job-{n}", at=NOW + n % 3) for n in range(12)}
            for job in jobs.values():
                await store.create(job)
            seen = []
            async for page in _pages(store, ListQuery(sort_by=sort_by, descending=descending), 3):
                names = [summary.training_job_name for summary in page.summaries]
                seen += names
                for name in names:
                    await store.delete(jobs[name])
            return seen

        assert sorted(run(walk())) == sorted(f"job-{n}" for n in range(12))
        assert run(_names(store)) == []

    # --- guarded writes

    def test_each_commit_raises_the_version_by_one(self, store, run):
        """And the answer is what a reader sees from then on."""
        job = make_job("job")
        run(store.create(job))
        for version in (1, 2, 3):
            job = run(store.commit(transitions.say(job, f"message {version}")))
            assert job.version == version
            assert run(store.get("job")) == job

    def test_a_commit_of_a_stale_version_changes_nothing(self, store, run):
        """Not the document, not the list, not what is left to do."""
        job = make_job("job")
        run(store.create(job))
        kept = run(store.commit(transitions.say(job, "first")))
        late = msgspec.structs.replace(make_job("job", status="Completed"), released=True)
        for version in (0, 2):
            with pytest.raises(StaleVersion):
                run(store.commit(msgspec.structs.replace(late, version=version)))
        assert run(store.get("job")) == kept
        assert run(store.unreleased()) == ("job",)
        assert run(_names(store, status_equals=TrainingJobStatus.COMPLETED)) == []

    def test_of_many_writers_with_the_same_version_one_wins(self, store, run):
        """The others are told, whatever order they came in."""
        job = make_job("job")

        async def race() -> list[TrainingJob | BaseException]:
            await store.create(job)
            return await asyncio.gather(
                *(store.commit(transitions.say(job, f"writer {n}")) for n in range(20)), return_exceptions=True
            )

        outcomes = run(race())
        winners = [outcome for outcome in outcomes if isinstance(outcome, TrainingJob)]
        assert winners == [run(store.get("job"))]
        assert sum(isinstance(outcome, StaleVersion) for outcome in outcomes) == 19

    def test_a_write_that_is_refused_does_not_fail_its_neighbours(self, store, run):
        """Good and bad writes at the same moment: each gets its own answer."""

        async def together() -> list[Any]:
            await store.create(make_job("there"))
            return await asyncio.gather(
                store.create(make_job("new-1")),
                store.create(make_job("THERE")),
                store.commit(make_job("there", version=7)),
                store.commit(make_job("nowhere")),
                store.create(make_job("new-2")),
                store.commit(transitions.say(make_job("there"), "well")),
                return_exceptions=True,
            )

        outcomes = [type(outcome) for outcome in run(together())]
        assert outcomes == [type(None), NameTaken, StaleVersion, NoSuchJob, type(None), TrainingJob]
        assert sorted(run(_names(store))) == ["new-1", "new-2", "there"]
        assert run(store.get("there")).version == 1

    def test_of_many_creates_of_one_name_one_wins(self, store, run):
        """And there is one job."""

        async def race() -> list[BaseException | None]:
            spelt = ("job", "JOB", "Job", "jOB", "joB")
            return await asyncio.gather(*(store.create(make_job(name)) for name in spelt), return_exceptions=True)

        outcomes = run(race())
        assert outcomes.count(None) == 1
        assert len({outcome.training_job_arn for outcome in outcomes if isinstance(outcome, NameTaken)}) == 1
        assert len(run(_names(store))) == 1

    # --- what is left to do

    def test_what_is_left_to_do_is_told_oldest_first(self, store, run):
        """A job stays in it beyond its end, until it is released."""
        for name, at in (("c", 3), ("a", 2), ("b", 1), ("z", 0)):
            run(store.create(make_job(name, at=at, status="Completed" if name == "a" else "Starting")))
        assert run(store.unreleased()) == ("z", "b", "a", "c")
        run(store.commit(transitions.release(run(store.get("a")))))
        assert run(store.unreleased()) == ("z", "b", "c")

    # --- lists

    def test_a_summary_says_what_the_job_says(self, store, run):
        """Also after a commit, and with TrainingEndTime for jobs that have ended alone."""
        for status in STEPS:
            run(store.create(make_job(f"job-{status}")))
            run(store.commit(make_job(f"job-{status}", status=status)))
        page = run(store.list(ListQuery(), limit=100))
        assert page.cursor is None
        assert len(page.summaries) == len(STEPS)
        for summary in page.summaries:
            job = run(store.get(summary.training_job_name))
            for member in msgspec.structs.fields(summary):
                assert getattr(summary, member.name) == getattr(job, member.name), member.name
            assert (summary.training_end_time is not None) == job.is_terminal

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    @pytest.mark.parametrize("descending", [False, True])
    def test_a_list_is_sorted_by_what_was_asked_for_and_then_by_name(self, store, run, limit, descending):
        """Capitals come before small letters; ties in time and status are broken by the name, in the same direction."""
        jobs = [
            make_job("b", at=NOW),
            make_job("C", at=NOW),
            make_job("a", at=NOW + 1, status="Completed"),
            make_job("D", at=NOW - 1, status="Failed"),
            make_job("e", at=NOW, status="Training"),
        ]
        for job in jobs:
            run(store.create(job))
        by_name = ["C", "D", "a", "b", "e"]
        by_creation = ["D", "C", "b", "e", "a"]
        by_status = ["a", "D", "C", "b", "e"]
        step = -1 if descending else 1
        for sort_by, ascending in zip(
            (SortBy.NAME, SortBy.CREATION_TIME, SortBy.STATUS), (by_name, by_creation, by_status), strict=True
        ):
            assert run(_names(store, limit, sort_by=sort_by, descending=descending)) == ascending[::step]

    def test_without_a_word_the_newest_come_first(self, store, run):
        """The default order."""
        for n in range(5):
            run(store.create(make_job(f"job-{n}", at=NOW + n)))
        assert run(_names(store)) == ["job-4", "job-3", "job-2", "job-1", "job-0"]

    @pytest.mark.parametrize("sort_by", SortBy)
    def test_each_filter_lets_pass_what_it_says(self, store, run, sort_by):
        """Time bounds are exclusive, a name must contain the letters in their case, and all filters hold together."""
        run(store.create(make_job("xgb-one", at=NOW)))
        run(store.create(make_job("xgb-two", at=NOW + 10_000, status="Completed")))
        run(store.create(make_job("XGB-three", at=NOW + 20_000, status="Failed")))
        run(store.create(make_job("torch", at=NOW + 30_000, status="Completed", last_modified_time=NOW + 90_000)))
        names = {"sort_by": sort_by}

        def listed(**query: Any) -> set[str]:
            return set(run(_names(store, **names, **query)))

        assert listed(status_equals=TrainingJobStatus.COMPLETED) == {"xgb-two", "torch"}
        assert listed(status_equals=TrainingJobStatus.STOPPED) == set()
        assert listed(name_contains="xgb") == {"xgb-one", "xgb-two"}
        assert listed(name_contains="o") == {"xgb-one", "xgb-two", "torch"}
        assert listed(name_contains="o" * 63) == set()
        assert listed(creation_time_after=NOW) == {"xgb-two", "XGB-three", "torch"}
        assert listed(creation_time_before=NOW + 30_000) == {"xgb-one", "xgb-two", "XGB-three"}
        assert listed(creation_time_after=NOW, creation_time_before=NOW + 30_000) == {"xgb-two", "XGB-three"}
        assert listed(creation_time_after=NOW + 5, creation_time_before=NOW + 5) == set()
        assert listed(last_modified_time_after=NOW + 22_000) == {"torch"}
        assert listed(last_modified_time_before=NOW + 22_000) == {"xgb-one", "xgb-two"}
        assert listed(last_modified_time_before=NOW + 90_000) == {"xgb-one", "xgb-two", "XGB-three"}
        assert listed(
            status_equals=TrainingJobStatus.COMPLETED,
            name_contains="o",
            creation_time_after=NOW,
            last_modified_time_before=NOW + 50_000,
        ) == {"xgb-two"}

    def test_a_filter_on_the_name_is_a_text_and_no_pattern(self, store, run):
        """What other databases take for a wildcard or a quote matches itself alone."""
        run(store.create(make_job("a-b")))
        for text in ("%", "_", "*", "a?b", "'", '"', "a.b", "[a]"):
            assert run(_names(store, name_contains=text)) == []

    @pytest.mark.parametrize("status_equals", [None, TrainingJobStatus.COMPLETED])
    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("sort_by", SortBy)
    def test_jobs_that_come_between_two_pages_neither_repeat_nor_hide_one(
        self, store, run, sort_by, descending, status_equals
    ):
        """Whatever the order: each job that was there from the start is listed once."""
        count = itertools.count()

        def another() -> TrainingJob:
            n = next(count)
            return make_job(f"{'zma'[n % 3]}-{n:03}", at=NOW + (n * 37) % 11, status="Completed")

        async def walk() -> tuple[list[str], list[str]]:
            there = [another() for _ in range(20)]
            for job in there:
                await store.create(job)
            seen = []
            query = ListQuery(sort_by=sort_by, descending=descending, status_equals=status_equals)
            async for page in _pages(store, query, 3):
                seen += [summary.training_job_name for summary in page.summaries]
                for _ in range(2):
                    if len(seen) < 20:
                        await store.create(another())
            return [job.training_job_name for job in there], seen

        there, seen = run(walk())
        assert set(there) <= set(seen)
        assert len(seen) == len(set(seen))

    def test_the_last_page_has_no_cursor(self, store, run):
        """Also if it is exactly full; an empty list is its own last page."""
        assert run(store.list(ListQuery(), limit=10)) == Page(summaries=(), cursor=None)
        for n in range(4):
            run(store.create(make_job(f"job-{n}")))
        first = run(store.list(ListQuery(), limit=2))
        assert first.cursor is not None
        assert run(store.list(ListQuery(), limit=2, after=first.cursor)).cursor is None

    # --- the end

    def test_closing_twice_is_closing_once(self, store, run):
        """Shutting down need not know how far it got before."""
        run(store.close())
        run(store.close())


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, run):
        return MemoryStore()


class TestFaultyStoreWithoutFaults(StoreContract):
    @pytest.fixture
    def store(self, run):
        return FaultyStore(MemoryStore())


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, run, tmp_path):
        store = run(SqliteStore.open(tmp_path / "jobs.db"))
        yield store
        run(store.close())

    def test_writes_that_were_submitted_are_finished_by_close(self, run, tmp_path):
        """Nobody who was promised an answer is left without."""

        async def scenario() -> list[Any]:
            store = await SqliteStore.open(tmp_path / "closing.db")
            writes = [asyncio.create_task(store.create(make_job(f"job-{n}"))) for n in range(50)]
            await asyncio.sleep(0)  # each has been handed to the writer, none need be done
            await store.close()
            return await asyncio.gather(*writes, return_exceptions=True)

        assert run(scenario()) == [None] * 50
        reopened = run(SqliteStore.open(tmp_path / "closing.db"))
        assert len(run(_names(reopened, 100))) == 50
        run(reopened.close())


_WRITER = """
import asyncio, sys
from pathlib import Path
from factories import make_job
from clary.jobs import transitions
from clary.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))

    async def write(worker):
        for n in range(100_000):
            job = make_job(f"job-{worker}-{n}")
            await store.create(job)
            print(job.training_job_name, 0, flush=True)
            written = await store.commit(transitions.say(job, "written again"))
            print(written.training_job_name, written.version, flush=True)

    await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(main())
"""


def _kill_while_writing(path: Path, acknowledged: int) -> dict[str, int]:
    """The newest version of each job that a process acknowledged before SIGKILL took it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    seen: dict[str, int] = {}
    with subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout):
            if count == acknowledged:
                writer.send_signal(signal.SIGKILL)
            if line.endswith(b"\n"):
                name, version = line.split()
                seen[name.decode()] = int(version)
    assert writer.returncode == -signal.SIGKILL
    return seen


@pytest.mark.parametrize("acknowledged", [0, 37, 400])
def test_what_was_acknowledged_outlives_the_death_of_the_process(run, tmp_path, acknowledged):
    """SIGKILL in the middle of eight writers: each job is there, at least as new as its last acknowledgement, and whole."""
    seen = _kill_while_writing(tmp_path / "jobs.db", acknowledged)
    assert len(seen) > acknowledged / 2

    async def survivors() -> dict[str, TrainingJob]:
        store = await SqliteStore.open(tmp_path / "jobs.db")
        try:
            return {name: await store.get(name) for name in await _names(store, 100)}
        finally:
            await store.close()

    kept = run(survivors())
    assert seen.keys() <= kept.keys()
    assert all(kept[name].version >= version for name, version in seen.items())
    assert len(kept) <= len(seen) + 8  # at most the one write of each writer that nobody was told of


@pytest.mark.parametrize(("point", "is_there"), [("store.written", False), ("store.committed", True)])
def test_a_write_is_there_as_soon_as_it_is_committed_and_not_before(run, tmp_path, point, is_there):
    """Killed just before the COMMIT, nothing is there; just after it, all is, though nobody was told."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CLARY_FAULT_CRASH": point}
    died = subprocess.run(
        [sys.executable, "-c", _WRITER, tmp_path / "jobs.db"], env=environment, stdout=subprocess.PIPE, timeout=60
    )
    assert died.returncode == -signal.SIGKILL
    assert died.stdout == b""
    store = run(SqliteStore.open(tmp_path / "jobs.db"))
    assert ("job-0-0" in run(_names(store))) is is_there
    run(store.close())


_DELETER = """
import asyncio, sys
from pathlib import Path
from factories import make_job
from clary.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    await store.delete(await store.get("job"))
    print("deleted", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(("point", "is_there"), [("store.written", True), ("store.committed", False)])
def test_a_killed_delete_has_happened_whole_or_not_at_all(run, tmp_path, point, is_there):
    """Killed just before the COMMIT, the job is there and whole; just after it, its name is free."""
    path = tmp_path / "jobs.db"
    job = make_job("job", status="Completed", released=True)

    async def create() -> None:
        store = await SqliteStore.open(path)
        await store.create(job)
        await store.close()

    run(create())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CLARY_FAULT_CRASH": point}
    died = subprocess.run([sys.executable, "-c", _DELETER, path], env=environment, stdout=subprocess.PIPE, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert died.stdout == b""
    store = run(SqliteStore.open(path))
    if is_there:
        assert run(store.get("job")) == job
    else:
        run(store.create(make_job("JOB")))
    run(store.close())
