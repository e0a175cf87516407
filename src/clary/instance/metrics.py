"""The metrics that this host has logged: as points of time series, and the last value of each, kept on disk.

Used by `ship_logs`, which keeps the values of some lines before it stores those lines: whatever is killed in between,
the lines are read again and give the same values, and none is lost. Read by the reports.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import write_atomically
from clary.jobs.model import MetricData, MetricDefinition
from clary.logs.metric_series import TRAINING_JOBS, Metric, Point, point


class LastMetrics:
    """Last values, in the order of the definitions."""

    def __init__(self, path: Path, definitions: Iterable[MetricDefinition]) -> None:
        self._path = path
        self._order = tuple(dict.fromkeys(definition.name for definition in definitions))
        self._last: dict[str, MetricData] = {}
        if path.exists():
            known = typed.from_json(path.read_bytes(), tuple[MetricData, ...])
            self._last = {metric.metric_name: metric for metric in known}

    def keep(self, found: Iterable[MetricData]) -> None:
        """Take newer values, oldest first. Raises OSError, and may then be called again with the same."""
        newer = {metric.metric_name: metric for metric in found}
        if not newer:
            return
        last = self._last | newer
        write_atomically(self._path, msgspec.json.encode(self._ordered(last)), durable=False)
        self._last = last

    def values(self) -> tuple[MetricData, ...]:
        """What has been logged so far."""
        return self._ordered(self._last)

    def _ordered(self, last: dict[str, MetricData]) -> tuple[MetricData, ...]:
        return tuple(last[name] for name in self._order if name in last)


def points(found: Sequence[MetricData], training_job_name: str) -> list[tuple[Metric, Point]]:
    """Values of one time as points, one a metric. A value's only dimension is its job (Source: SageMaker developer guide, training metrics)."""
    by_name: dict[str, list[float]] = {}
    for metric in found:
        by_name.setdefault(metric.metric_name, []).append(metric.value)
    dimensions = (("TrainingJobName", training_job_name),)
    return [
        (
            Metric(namespace=TRAINING_JOBS, name=name, dimensions=dimensions),
            point(values, second=found[0].timestamp // 1000),
        )
        for name, values in by_name.items()
    ]
