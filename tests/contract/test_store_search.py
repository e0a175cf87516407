"""Searches: what every store promises of them, and that what SQLite finds is what the meaning of the expression says."""

import asyncio
import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.jobs import transitions
from clary.jobs.model import MetricData, Tag
from clary.jobs.search import LACKING, SearchQuery, matches, sort_key, values
from clary.service.search import to_record
from clary.service.search_expression import parse
from clary.service.search_properties import resolve
from clary.store import search, search_few
from clary.store.faulty import FaultyStore
from clary.store.memory import MemoryStore
from clary.store.sqlite import SqliteStore
from factories import NOW, STEPS, make_groups, make_job, make_request

HYPER_PARAMETERS = [
    "0",
    "-0.5",
    "-1",
    "0.1",
    "0.10",
    "1",
    "1.5",
    "2",
    "3.7",
    "1e2",
    "adam",
    "Adam",
    "",
    "x" * 250,
    'é\n"\\',
]
IMAGES = ["clary/python", "clary/xgboost", "123456789012.dkr.ecr.us-east-1.amazonaws.com/own:1"]
SORTS = [
    "TrainingJobName",
    "TrainingJobStatus",
    "CreationTime",
    "LastModifiedTime",
    "HyperParameters.p",
    "Metrics.loss",
    "Tags.team",
    "ResourceConfig.InstanceType",
    "ResourceConfig.InstanceCount",
    "TrainingEndTime",
    "FailureReason",
    "InputDataConfig.ChannelName",
]


@pytest.fixture
def run():
    """Runs a coroutine on the one loop of the test."""
    with asyncio.Runner() as runner:
        yield runner.run


def query(expression=None, *, sort_by="LastModifiedTime", descending=True):
    return SearchQuery(
        sort_by=resolve(sort_by), expression=None if expression is None else parse(expression), descending=descending
    )


def only(name, operator=None, value=None):
    """An expression of one filter."""
    filter_ = {"Name": name}
    if operator is not None:
        filter_["Operator"] = operator
    if value is not None:
        filter_["Value"] = value
    return {"Filters": [filter_]}


async def found(store, wanted, limit=3):
    """All records, page by page."""
    cursor, records = None, []
    while True:
        page = await store.search(wanted, limit=limit, record=to_record, after=cursor)
        assert len(page.records) <= limit
        records += page.records
        cursor = page.cursor
        if cursor is None:
            return records


async def names(store, *arguments, limit=3, **options):
    return [record["TrainingJobName"] for record in await found(store, query(*arguments, **options), limit)]


def tags(**tags):
    return tuple(Tag(key=key, value=value) for key, value in tags.items())


def metrics(**metrics):
    return tuple(MetricData(metric_name=name, value=value, timestamp=NOW) for name, value in metrics.items())


def random_jobs(count, seed=1, prefix=""):
    """Jobs that have little and much in common."""
    rng = random.Random(seed)
    statuses = list(STEPS)
    for n in range(count):
        name = f"{prefix}{rng.choice(['xgb', 'Torch', 'tune'])}-{n:03}"
        request = make_request(
            name,
            instance_count=rng.choice([1, 1, 2, 10]),
            channels=rng.choice([(), ("train",), ("train", "validation")]),
            hyper_parameters={key: rng.choice(HYPER_PARAMETERS) for key in ("p", "q", "a.b") if rng.random() < 0.7},
            environment={"E": rng.choice(["1", "clary/python"])} if rng.random() < 0.3 else {},
        )
        if n % 5 == 0:
            request = msgspec.structs.replace(request, resource_config=make_groups(cpu=1, gpu=n % 3 + 1))
        request = msgspec.structs.replace(
            request,
            algorithm_specification=msgspec.structs.replace(
                request.algorithm_specification, training_image=rng.choice(IMAGES)
            ),
        )
        job = make_job(
            name,
            at=NOW + rng.randrange(0, 4000, 250),
            status=rng.choice(statuses),
            request=request,
            tags=tuple(
                Tag(key=key, value=rng.choice(["a", "b", "", "1.5"])) for key in ("team", "x") if rng.random() < 0.6
            ),
            final_metric_data_list=tuple(
                MetricData(metric_name=key, value=rng.choice([0.1, 0.25, 1.0, 2.5, -3.0]), timestamp=NOW)
                for key in ("loss", "train:acc")
                if rng.random() < 0.6
            ),
        )
        if job.training_end_time is not None and rng.random() < 0.8:
            job = msgspec.structs.replace(job, s3_model_artifacts=f"s3://models/out/{name}/output/model.tar.gz")
        yield msgspec.structs.replace(job, last_modified_time=job.last_modified_time + rng.randrange(0, 3000, 500))


