"""The metrics of a training job over time: of its metric definitions, and what its instances use."""

from collections.abc import Iterable
from typing import Any

from clary.base.clock import Instant
from clary.console import paths
from clary.console.contexts import Chart, JobHead, MetricsPage, Series
from clary.console.job_head import job_frame, job_head
from clary.console.visit import Visit, instant

POLL_S = 5
POINTS = 720
"""About so many points at most has a curve; then its period is longer."""

_NAMESPACE = "/aws/sagemaker/TrainingJobs"
_INSTANCE_METRICS = ("CPUUtilization", "MemoryUtilization", "DiskUtilization", "GPUUtilization", "GPUMemoryUtilization")
_PERIODS_S = (1, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
_QUERIES = 500  # of one GetMetricData. Source: API model
_HOSTS = 64  # a chart with more curves shows nothing


async def metrics_page(visit: Visit, name: str) -> MetricsPage:
    """The page. Charts of metrics without a value are left out."""
    described = await visit.describe_job(name)
    head = job_head(described, "Metrics")
    end = instant(described["TrainingEndTime"]) if "TrainingEndTime" in described else visit.now
    period_s = period_of((end - head.creation_time) / 1000)
    wanted = [*_of_definitions(described), *_of_instances(described, head)]
    curves = await _curves(visit, wanted, head.creation_time, end, period_s)
    charts: dict[tuple[str, str], list[Series]] = {}
    for (kind, metric, label, _), series in zip(wanted, curves, strict=True):
        if series is not None:
            charts.setdefault((kind, metric), []).append(Series(label=label, times=series[0], values=series[1]))
    return MetricsPage(
        page=job_frame(visit, name, "Metrics"),
        head=head,
        charts=tuple(
            Chart(
                id=f"metric-{number}",
                name=metric,
                kind=kind,
                unit="Percent" if kind == "instance" else "None",
                period_s=period_s,
                series=tuple(series),
            )
            for number, ((kind, metric), series) in enumerate(charts.items())
        ),
        data_path=paths.with_query(paths.job(name, "metrics"), format="json"),
        poll_s=POLL_S if head.is_under_way else None,
    )


def period_of(duration_s: float) -> int:
    """The least period of CloudWatch's that makes not too many points of such a time."""
    for period_s in _PERIODS_S:
        if duration_s <= period_s * POINTS:
            return period_s
    return 3600 * max(1, round(duration_s / (3600 * POINTS)))


_Wanted = tuple[str, str, str, dict[str, str]]
"""The kind of a chart, a metric, the label of its curve, and its dimension."""


def _of_definitions(described: dict[str, Any]) -> Iterable[_Wanted]:
    dimension = {"Name": "TrainingJobName", "Value": described["TrainingJobName"]}
    definitions = described["AlgorithmSpecification"].get("MetricDefinitions", ())
    for name in dict.fromkeys(definition["Name"] for definition in definitions):
        yield "training", name, name, dimension


def _of_instances(described: dict[str, Any], head: JobHead) -> Iterable[_Wanted]:
    resources = described["ResourceConfig"]
    groups = resources.get("InstanceGroups") or (resources,)
    hosts = [f"algo-{n}" for n in range(1, sum(group["InstanceCount"] for group in groups) + 1)]
    for name in _INSTANCE_METRICS:
        for host in hosts[:_HOSTS]:
            yield "instance", name, host, {"Name": "Host", "Value": f"{head.name}/{host}"}


_Curve = tuple[tuple[Instant, ...], tuple[float, ...]]


async def _curves(
    visit: Visit, wanted: list[_Wanted], start: Instant, end: Instant, period_s: int
) -> list[_Curve | None]:
    """The values of each, None for one without."""
    queries = [
        {
            "Id": f"q{number}",
            "MetricStat": {
                "Metric": {"Namespace": _NAMESPACE, "MetricName": metric, "Dimensions": [dimension]},
                "Period": period_s,
                "Stat": "Average",
            },
        }
        for number, (_, metric, _, dimension) in enumerate(wanted)
    ]
    found: list[_Curve | None] = []
    for first in range(0, len(queries), _QUERIES):
        some = queries[first : first + _QUERIES]
        values: dict[Any, tuple[list[Instant], list[float]]] = {query["Id"]: ([], []) for query in some}
        params = {
            "MetricDataQueries": some,
            "StartTime": start / 1000,
            "EndTime": end / 1000 + period_s,
            "ScanBy": "TimestampAscending",
        }
        while True:
            answer = await visit.ask("monitoring", "GetMetricData", params)
            for result in answer["MetricDataResults"]:
                times, numbers = values[result["Id"]]
                times += [instant(at) for at in result["Timestamps"]]
                numbers += result["Values"]
            if "NextToken" not in answer:
                break
            params["NextToken"] = answer["NextToken"]
        found += [(tuple(times), tuple(numbers)) if times else None for times, numbers in values.values()]
    return found
