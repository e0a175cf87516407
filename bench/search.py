"""How fast pages of ListTrainingJobs and Search are found among many jobs, in the store, without the wire.

    PYTHONPATH=src:tests python bench/search.py [JOBS]

Fills a store with JOBS jobs (default 100,000) of the kind a busy team has: five hyperparameters, three tags, two metrics.
Prints one JSON object: how long filling and filing took; p50 and p99, in milliseconds, of pages of 10 and of 100 of each
kind of query, each page beginning where the last of its kind ended; for the kinds that few jobs satisfy, how many pages
it took to find them all, and how long. Kinds that no index serves look at all jobs for each page: they are listed apart.
"""

import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from clary.jobs.model import MetricData, Tag, TrainingJob
from clary.jobs.search import SearchQuery
from clary.jobs.status import TrainingJobStatus
from clary.service.search import _query, to_record
from clary.store.port import Cursor, ListQuery, SearchCursor, SortBy
from clary.store.sqlite import SqliteStore
from factories import NOW, arn, make_job

SPACING_MS = 1000
PAGES_OF_A_KIND = 40
STATUSES = ["Completed"] * 800 + ["Failed"] * 145 + ["Stopped"] * 50 + ["Training"] * 5
TYPES = ["ml.m5.large"] * 60 + ["ml.g5.xlarge"] * 30 + ["ml.p3.2xlarge"] * 10
TEAMS = ["vision", "speech", "ads", "search"]

_TEMPLATES = {status: make_job(status=status) for status in set(STATUSES)}


def jobs(count: int) -> Iterator[TrainingJob]:
    """Jobs, one a second; a few have a tag, an instance type or a metric that is rare."""
    rng = random.Random(1)
    for n in range(count):
        name = f"{rng.choice(('xgboost', 'pytorch-training', 'sklearn', 'tune'))}-{n:08x}-{rng.randrange(10**6):06}"
        created = NOW + SPACING_MS * n
        template = _TEMPLATES[rng.choice(STATUSES)]
        rare = n % 50_000 == 4_321
        request = msgspec.structs.replace(
            template.request,
            training_job_name=name,
            hyper_parameters={
                "epochs": str(rng.choice((1, 3, 10, 30))),
                "learning_rate": f"{rng.choice((1, 2, 5)) * 10 ** -rng.randrange(1, 6):.6f}",
                "max_depth": str(rng.randrange(2, 12)),
                "optimizer": rng.choice(("adam", "sgd", "lamb")),
                "seed": str(rng.randrange(10**6)),
            },
            resource_config=msgspec.structs.replace(
                template.request.resource_config, instance_type="ml.p4d.24xlarge" if rare else rng.choice(TYPES)
            ),
            role_arn=f"arn:aws:iam::000000000000:role/{'rare' if rare else rng.choice(TEAMS)}",
        )
        yield msgspec.structs.replace(
            template,
            training_job_name=name,
            training_job_arn=arn(name),
            request=request,
            creation_time=created,
            last_modified_time=created + rng.randrange(20 * 60_000),
            released=template.is_terminal,
            tags=(
                Tag(key="team", value=rng.choice(TEAMS)),
                Tag(key="cost-center", value=str(rng.randrange(100))),
                Tag(key="release", value="golden" if rare else "nightly"),
            ),
            final_metric_data_list=tuple(
                MetricData(metric_name=name, value=rng.random(), timestamp=created)
                for name in ("validation:accuracy", "train:loss")
            )
            if template.is_terminal
            else (),
        )


def _filter(name: str, value: str | None = None, operator: str | None = None) -> dict[str, str]:
    given = {"Name": name, "Value": value, "Operator": operator}
    return {member: said for member, said in given.items() if said is not None}


def _time(count: int, share: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime((NOW + SPACING_MS * count * share) / 1000))


def searches(count: int) -> dict[str, dict[str, Any]]:
    """Requests that an index serves."""
    team, loss = _filter("Tags.team", "ads"), _filter("Metrics.train:loss", "0.1", "LessThan")
    both = {"SubExpressions": [{"Filters": [team]}, {"Filters": [_filter("HyperParameters.optimizer", "sgd")]}]}
    accuracy = "Metrics.validation:accuracy"
    expressions: dict[str, list[dict[str, str]]] = {
        "status": [_filter("TrainingJobStatus", "Failed")],
        "status, rare": [_filter("TrainingJobStatus", "InProgress")],
        "name contains": [_filter("TrainingJobName", "tune", "Contains")],
        "name contains, nobody": [_filter("TrainingJobName", "nobody-has-this", "Contains")],
        "tag, common": [team],
        "tag, rare": [_filter("Tags.release", "golden")],
        "tag, nobody": [_filter("Tags.release", "none")],
        "two tags and a metric": [team, _filter("Tags.cost-center", "7"), loss],
        "hyperparameter, range": [_filter("HyperParameters.learning_rate", "0.001", "LessThan")],
        "hyperparameter, one": [_filter("HyperParameters.seed", "4711")],
        "metric, few": [_filter(accuracy, "0.9995", "GreaterThan")],
        "created, old": [_filter("CreationTime", _time(count, 0.3), "LessThan")],
        "created, few": [
            _filter("CreationTime", _time(count, 0.5), "GreaterThan"),
            _filter("CreationTime", _time(count, 0.5 + 50 / count), "LessThan"),
        ],
        "instance type, rare": [_filter("ResourceConfig.InstanceType", "ml.p4d.24xlarge")],
        "role, common": [_filter("RoleArn", "arn:aws:iam::000000000000:role/ads")],
        "role, rare": [_filter("RoleArn", "arn:aws:iam::000000000000:role/rare")],
        "runtime, nobody": [_filter("StoppingCondition.MaxRuntimeInSeconds", "5")],
    }
    found = {what: {"SearchExpression": {"Filters": filters}} for what, filters in expressions.items()}
    found["all"] = {}
    found["all, by metric"] = {"SortBy": accuracy}
    found["status, by metric"] = {"SearchExpression": {"Filters": expressions["status"]}, "SortBy": accuracy}
    found["tag and loss, by metric, ascending"] = {
        "SearchExpression": {"Filters": [team, loss]},
        "SortBy": accuracy,
        "SortOrder": "Ascending",
    }
    found["either of two"] = {"SearchExpression": both | {"Operator": "Or"}}
    found["both of two"] = {"SearchExpression": both, "SortBy": "CreationTime"}
    found["channel"] = {
        "SearchExpression": {
            "NestedFilters": [
                {
                    "NestedPropertyName": "InputDataConfig",
                    "Filters": [
                        _filter("InputDataConfig.ChannelName", "train"),
                        _filter("InputDataConfig.DataSource.S3DataSource.S3Uri", "s3://data", "Contains"),
                    ],
                }
            ]
        }
    }
    return found


