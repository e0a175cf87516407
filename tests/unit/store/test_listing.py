"""The search for a page in SQLite: the same jobs as the plain model lists, and never more work than its budget."""

import asyncio
import random
import sqlite3

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.jobs.status import TrainingJobStatus
from clary.store import listing
from clary.store.memory import MemoryStore
from clary.store.port import ListQuery, SortBy
from clary.store.sqlite import SqliteStore
from factories import NOW, STEPS, make_job

_STATUSES = list(STEPS)


def _jobs(count, seed=1):
    """Jobs with many ties, letters of both cases, and times of modification that do not follow those of creation."""
    rng = random.Random(seed)
    names = set()
    while len(names) < count:
        names.add("".join(rng.choice("abAB-1") for _ in range(rng.randint(1, 6))).strip("-") or "x")
    distinct = {name.lower(): name for name in sorted(names)}
    for name in distinct.values():
        created = NOW + rng.randrange(12)
        job = make_job(name, at=created, status=rng.choice(_STATUSES))
        yield msgspec.structs.replace(job, last_modified_time=created + rng.randrange(12))


async def _walk(store, query, limit):
    cursor, names, pages = None, [], 0
    while True:
        page = await store.list(query, limit=limit, after=cursor)
        assert len(page.summaries) <= limit
        names += [summary.training_job_name for summary in page.summaries]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            return names, pages


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same 150 jobs in SQLite and in the model, and the loop to ask them on."""
    with asyncio.Runner() as runner:

        async def fill():
            sqlite, memory = await SqliteStore.open(tmp_path_factory.mktemp("list") / "jobs.db"), MemoryStore()
            jobs = list(_jobs(150))
            await asyncio.gather(*(sqlite.create(job) for job in jobs))
            for job in jobs:
                await memory.create(job)
            return sqlite, memory

        sqlite, memory = runner.run(fill())
        yield sqlite, memory, runner.run
        runner.run(sqlite.close())


_instants = st.none() | st.integers(NOW - 1, NOW + 25)
_queries = st.builds(
    ListQuery,
    sort_by=st.sampled_from(SortBy),
    descending=st.booleans(),
    status_equals=st.none() | st.sampled_from(TrainingJobStatus),
    name_contains=st.none() | st.text("abAB-1", min_size=1, max_size=3),
    creation_time_after=_instants,
    creation_time_before=_instants,
    last_modified_time_after=_instants,
    last_modified_time_before=_instants,
)


@pytest.mark.parametrize("budget", ["as it is", "walks in tiny steps", "few are few"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_queries, limit=st.integers(1, 40))
def test_sqlite_lists_what_the_model_lists(both, budget, query, limit):
    """For every query, whichever way it is answered; pages may be shorter, their sum is the same."""
    sqlite, memory, run = both
    with pytest.MonkeyPatch.context() as patch:
        if budget != "as it is":
            most = 0 if budget == "walks in tiny steps" else 20
            for name, value in {"NARROW_MAX": most, "NARROW_MAX_WITH_ROWS": most // 2}.items():
                patch.setattr(listing, name, value)
            patch.setattr(listing, "WINDOWS", (2, 5))
            patch.setattr(listing, "WINDOWS_WITH_ROWS", (1, 3))
            patch.setattr(listing, "WINDOWS_WITH_SCATTERED_ROWS", (3, 1))
        names, _ = run(_walk(sqlite, query, limit))
    assert names == run(_walk(memory, query, limit))[0]


@pytest.fixture
def many(tmp_path):
    """A store of 3,000 jobs, and its path."""

    async def fill():
        store = await SqliteStore.open(tmp_path / "jobs.db")
        base = make_job()
        await asyncio.gather(
            *(
                store.create(
                    msgspec.structs.replace(
                        base, training_job_name=f"job-{n:05}", creation_time=NOW + n, last_modified_time=NOW + n
                    )
                )
                for n in range(3000)
            )
        )
        await store.close()

    asyncio.run(fill())
    connection = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    yield connection
    connection.close()


def _steps(connection, query, after=None):
    """How many instructions SQLite's machine ran for one page, and the page."""
    count = 0

    def tick():
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 100)
    try:
        page = listing.find_page(connection, query, limit=100, after=after)
    finally:
        connection.set_progress_handler(None, 0)
    return count * 100, page


def test_a_search_that_finds_nothing_ends_with_its_budget(many, monkeypatch):
    """The page is empty, and its cursor goes on where the search stopped."""
    monkeypatch.setattr(listing, "WINDOWS", (100, 400))
    query = ListQuery(name_contains="nothing")
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        steps, page = _steps(many, query, cursor)
        assert page.summaries == ()
        assert steps < 500 * 30
        cursor, pages = page.cursor, pages + 1
    assert pages == 3000 / 500 + 1  # where the last window ends with the last job, nobody has looked behind it


@pytest.mark.parametrize("sort_by", SortBy)
@pytest.mark.parametrize("descending", [False, True])
def test_a_page_far_down_the_list_costs_what_the_first_costs(many, sort_by, descending):
    """The cursor is sought in the index; nothing before it is passed over again."""
    query = ListQuery(
        sort_by=sort_by, descending=descending, creation_time_after=NOW - 1, creation_time_before=NOW + 9999
    )
    first_steps, page = _steps(many, query)
    for _ in range(20):
        steps, page = _steps(many, query, page.cursor)
    assert len(page.summaries) == 100
    assert steps < 2 * first_steps


def test_few_jobs_modified_in_a_span_of_time_are_all_on_the_first_page(many, monkeypatch):
    """However far they are from where the order begins."""
    monkeypatch.setattr(listing, "WINDOWS_WITH_ROWS", (10,))
    query = ListQuery(descending=False, last_modified_time_after=NOW + 2990)
    _, page = _steps(many, query)
    assert [summary.creation_time for summary in page.summaries] == [NOW + n for n in range(2991, 3000)]
    assert page.cursor is None


def test_jobs_modified_before_a_moment_are_not_sought_among_those_created_later(many, monkeypatch):
    """Since none is there: newest first, the page is full although most jobs are newer."""
    monkeypatch.setattr(listing, "NARROW_MAX", 0)
    monkeypatch.setattr(listing, "WINDOWS_WITH_ROWS", (200,))
    _, page = _steps(many, ListQuery(last_modified_time_before=NOW + 500))
    assert len(page.summaries) == 100
    assert page.summaries[0].creation_time == NOW + 499