class SearchContract:
    @pytest.fixture
    def store(self, run):
        raise NotImplementedError

    def fill(self, run, store, *jobs):
        for job in jobs:
            run(store.create(job))

    def test_a_job_is_found_as_soon_as_it_is_written(self, store, run):
        """And as it is written last: status, tags, metrics, name."""
        job = make_job("job", tags=tags(team="a"))
        self.fill(run, store, job, make_job("other"))
        assert run(names(store, only("Tags.team", "Equals", "a"))) == ["job"]
        job = run(store.commit(transitions.retag(job, tags(team="b", more="c"))))
        assert run(names(store, only("Tags.team", "Equals", "a"))) == []
        assert run(names(store, only("Tags.more", "Exists"))) == ["job"]
        job = run(store.commit(transitions.observe_metrics(job, metrics(loss=0.5))))
        assert run(names(store, only("Metrics.loss", "LessThan", "0.6"))) == ["job"]
        run(store.commit(transitions.retag(job, ())))
        assert run(names(store, only("Tags.team", "Exists"))) == []

    def test_a_deleted_job_is_not_found(self, store, run):
        """Nor is a later job of its name taken for it."""
        job = make_job("job", status="Completed", tags=tags(team="a"))
        self.fill(run, store, job)
        assert run(names(store, only("Tags.team"))) == ["job"]
        run(store.delete(job))
        assert run(names(store, only("Tags.team"))) == run(names(store)) == []
        self.fill(run, store, make_job("job", at=NOW + 9))
        assert run(names(store, only("Tags.team"))) == []
        assert run(names(store)) == ["job"]

    @pytest.mark.parametrize("sort_by", SORTS)
    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("limit", [1, 7, 100])
    def test_everything_is_found_once_in_the_wanted_order(self, store, run, sort_by, descending, limit):
        """Jobs that lack the property come last in either direction."""
        self.fill(run, store, *random_jobs(40))
        wanted = query(sort_by=sort_by, descending=descending)
        records = run(found(store, wanted, limit))
        assert len({record["TrainingJobName"] for record in records}) == len(records) == 40
        keys = [sort_key(wanted.sort_by, record) for record in records]
        having = [key for key in keys if key[0] != LACKING]
        assert keys[: len(having)] == having
        assert having == sorted(having, reverse=descending)

    @pytest.mark.parametrize("sort_by", ["CreationTime", "Metrics.loss", "Tags.team", "ResourceConfig.InstanceCount"])
    def test_jobs_that_arrive_between_two_pages_neither_hide_nor_repeat_another(self, store, run, sort_by):
        """Each of the first jobs is on one page."""
        first = list(random_jobs(30))
        later = list(random_jobs(30, seed=2, prefix="later-"))
        self.fill(run, store, *first)
        wanted, cursor, seen = query(sort_by=sort_by), None, []
        while True:
            page = run(store.search(wanted, limit=4, record=to_record, after=cursor))
            seen += [record["TrainingJobName"] for record in page.records]
            self.fill(run, store, *later[:3])
            del later[:3]
            cursor = page.cursor
            if cursor is None:
                break
        assert len(set(seen)) == len(seen)
        assert {job.training_job_name for job in first} <= set(seen)

    def test_whatever_a_record_shows_can_be_searched_for(self, store, run):
        """Each value of each job, by Equals: the job is among those found."""
        jobs = list(random_jobs(12))
        self.fill(run, store, *jobs)
        for job in jobs:
            record = to_record(job)
            for name in (
                *SORTS,
                "OutputDataConfig.CompressionType",
                "InputDataConfig.CompressionType",
                "InputDataConfig.DataSource.S3DataSource.S3Uri",
                "ResourceConfig.InstanceGroups.InstanceGroupName",
                "AlgorithmSpecification.TrainingImage",
                "ModelArtifacts.S3ModelArtifacts",
                "RoleArn",
                "TrainingJobArn",
                "SecondaryStatus",
                "Environment.E",
                "HyperParameters.a.b",
            ):
                for value in values(record, resolve(name).path):
                    if isinstance(value, str) and value:
                        assert job.training_job_name in run(names(store, only(name, None, value), limit=100)), name

    def test_names_of_properties_are_suggested_by_how_they_begin(self, store, run):
        """Each name once, in order, of the three families alone."""
        self.fill(run, store, *random_jobs(12))
        everything = (
            "HyperParameters.a.b",
            "HyperParameters.p",
            "HyperParameters.q",
            "Metrics.loss",
            "Metrics.train:acc",
            "Tags.team",
            "Tags.x",
        )
        assert run(store.property_names("", limit=100)) == everything
        assert run(store.property_names("", limit=4)) == everything[:4]
        assert run(store.property_names("Metrics.t", limit=10)) == ("Metrics.train:acc",)
        assert run(store.property_names("H", limit=10)) == everything[:3]
        assert run(store.property_names("R", limit=10)) == ()


