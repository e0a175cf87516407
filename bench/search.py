"""How fast pages of ListTrainingJobs and Search are found among many jobs: in the store, and through the wire.

    PYTHONPATH=src:tests python bench/search.py [JOBS]

Fills a store with JOBS jobs (default 1,000,000) of the kind a busy team has: five hyperparameters, three tags, two metrics. A
million take some 6 GB below TMPDIR, and many minutes. Prints one JSON object: how long filling and filing took; p50 and p99,
in milliseconds, of pages of 10 and of 100 of each kind of query, each page beginning where the last of its kind ended; for the kinds that few jobs satisfy, how many pages
it took to find them all, and how long. Kinds that no index serves look at all jobs for each page: they are listed apart.

Then a server is started on the same database, and one connection asks it for the same pages by signed requests, one after
the other. Jobs at work are deleted before, as the server would start them. How moto compares is said in words.
"""

import asyncio
import contextlib
import itertools
import json
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from api import clary as serving
from api import signed
from clary.base.home import Home
from clary.jobs.model import MetricData, Tag, TrainingJob
from clary.jobs.search import SearchQuery
from clary.service.search import _query as search_query
from clary.service.search import to_record
from clary.service.training_jobs import _query as list_query
from clary.store.port import Cursor, ListQuery, SearchCursor
from clary.store.sqlite import SqliteStore
from factories import NOW, arn, make_job

JOBS = 1_000_000
SORTS = ("Name", "CreationTime", "Status")
MOTO = (
    "moto has no figure here: it takes jobs one request at a time and keeps them in memory, so that there is no way to give "
    "it so many; its ListTrainingJobs copies the list of all jobs for each page and does not sort, and its Search answers "
    "everything at once, without pages and order, and knows Equals, NotEquals and Contains (read off moto 5.2)."
)
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


def lists(count: int) -> dict[str, dict[str, Any]]:
    """Requests of ListTrainingJobs."""
    middle = (NOW + SPACING_MS * count // 2) / 1000
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "status": {"StatusEquals": "Failed"},
        "name": {"NameContains": "tune"},
        "name, nobody": {"NameContains": "nobody-has-this"},
        "created": {"CreationTimeAfter": middle},
        "modified": {"LastModifiedTimeBefore": middle},
    }
    return {
        f"{what}; by {sort_by}": {"SortBy": sort_by} | query for what, query in filters.items() for sort_by in SORTS
    }


async def measure(count: int, place: Path) -> dict[str, Any]:
    """Everything in the store."""
    store = await SqliteStore.open(Home(place).database)
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

    queries = {what: search_query(params) for what, params in searches(count).items()}
    listed = {what: list_query(params) for what, params in lists(count).items()}
    result["search"] = await _pages(search, queries)
    result["list"] = await _pages(list_, listed)
    result["to_find_all"] = {
        what: await _all(search, queries[what]) for what in queries if "rare" in what or "nobody" in what
    }
    result["not_served_from_an_index"] = {}
    for what, params in SCANS.items():
        began = time.perf_counter()
        await search(search_query(params), 10, None)
        result["not_served_from_an_index"][what] = {"one_page_s": round(time.perf_counter() - began, 2)}
    for job in [job for job in jobs(count) if not job.is_terminal]:
        await store.delete(job)
    await store.close()
    return result


def measure_the_wire(count: int, place: Path) -> dict[str, Any]:
    """What a server on that home takes for the same pages, from the first byte of a request to the last of its answer."""
    with serving(str(place)) as (url, key, secret), contextlib.closing(_connect(url)) as connection:

        def pages(operation: str, queries: dict[str, dict[str, Any]], fixed: dict[str, Any]) -> dict[str, Any]:
            tokens: dict[tuple[str, int], str] = {}
            took_ms: dict[tuple[str, int], list[float]] = {}
            for kind in _work(queries):
                params = fixed | queries[kind[0]] | {"MaxResults": kind[1]}
                if kind in tokens:
                    params["NextToken"] = tokens.pop(kind)
                request = signed(url, operation, params, key, secret)
                began = time.perf_counter()
                answer = _ask(connection, request)
                took_ms.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
                token = json.loads(answer).get("NextToken")
                if token is not None:
                    tokens[kind] = token
            return _figures(took_ms)

        return {
            "search_through_the_wire": pages("Search", searches(count), {"Resource": "TrainingJob"}),
            "list_through_the_wire": pages("ListTrainingJobs", lists(count), {}),
        }


def _connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    got = b""
    while b"\r\n\r\n" not in got:
        got += _more(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += _more(connection)
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"a request failed: {body[:300]!r}")
    return body


def _more(connection: socket.socket) -> bytes:
    found = connection.recv(1 << 20)
    if not found:
        raise SystemExit("the server closed the connection")
    return found


def _work(queries: dict[str, Any]) -> list[tuple[str, int]]:
    work = [(what, limit) for what in queries for limit in (10, 100)] * PAGES_OF_A_KIND
    random.Random(2).shuffle(work)
    return work


async def _pages(ask: Any, queries: dict[str, Any]) -> dict[str, Any]:
    cursors: dict[tuple[str, int], Any] = {}
    took_ms: dict[tuple[str, int], list[float]] = {}
    for kind in _work(queries):
        began = time.perf_counter()
        page = await ask(queries[kind[0]], kind[1], cursors.get(kind))
        took_ms.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
        cursors[kind] = page.cursor
    return _figures(took_ms)


def _figures(took_ms: dict[tuple[str, int], list[float]]) -> dict[str, Any]:
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
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        Home(home).prepare()
        figures = asyncio.run(measure(count, home))
        figures |= measure_the_wire(count, home)
    print(json.dumps(figures, indent=2))
    print(MOTO)


if __name__ == "__main__":
    main()
