"""Statistics of points over windows of time: what CloudWatch's and SageMaker's metric operations answer with. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from clary.logs.metric_series import Point, merged

MINUTE_S = 60
_FINE_PERIODS_S = frozenset({1, 5, 10, 20, 30})


def _deviation(point: Point) -> float:
    mean = point.total / point.count
    return math.sqrt(max(0.0, point.squares / point.count - mean * mean))


STATISTICS: Mapping[str, Callable[[Point], float]] = MappingProxyType(
    {
        "SampleCount": lambda point: float(point.count),
        "Average": lambda point: point.total / point.count,
        "Sum": lambda point: point.total,
        "Minimum": lambda point: point.minimum,
        "Maximum": lambda point: point.maximum,
    }
)
"""CloudWatch's statistics, percentiles aside. Source: API model of CloudWatch, Statistic."""

SAGEMAKER_STATISTICS: Mapping[str, Callable[[Point], float]] = MappingProxyType(
    {
        "Count": STATISTICS["SampleCount"],
        "Avg": STATISTICS["Average"],
        "Min": STATISTICS["Minimum"],
        "Max": STATISTICS["Maximum"],
        "StdDev": _deviation,  # of the whole population (inferred)
        "Last": lambda point: point.last,
    }
)
"""Those of SageMaker's metrics service. Source: its API model, MetricStatistic."""


def is_period(seconds: int) -> bool:
    """Whether CloudWatch has windows of that length. Source: API model of CloudWatch, GetMetricStatistics.Period."""
    return seconds in _FINE_PERIODS_S or (seconds > 0 and seconds % MINUTE_S == 0)


def time_range(start_s: float, end_s: float, period_s: int) -> tuple[int, int]:
    """From which second on, and up to which (exclusive), values count for a question from `start_s` to `end_s`.

    A start is rounded down to a whole minute, or to a multiple of a period that is shorter (Source: API model of
    CloudWatch, GetMetricStatistics.StartTime; here also for old values, which are kept to the second). An end belongs to
    no minute that begins at it or later; a minute that begins before it counts as a whole (inferred).
    """
    grain = min(period_s, MINUTE_S)
    return math.floor(start_s / grain) * grain, math.ceil(end_s / grain) * grain


def windows(points: Iterable[Point], *, period_s: int, origin_s: int = 0) -> list[tuple[int, Point]]:
    """One point for each window and unit that has values, with the second at which the window begins, oldest first.

    Windows begin at `origin_s` and whole periods from it. `points` are given oldest first.
    """
    found: dict[tuple[int, str], list[Point]] = {}
    for point in points:
        begin = point.second - (point.second - origin_s) % period_s
        found.setdefault((begin, point.unit), []).append(point)
    return [(begin, whole) for (begin, _), some in sorted(found.items(), key=_begin) if (whole := merged(some))]


def _begin(item: tuple[tuple[int, str], object]) -> tuple[int, str]:
    return item[0]