class TestMemoryStore(SearchContract):
    @pytest.fixture
    def store(self, run):
        return MemoryStore()


class TestFaultyStore(SearchContract):
    @pytest.fixture
    def store(self, run):
        return FaultyStore(MemoryStore())


class TestSqliteStore(SearchContract):
    @pytest.fixture
    def store(self, run, tmp_path):
        store = run(SqliteStore.open(tmp_path / "jobs.db"))
        yield store
        run(store.close())


_names = st.sampled_from(
    [
        *SORTS,
        "HyperParameters.a.b",
        "HyperParameters.q",
        "Metrics.train:acc",
        "Tags.x",
        "Tags.none",
        *("HyperParameters", "Tags", "Metrics"),
        "Environment.E",
        "AlgorithmSpecification.TrainingImage",
        "InputDataConfig.DataSource.S3DataSource.S3Uri",
        "InputDataConfig.CompressionType",
        "ResourceConfig.InstanceGroups.InstanceType",
        "ResourceConfig.InstanceGroups.InstanceCount",
        "ModelArtifacts.S3ModelArtifacts",
        "RoleArn",
        "TrainingJobArn",
        "SecondaryStatus",
        "EnableNetworkIsolation",
        "VpcConfig",
        "SecondaryStatusTransitions.Status",
    ]
)
_values = st.sampled_from(
    [
        *filter(None, HYPER_PARAMETERS),
        *IMAGES,
        *(
            "a",
            "b",
            "a,b,1.5",
            "1,adam",
            "xgb-003",
            "T",
            "e",
            "Completed",
            "InProgress",
            "Completed,Failed",
            "Training",
        ),
        *(
            "train",
            "s3://data/train/",
            "GZIP",
            "None",
            "true",
            "false",
            "-3",
            "0.25",
            "2.5",
            "10",
            "1e3",
            "ml.m5.large",
            "ml.c5.xlarge",
        ),
        *("2023-11-14T22:13:20", "2023-11-14T22:13:21", "2023-11-14T22:13:22.500", "2023-11-14T22:13:25Z"),
    ]
)
_operators = st.none() | st.sampled_from(
    [
        *("Equals", "NotEquals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo"),
        *("Contains", "Exists", "NotExists", "In"),
    ]
)


def _filter(name, operator, value):
    bare = operator in {"Exists", "NotExists"}
    return {"Name": name} | ({"Operator": operator} if operator else {}) | ({} if bare else {"Value": value})


