"""What `clary.store.algorithm_port.AlgorithmStore` promises, held against both adapters."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from clary.base.clock import Instant
from clary.jobs.algorithm import Algorithm, AlgorithmRequest, AlgorithmStatus
from clary.jobs.model import Tag
from clary.store.algorithm_port import (
    AlgorithmCursor,
    AlgorithmNameTaken,
    AlgorithmPage,
    AlgorithmQuery,
    AlgorithmSortBy,
    AlgorithmStore,
    NoSuchAlgorithm,
    StaleAlgorithm,
)
from clary.store.errors import DatabaseUnavailable
from clary.store.memory_algorithms import MemoryAlgorithmStore
from clary.store.sqlite import SqliteStore
from factories import NOW, make_job, make_training_specification

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def make_algorithm(name: str = "algorithm", *, at: int = NOW, **changes: Any) -> Algorithm:
    algorithm = Algorithm(
        algorithm_name=name,
        algorithm_arn=f"arn:aws:sagemaker:us-east-1:000000000000:algorithm/{name.lower()}",
        request=AlgorithmRequest(algorithm_name=name, training_specification=make_training_specification()),
        creation_time=Instant(at),
    )
    return msgspec.structs.replace(algorithm, **changes)


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine on the one loop of the test."""
    with asyncio.Runner() as runner:
        yield runner.run


