"""The port of metric time series: what the instances measured and what training programs logged or put, second by second.

Written by the instance agents (one writer a host) and by the server (values that clients put); read by the server to
answer CloudWatch's and SageMaker's metric operations, also while others write and after any of them was killed. The
adapters are `metric_files` and, for tests, `metric_memory`; both pass `tests/contract/test_metric_series.py`.

Series belong to an *owner*, a training job by its name, so that a question about one job reads that job's series alone.
What is kept are statistics, not single values: a point says how many values of a metric one append held within a second,
and their least, greatest, sum, sum of squares and last. Every statistic that the operations offer, percentiles aside, can
be made of them, and a program that logs a hundred thousand values a second costs no more than one that logs a few.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"
"""CloudWatch namespace of what SageMaker publishes of training jobs."""

BATCH_PUT = "BatchPutMetrics"
"""The namespace, ours, of what clients put through SageMaker's metrics service. CloudWatch does not show it."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric: two are the same if namespace, name and all dimensions are. `dimensions` are (name, value), sorted."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()


class Point(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Values of one metric within one second. `second` counts from the Unix epoch; `step` is the program's own, if any.

    `unit` is one of CloudWatch's. `squares` is the sum of the squares, `last` the value that came last.
    """

    second: int
    count: int
    minimum: float
    maximum: float
    total: float
    squares: float
    last: float
    step: int | None = None
    unit: str = "None"


class KnownMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that has points, and about when (in seconds) the last one came."""

    metric: Metric
    last_second: int


def point(values: Sequence[float], *, second: int, step: int | None = None, unit: str = "None") -> Point:
    """The point of one or more values, oldest first."""
    return Point(
        second=second,
        count=len(values),
        minimum=min(values),
        maximum=max(values),
        total=sum(values),
        squares=sum(value * value for value in values),
        last=values[-1],
        step=step,
        unit=unit,
    )


def merged(points: Iterable[Point]) -> Point | None:
    """One point for several, which are given oldest first: what they would be had they come at once; None for none."""
    found: list[Point] = list(points)
    if len(found) < 2:
        return found[0] if found else None
    return Point(
        second=found[-1].second,
        count=sum(each.count for each in found),
        minimum=min(each.minimum for each in found),
        maximum=max(each.maximum for each in found),
        total=sum(each.total for each in found),
        squares=sum(each.squares for each in found),
        last=found[-1].last,
        step=found[-1].step,
        unit=found[-1].unit,
    )


class SeriesWriter(Protocol):
    """The one writer of that name for an owner. Not for several threads at a time."""

    def append(self, points: Sequence[tuple[Metric, Point]], *, source_offset: int) -> None:
        """Append points, which come from a source that has been read up to `source_offset`.

        An offset that was appended before, or lies before one that was, changes nothing: whoever could not finish what
        follows may append the same again. Readers see the points when this returns, and they outlive this process;
        `sync` makes them outlive the machine. Raises OSError (disk full), and then the same may be tried again.
        """
        ...

    def rewind(self, source_offset: int) -> None:
        """Forget what was appended, also by an earlier writer, for any later place of the source: it will come again."""
        ...

    def sync(self) -> None:
        """Put what was appended on disk. The caller chooses how often."""
        ...

    def close(self) -> None:
        """Sync and give the name back. Closing twice is fine."""
        ...


class MetricSeries(Protocol):
    """All series."""

    def writer(self, owner: str, name: str) -> SeriesWriter:
        """The writer of that name. Raises `port.StreamBusy`; ValueError for a name that the store cannot hold."""
        ...

    def points(self, owner: str, metric: Metric, *, start: int, end: int) -> list[Point]:
        """All points of a metric with `start` <= second < `end`, by second; within one, those of a writer in its order.

        A metric or owner that nobody has written has none.
        """
        ...

    def metrics(self, owner: str) -> list[KnownMetric]:
        """The metrics of an owner, by namespace, name and dimensions; each once, whoever wrote it."""
        ...

    def owners(self) -> list[str]:
        """All owners, sorted."""
        ...