def _means_something(expression):
    try:
        parse(expression)
    except Exception:  # whatever is refused is no matter of stores
        return False
    return True


_filters = st.builds(_filter, _names, _operators, _values).filter(lambda f: _means_something({"Filters": [f]}))
_groups = st.builds(
    lambda instance_type, count: {
        "NestedPropertyName": "ResourceConfig.InstanceGroups",
        "Filters": [
            {"Name": "ResourceConfig.InstanceGroups.InstanceType", "Value": instance_type},
            {"Name": "ResourceConfig.InstanceGroups.InstanceCount", "Operator": "GreaterThan", "Value": count},
        ],
    },
    st.sampled_from(["ml.m5.large", "ml.c5.xlarge"]),
    st.sampled_from(["0", "1", "2"]),
)
_channels = st.builds(
    lambda filters: {"NestedPropertyName": "InputDataConfig", "Filters": filters},
    st.lists(
        st.builds(
            _filter,
            st.sampled_from(["InputDataConfig.ChannelName", "InputDataConfig.DataSource.S3DataSource.S3Uri"]),
            st.sampled_from(["Equals", "NotEquals", "Contains", "Exists"]),
            st.sampled_from(["train", "validation", "s3://data/train/"]),
        ),
        min_size=1,
        max_size=2,
    ),
)


def _some(filters, nested, subexpressions, operator):
    given = {"Filters": filters, "NestedFilters": nested, "SubExpressions": subexpressions}
    return {name: value for name, value in given.items() if value} | ({"Operator": operator} if operator else {})


def _level(below):
    return st.builds(
        _some,
        st.lists(_filters, max_size=3),
        st.lists(_channels | _groups, max_size=1),
        st.lists(below, max_size=2),
        st.sampled_from([None, "And", "Or"]),
    )


_expressions = st.none() | _level(_level(_filters.map(lambda f: {"Filters": [f]}))).filter(_means_something)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same 120 jobs in SQLite and in the model, and the loop to ask them on."""
    with asyncio.Runner() as runner:

        async def fill():
            sqlite, memory = await SqliteStore.open(tmp_path_factory.mktemp("search") / "jobs.db"), MemoryStore()
            for job in random_jobs(120):
                await sqlite.create(job)
                await memory.create(job)
            return sqlite, memory

        sqlite, memory = runner.run(fill())
        yield sqlite, memory, runner.run
        runner.run(sqlite.close())


@pytest.mark.parametrize("budget", ["as it is", "walks in tiny steps", "few are few"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(expression=_expressions, sort_by=st.sampled_from(SORTS), descending=st.booleans(), limit=st.integers(1, 40))
def test_sqlite_finds_what_the_expression_means(both, budget, expression, sort_by, descending, limit):
    """For every expression and order, whichever way jobs are found; pages may be shorter, their sum is the same."""
    sqlite, memory, run = both
    wanted = query(expression, sort_by=sort_by, descending=descending)
    with pytest.MonkeyPatch.context() as patch:
        if budget != "as it is":
            patch.setattr(search, "FEW_MAX", 0 if budget == "walks in tiny steps" else 15)
            patch.setattr(search_few, "FEW_ENOUGH", 3)
            patch.setattr(search, "BUDGET", 60)
            patch.setattr(search, "FIRST_WINDOW", 7)
            patch.setattr(search, "JUDGED_MAX", 3)
            patch.setattr(search, "SCAN_AT_ONCE", 11)
        records = run(found(sqlite, wanted, limit))
    expected = run(found(memory, wanted, limit))
    by_name = {record["TrainingJobName"]: record for record in records}
    assert len(by_name) == len(records)
    assert by_name == {record["TrainingJobName"]: record for record in expected}
    assert all(matches(wanted.expression, record) for record in records)
    keys = [sort_key(wanted.sort_by, record) for record in records]
    assert keys == [sort_key(wanted.sort_by, record) for record in expected]
    assert all(before[0] != LACKING or after[0] == LACKING for before, after in pairwise(keys))