async def _pages(store: AlgorithmStore, query: AlgorithmQuery, limit: int) -> AsyncIterator[AlgorithmPage]:
    cursor: AlgorithmCursor | None = None
    while True:
        page = await store.list(query, limit=limit, after=cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


async def _names(store: AlgorithmStore, limit: int = 2, **query: Any) -> list[str]:
    return [s.algorithm_name async for page in _pages(store, AlgorithmQuery(**query), limit) for s in page.summaries]


class AlgorithmStoreContract:
    @pytest.fixture
    def store(self, run: Run) -> Iterator[AlgorithmStore]:
        raise NotImplementedError

    def test_an_algorithm_comes_back_as_it_was_kept(self, store, run):
        """With everything that it can carry, and found whatever the letter case."""
        algorithm = make_algorithm(
            "My-Algorithm", tags=(Tag(key="k", value="v"),), algorithm_status=AlgorithmStatus.FAILED
        )
        inference = {"Containers": [{"Image": "i", "ModelInput": {"DataInputConfig": "Ö"}}]}
        algorithm = msgspec.structs.replace(
            algorithm,
            request=msgspec.structs.replace(
                algorithm.request, inference_specification=inference, certify_for_marketplace=False
            ),
        )
        run(store.create(algorithm))
        assert run(store.get("My-Algorithm")) == algorithm
        assert run(store.get("my-algorithm")) == algorithm

    def test_what_was_never_created_is_not_there(self, store, run):
        """Neither to be read nor to be written nor to be deleted."""
        for attempt in (store.get("a"), store.commit(make_algorithm("a")), store.delete("a")):
            with pytest.raises(NoSuchAlgorithm):
                run(attempt)
        assert run(_names(store)) == []

    @pytest.mark.parametrize("name", ["name-a", "NAME-A", "Name-a"])
    def test_names_that_differ_only_in_letter_case_collide(self, store, run, name):
        """The refusal carries the ARN of the algorithm that is there, and that one is untouched."""
        first = make_algorithm("Name-A")
        run(store.create(first))
        with pytest.raises(AlgorithmNameTaken) as refusal:
            run(store.create(make_algorithm(name, at=NOW + 5)))
        assert refusal.value.algorithm_arn == first.algorithm_arn
        assert run(_names(store)) == ["Name-A"]
        assert run(store.get("Name-A")) == first

    def test_a_deleted_name_is_free_again(self, store, run):
        """And nothing of the old algorithm is left."""
        run(store.create(make_algorithm("Name", tags=(Tag(key="k", value="v"),))))
        run(store.delete("name"))
        assert run(_names(store)) == []
        with pytest.raises(NoSuchAlgorithm):
            run(store.get("Name"))
        again = make_algorithm("NAME", at=NOW + 9)
        run(store.create(again))
        assert run(store.get("name")) == again

    def test_a_commit_is_guarded_by_the_version(self, store, run):
        """The answer is what is read from then on; a stale write changes nothing."""
        algorithm = make_algorithm()
        run(store.create(algorithm))
        written = run(store.commit(msgspec.structs.replace(algorithm, tags=(Tag(key="a", value="b"),))))
        assert written.version == 1
        for version in (0, 2):
            with pytest.raises(StaleAlgorithm):
                run(store.commit(msgspec.structs.replace(algorithm, version=version)))
        assert run(store.get("algorithm")) == written

    def test_a_write_that_is_refused_does_not_fail_its_neighbours(self, store, run):
        """Good and bad writes at the same moment: each gets its own answer."""

        async def together() -> list[Any]:
            await store.create(make_algorithm("there"))
            return await asyncio.gather(
                store.create(make_algorithm("new")),
                store.create(make_algorithm("THERE")),
                store.commit(make_algorithm("there", version=7)),
                store.delete("nowhere"),
                store.commit(make_algorithm("there")),
                return_exceptions=True,
            )

        outcomes = [type(outcome) for outcome in run(together())]
        assert outcomes == [type(None), AlgorithmNameTaken, StaleAlgorithm, NoSuchAlgorithm, Algorithm]
        assert sorted(run(_names(store))) == ["new", "there"]

    def test_a_summary_says_what_the_algorithm_says(self, store, run):
        """With a description and without."""
        plain = make_algorithm("a")
        described = msgspec.structs.replace(
            make_algorithm("b"), request=msgspec.structs.replace(plain.request, algorithm_description="words")
        )
        run(store.create(plain))
        run(store.create(described))
        page = run(store.list(AlgorithmQuery(), limit=9))
        assert [s.algorithm_description for s in page.summaries] == [None, "words"]
        for summary, algorithm in zip(page.summaries, (plain, described), strict=True):
            for member in ("algorithm_name", "algorithm_arn", "creation_time", "algorithm_status"):
                assert getattr(summary, member) == getattr(algorithm, member)

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    @pytest.mark.parametrize("descending", [False, True])
    def test_a_list_is_sorted_by_what_was_asked_for_and_then_by_name(self, store, run, limit, descending):
        """Capitals come before small letters; ties in time are broken by the name, in the same direction."""
        for name, at in (("b", 0), ("C", 0), ("a", 1), ("D", -1)):
            run(store.create(make_algorithm(name, at=NOW + at)))
        step = -1 if descending else 1
        by_name = run(_names(store, limit, sort_by=AlgorithmSortBy.NAME, descending=descending))
        assert by_name == ["C", "D", "a", "b"][::step]
        by_creation = run(_names(store, limit, sort_by=AlgorithmSortBy.CREATION_TIME, descending=descending))
        assert by_creation == ["D", "C", "b", "a"][::step]

    @pytest.mark.parametrize("sort_by", AlgorithmSortBy)
    def test_each_filter_lets_pass_what_it_says(self, store, run, sort_by):
        """Time bounds are exclusive, a name must contain the letters in their case, and all filters hold together."""
        for name, at in (("xgb-one", 0), ("xgb-two", 10), ("XGB-three", 20)):
            run(store.create(make_algorithm(name, at=NOW + at)))

        def listed(**query: Any) -> set[str]:
            return set(run(_names(store, 1, sort_by=sort_by, **query)))

        assert listed(name_contains="xgb") == {"xgb-one", "xgb-two"}
        assert listed(name_contains="%") == set()
        assert listed(creation_time_after=NOW) == {"xgb-two", "XGB-three"}
        assert listed(creation_time_before=NOW + 20) == {"xgb-one", "xgb-two"}
        assert listed(creation_time_after=NOW, creation_time_before=NOW + 20, name_contains="o") == {"xgb-two"}

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("sort_by", AlgorithmSortBy)
    def test_what_comes_and_goes_between_two_pages_neither_repeats_nor_hides_another(
        self, store, run, sort_by, descending
    ):
        """Each algorithm that is there from start to end is listed once; the last of a page may even be deleted."""
        count = itertools.count()

        def another() -> Algorithm:
            n = next(count)
            return make_algorithm(f"{'zma'[n % 3]}-{n:03}", at=NOW + (n * 37) % 11)

        async def walk() -> tuple[set[str], list[str]]:
            there = [another() for _ in range(20)]
            for algorithm in there:
                await store.create(algorithm)
            seen: list[str] = []
            async for page in _pages(store, AlgorithmQuery(sort_by=sort_by, descending=descending), 3):
                seen += [summary.algorithm_name for summary in page.summaries]
                if len(seen) < 20:
                    await store.create(another())
                    await store.delete(seen[-1])
            return {algorithm.algorithm_name for algorithm in there}, seen

        there, seen = run(walk())
        assert there <= set(seen)
        assert len(seen) == len(set(seen))


class TestMemoryAlgorithmStore(AlgorithmStoreContract):
    @pytest.fixture
    def store(self, run):
        return MemoryAlgorithmStore()


class TestSqliteAlgorithmStore(AlgorithmStoreContract):
    @pytest.fixture
    def jobs(self, run, tmp_path):
        store = run(SqliteStore.open(tmp_path / "jobs.db"))
        yield store
        run(store.close())

    @pytest.fixture
    def store(self, jobs):
        return jobs.algorithms()

    def test_algorithms_last_beside_the_jobs_in_one_file(self, run, tmp_path):
        """A job and an algorithm may have one name; both are there after the file is opened again."""

        async def write() -> None:
            jobs = await SqliteStore.open(tmp_path / "both.db")
            await asyncio.gather(jobs.create(make_job("name")), jobs.algorithms().create(make_algorithm("name")))
            await jobs.close()

        async def read() -> tuple[Any, Any]:
            jobs = await SqliteStore.open(tmp_path / "both.db")
            found = await jobs.get("name"), await jobs.algorithms().get("name")
            await jobs.close()
            return found

        run(write())
        assert run(read()) == (make_job("name"), make_algorithm("name"))

    def test_a_closed_store_says_so(self, store, jobs, run):
        """Instead of hanging or writing into the void."""
        run(jobs.close())
        for attempt in (store.get("a"), store.create(make_algorithm()), store.list(AlgorithmQuery(), limit=1)):
            with pytest.raises(DatabaseUnavailable, match="closed"):
                run(attempt)
