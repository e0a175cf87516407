"""Metric series in memory: what other rooms' tests use. It passes the same contract suite as `metric_files`."""

from collections.abc import Sequence

import msgspec

from clary.logs.metric_series import KnownMetric, Metric, Point
from clary.logs.port import StreamBusy


class _Series:
    def __init__(self) -> None:
        self.points: list[tuple[int, Metric, Point]] = []
        self.busy = False


class MemorySeriesWriter:
    """`metric_series.SeriesWriter` in memory."""

    def __init__(self, series: _Series) -> None:
        self._series = series
        self._closed = False
        series.busy = True

    def append(self, points: Sequence[tuple[Metric, Point]], *, source_offset: int) -> None:
        """See `SeriesWriter.append`."""
        if self._series.points and source_offset <= self._series.points[-1][0]:
            return
        self._series.points += [(source_offset, metric, each) for metric, each in points]

    def rewind(self, source_offset: int) -> None:
        """See `SeriesWriter.rewind`."""
        while self._series.points and self._series.points[-1][0] > source_offset:
            self._series.points.pop()

    def sync(self) -> None:
        """Memory outlives nothing."""

    def close(self) -> None:
        """See `SeriesWriter.close`."""
        if not self._closed:
            self._closed = True
            self._series.busy = False


class MemoryMetricSeries:
    """`metric_series.MetricSeries` in memory."""

    def __init__(self) -> None:
        self._owners: dict[str, dict[str, _Series]] = {}

    def writer(self, owner: str, name: str) -> MemorySeriesWriter:
        """See `MetricSeries.writer`."""
        found = self._owners.setdefault(owner, {}).setdefault(name, _Series())
        if found.busy:
            raise StreamBusy(name)
        return MemorySeriesWriter(found)

    def points(self, owner: str, metric: Metric, *, start: int, end: int) -> list[Point]:
        """See `MetricSeries.points`."""
        writers = self._owners.get(owner, {})
        found = [
            each
            for name in sorted(writers)
            for _, of, each in writers[name].points
            if of == metric and start <= each.second < end
        ]
        return sorted(found, key=lambda each: each.second)

    def metrics(self, owner: str) -> list[KnownMetric]:
        """See `MetricSeries.metrics`."""
        last: dict[Metric, int] = {}
        for series in self._owners.get(owner, {}).values():
            for _, metric, _ in series.points:
                newest = series.points[-1][2].second
                last[metric] = max(last.get(metric, newest), newest)
        known = (KnownMetric(metric=metric, last_second=newest) for metric, newest in last.items())
        return sorted(known, key=lambda each: msgspec.structs.astuple(each.metric))

    def owners(self) -> list[str]:
        """See `MetricSeries.owners`."""
        return sorted(self._owners)
