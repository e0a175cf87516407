"""How SQLite searches: behind the writes, within bounds, and whatever is wrong with one job."""

import asyncio
import sqlite3

import msgspec
import pytest

from clary.jobs.model import Tag
from clary.jobs.search import SearchQuery
from clary.service.search import to_record
from clary.service.search_expression import parse
from clary.service.search_properties import resolve
from clary.store import search, search_index
from clary.store.errors import DatabaseUnavailable
from clary.store.migrations import migrate, migrations
from clary.store.sqlite import SqliteStore
from factories import NOW, make_job


@pytest.fixture
def run():
    """Runs a coroutine on the one loop of the test."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def query(*filters, sort_by="LastModifiedTime"):
    return SearchQuery(sort_by=resolve(sort_by), expression=parse({"Filters": list(filters)}) if filters else None)


async def names(store, wanted):
    page = await store.search(wanted, limit=100, record=to_record)
    return [record["TrainingJobName"] for record in page.records]


IN_TEAM_A = {"Name": "Tags.team", "Value": "a"}


def team(name, **changes):
    return make_job(name, tags=(Tag(key="team", value="a"),), **changes)


def rows(path, sql):
    connection = sqlite3.connect(path)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


def test_what_was_noted_but_not_filed_is_filed_after_a_restart(run, path, monkeypatch):
    """The notes are in the file."""
    monkeypatch.setattr(search_index, "LEISURE_S", 3600)

    async def scenario():
        store = await SqliteStore.open(path)
        for n in range(3):
            await store.create(team(f"job-{n}", at=NOW + n))
        await store.close()
        assert rows(path, "SELECT count(*) FROM search_value") == [(0,)]
        store = await SqliteStore.open(path)
        found = await names(store, query(IN_TEAM_A))
        await store.close()
        return found

    assert run(scenario()) == ["job-2", "job-1", "job-0"]


def test_at_leisure_jobs_are_filed_without_a_search(run, path, monkeypatch):
    """Soon after they were written, and once however often."""
    monkeypatch.setattr(search_index, "LEISURE_S", 0.001)

    async def scenario():
        store = await SqliteStore.open(path)
        for n in range(5):
            job = team(f"job-{n}")
            await store.create(job)
            await store.commit(job)
        while rows(path, "SELECT count(*) FROM search_backlog") != [(0,)]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # nothing says when filing is done: nobody waits for it
        await store.close()

    run(asyncio.wait_for(scenario(), 30))
    assert rows(path, "SELECT count(*) FROM search_value WHERE property = 'Tags.team'") == [(5,)]


def test_jobs_of_an_older_database_are_found(run, path):
    """They were written before there was anything to search by."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, {number: sql for number, sql in migrations().items() if number < 3})
    job = team("old")
    connection.execute(
        "INSERT INTO training_job VALUES (1, 'old', ?, ?, ?, NULL, 'InProgress', 'Starting', 0, 0)",
        (job.training_job_arn, job.creation_time, job.last_modified_time),
    )
    connection.execute("INSERT INTO training_job_document VALUES (1, ?)", (msgspec.json.encode(job),))
    connection.close()

    async def scenario():
        store = await SqliteStore.open(path)
        found = await names(store, query(IN_TEAM_A))
        await store.close()
        return found

    assert run(scenario()) == ["old"]


def test_a_damaged_job_hides_no_other(run, path, monkeypatch):
    """Others are filed; a search that comes upon it says so."""
    monkeypatch.setattr(search_index, "LEISURE_S", 3600)

    async def scenario():
        store = await SqliteStore.open(path)
        for n in range(3):
            await store.create(team(f"job-{n}", at=NOW + n))
        await store.close()
        connection = sqlite3.connect(path)
        connection.execute("UPDATE training_job_document SET document = x'7b22' WHERE id = 2")
        connection.commit()
        connection.close()
        store = await SqliteStore.open(path)
        found = await names(store, query(IN_TEAM_A))
        with pytest.raises(DatabaseUnavailable, match="damaged"):
            await names(store, query())
        await store.close()
        return found

    assert run(scenario()) == ["job-2", "job-0"]


def test_a_search_of_everything_ends_when_the_store_closes(run, path, monkeypatch):
    """And says that the store is closed."""
    monkeypatch.setattr(search, "SCAN_AT_ONCE", 1)

    async def scenario():
        store = await SqliteStore.open(path)
        await asyncio.gather(*(store.create(make_job(f"job-{n}")) for n in range(200)))
        closing = []

        def record(job):
            if not closing:
                closing.append(asyncio.run_coroutine_threadsafe(store.close(), loop))
            while not store._closed:  # the loop runs meanwhile
                pass
            return to_record(job)

        loop = asyncio.get_running_loop()
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await store.search(query(sort_by="RoleArn"), limit=10, record=record)
        await asyncio.wrap_future(closing[0])

    run(asyncio.wait_for(scenario(), 60))


@pytest.fixture
def many(run, path):
    """A store of 3,000 jobs that are all filed."""

    async def fill():
        store = await SqliteStore.open(path)
        await asyncio.gather(*(store.create(team(f"job-{n:05}", at=NOW + n)) for n in range(3000)))
        await store.property_names("", limit=1)
        return store

    store = run(fill())
    yield store
    run(store.close())


def _steps(path, wanted, after=None):
    """How many instructions SQLite's machine ran for one page, and the page."""
    connection = sqlite3.connect(path, isolation_level=None)
    count = 0

    def tick():
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 100)
    page = search.Search(connection, wanted, limit=10, record=to_record).page(after)
    connection.close()
    return count * 100, page


@pytest.mark.parametrize("sort_by", ["TrainingJobName", "CreationTime", "LastModifiedTime", "Tags.team"])
@pytest.mark.parametrize(
    "nothing",
    [
        {"Name": "TrainingJobName", "Operator": "Contains", "Value": "nobody"},
        {"Name": "RoleArn", "Value": "nobody"},
        {"Name": "StoppingCondition.MaxRuntimeInSeconds", "Value": "5"},
        {"Name": "Tags.team", "Operator": "Contains", "Value": "nobody"},
    ],
)
def test_a_search_that_finds_nothing_ends_with_its_budget(many, path, monkeypatch, sort_by, nothing):
    """The page is empty, its cursor goes on, and all pages together have looked at every job."""
    monkeypatch.setattr(search, "BUDGET", 4000)
    monkeypatch.setattr(search, "JUDGED_MAX", 400)
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        steps, page = _steps(path, query(nothing, sort_by=sort_by), cursor)
        assert page.records == ()
        assert steps < 5000 * 30
        cursor, pages = page.cursor, pages + 1
    assert pages < 300


@pytest.mark.parametrize("sort_by", ["TrainingJobName", "CreationTime", "LastModifiedTime", "Tags.team"])
def test_a_page_far_behind_costs_what_the_first_costs(many, path, sort_by):
    """The cursor is sought in the index; nothing before it is passed over again."""
    wanted = query(IN_TEAM_A, {"Name": "TrainingJobStatus", "Value": "InProgress"}, sort_by=sort_by)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(search, "FEW_MAX", 100)
    first_steps, page = _steps(path, wanted)
    for _ in range(100):
        steps, page = _steps(path, wanted, page.cursor)
    monkey.undo()
    assert len(page.records) == 10
    assert steps < 2 * first_steps