SCANS: dict[str, dict[str, Any]] = {
    "all, by role": {"SortBy": "RoleArn"},
    "tag, common, by end": {
        "SearchExpression": {"Filters": [_filter("Tags.team", "ads")]},
        "SortBy": "TrainingEndTime",
    },
}


def lists(count: int) -> dict[str, ListQuery]:
    """Queries of ListTrainingJobs."""
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "status": {"status_equals": TrainingJobStatus.FAILED},
        "name": {"name_contains": "tune"},
        "name, nobody": {"name_contains": "nobody-has-this"},
        "created": {"creation_time_after": NOW + SPACING_MS * count // 2},
        "modified": {"last_modified_time_before": NOW + SPACING_MS * count // 2},
    }
    return {
        f"{what}; by {sort_by}": ListQuery(sort_by=sort_by, **query)
        for what, query in filters.items()
        for sort_by in SortBy
    }


async def measure(count: int, place: Path) -> dict[str, Any]:
    """Everything."""
    store = await SqliteStore.open(place / "jobs.db")
    source = jobs(count)
    began = time.perf_counter()
    while batch := list(itertools.islice(source, 1000)):
        await asyncio.gather(*(store.create(job) for job in batch))
    filled = time.perf_counter()
    await store.property_names("", limit=1)  # waits until all is filed
    filed = time.perf_counter()
    result: dict[str, Any] = {
        "jobs": count,
        "filled_s": round(filled - began, 1),
        "then_filed_s": round(filed - filled, 1),
        "database_mb": round(sum(file.stat().st_size for file in place.iterdir()) / 1e6),  # noqa: ASYNC240
    }

    async def search(query: SearchQuery, limit: int, after: SearchCursor | None) -> Any:
        return await store.search(query, limit=limit, record=to_record, after=after)

    async def list_(query: ListQuery, limit: int, after: Cursor | None) -> Any:
        return await store.list(query, limit=limit, after=after)

    queries = {what: _query(params) for what, params in searches(count).items()}
    result["search"] = await _pages(search, queries)
    result["list"] = await _pages(list_, lists(count))
    result["to_find_all"] = {
        what: await _all(search, queries[what]) for what in queries if "rare" in what or "nobody" in what
    }
    result["not_served_from_an_index"] = {}
    for what, params in SCANS.items():
        began = time.perf_counter()
        await search(_query(params), 10, None)
        result["not_served_from_an_index"][what] = {"one_page_s": round(time.perf_counter() - began, 2)}
    await store.close()
    return result


async def _pages(ask: Any, queries: dict[str, Any]) -> dict[str, Any]:
    cursors: dict[tuple[str, int], Any] = {}
    took_ms: dict[tuple[str, int], list[float]] = {}
    work = [(what, limit) for what in queries for limit in (10, 100)] * PAGES_OF_A_KIND
    random.Random(2).shuffle(work)
    for kind in work:
        began = time.perf_counter()
        page = await ask(queries[kind[0]], kind[1], cursors.get(kind))
        took_ms.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
        cursors[kind] = page.cursor
    everything = [took for all_of_kind in took_ms.values() for took in all_of_kind]
    slowest = sorted(took_ms, key=lambda kind: -_percentile(took_ms[kind], 99))
    return {
        "pages": len(everything),
        "p50_ms": round(_percentile(everything, 50), 2),
        "p99_ms": round(_percentile(everything, 99), 2),
        "slowest_kinds_p50_p99_ms": {
            f"{what}; pages of {limit}": [round(_percentile(took_ms[what, limit], percent), 1) for percent in (50, 99)]
            for what, limit in slowest[:6]
        },
    }


async def _all(ask: Any, query: SearchQuery) -> dict[str, Any]:
    began, pages, found, cursor = time.perf_counter(), 0, 0, None
    while pages == 0 or cursor is not None:
        page = await ask(query, 100, cursor)
        pages, found, cursor = pages + 1, found + len(page.records), page.cursor
    return {"found": found, "pages": pages, "s": round(time.perf_counter() - began, 2)}


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """In a directory that is gone afterwards."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asyncio.run(measure(count, Path(directory))), indent=2))


if __name__ == "__main__":
    main()
