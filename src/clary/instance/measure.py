"""CloudWatch's metrics of an ML instance: what its program uses of processors, memory and disk, once a minute.

Used by `run_training`, turn by turn, while the program runs. A program that ends within its first minute has none. The
processor's is the mean over the minute, the others are what is found at its end. There are no accelerators to measure.
Not being able to measure, or to keep what was measured, is told in our own log and changes nothing else.

Source: SageMaker developer guide, monitoring with CloudWatch: names, units, the dimension Host, one minute.
"""

import os
from collections.abc import Callable
from pathlib import Path

from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.logs.metric_series import TRAINING_JOBS, Metric, Point, SeriesWriter, point
from clary.logs.port import LogStoreError
from clary.runtimes.port import Usage

EVERY_S = 60.0


class InstanceMeter:
    """Measures one instance. `host` is the dimension's value, "<job>/algo-<n>"; `disk` is a directory on its disk."""

    def __init__(
        self,
        *,
        host: str,
        usage: Callable[[], Usage | None],
        disk: Path,
        open_series: Callable[[], SeriesWriter],
        clock: Clock,
        log: Logger,
    ) -> None:
        self._host = host
        self._usage = usage
        self._disk = disk
        self._open_series = open_series
        self._clock = clock
        self._log = log
        self._series: SeriesWriter | None = None
        self._last: tuple[Instant, float] | None = None

    def turn(self) -> None:
        """Measure if a minute has passed since it was done, or since the program was first seen."""
        now = self._clock.now()
        if self._last is not None and self._last[0] <= now < later(self._last[0], EVERY_S):
            return
        try:
            self._measure(now)
        except (OSError, LogStoreError) as error:
            self._log.warning("instance not measured", error=str(error))

    def close(self) -> None:
        """Give the series back."""
        if self._series is not None:
            try:
                self._series.close()
            except OSError:
                self._log.error("series not closed well")
            self._series = None

    def _measure(self, now: Instant) -> None:
        last, self._last = self._last, (now, 0.0 if self._last is None else self._last[1])
        usage = self._usage()
        if usage is None:
            return
        self._last = (now, usage.cpu_s)
        if last is None or now <= last[0]:
            return
        values = {
            "CPUUtilization": max(0.0, usage.cpu_s - last[1]) * 1000 / (now - last[0]) * 100,
            "MemoryUtilization": usage.memory_bytes / usage.memory_limit_bytes * 100,
            "DiskUtilization": _disk_percent(self._disk),
        }
        if self._series is None:
            self._series = self._open_series()
        second = now // 1000
        self._series.append([self._named(name, value, second) for name, value in values.items()], source_offset=second)

    def _named(self, name: str, value: float, second: int) -> tuple[Metric, Point]:
        metric = Metric(namespace=TRAINING_JOBS, name=name, dimensions=(("Host", self._host),))
        return metric, point([value], second=second, unit="Percent")


def _disk_percent(directory: Path) -> float:
    """How full the file system is, of what ordinary users may fill."""
    found = os.statvfs(directory)
    used = found.f_blocks - found.f_bfree
    return used / max(1, used + found.f_bavail) * 100
