"""Brings what the training program prints into its log stream, line by line, and finds the metrics in it.

Used by `run_training`, turn by turn. The source is a file to which the runtime appends; its offset is stored together
with the events, so that every line is stored once, whatever is killed. What is stored is taken out of the source again
(the file keeps its length, its blocks are given back): a chatty job does not need its log's space twice.

The metrics of some lines are stored before the lines, in the time series with the same offset. Whoever goes on where the
log ends takes what lies beyond out of the series again: so each value counts once, whatever process is killed. On disk,
too, the series are never behind the log as of the last sync; a power cut may cost the values of the seconds after it.

A failure (the log's disk is full) is counted, told in our own log, and tried again at the next turn; it never fails the
job.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from clary.base.clock import Clock, Instant
from clary.base.telemetry import Logger
from clary.instance.holes import punch_hole
from clary.instance.metrics import LastMetrics, points
from clary.jobs.model import MetricData
from clary.logs.events import LineSplitter
from clary.logs.metric_series import SeriesWriter
from clary.logs.port import LogStoreError, LogWriter

_BLOCK_BYTES = 1 << 17  # the splitter is at its best below its longest line
_BATCH_BYTES = 1 << 20
_TURN_S = 0.2
_SYNC_EVERY_S = 5.0
_HOLE_EVERY_BYTES = 4 << 20


class FindMetrics(Protocol):
    """Finds the values of the job's metric definitions in messages, in the order of the log."""

    def __call__(self, messages: Sequence[bytes], timestamp: Instant, /) -> Sequence[MetricData]:
        """The values, each with the given time."""
        ...


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that are not stored yet, their metrics, and where the source is once they are."""

    messages: Sequence[bytes]
    metrics: Sequence[MetricData]
    timestamp: Instant
    source_offset: int


class Shipper:
    """Ships one program's output. Not for several threads."""

    def __init__(
        self,
        *,
        training_job_name: str,
        output: Path,
        open_writer: Callable[[], LogWriter],
        open_series: Callable[[], SeriesWriter],
        find_metrics: FindMetrics,
        metrics: LastMetrics,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._training_job_name = training_job_name
        self._output = output
        self._open_writer = open_writer
        self._open_series = open_series
        self._find_metrics = find_metrics
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._writer: LogWriter | None = None
        self._series: SeriesWriter | None = None
        self._splitter = LineSplitter()
        self._source = -1
        self._begun_at = self._read_at = 0
        self._holes_to = 0
        self._waiting: _Batch | None = None
        self._flushed = False
        self._synced_at = time.monotonic()
        self.failures = 0
        self.moved_bytes = 0

    def ship(self) -> bool:
        """Ship what is there, for a fifth of a second at most; whether all of it is stored, but for an open line."""
        return self._guarded(self._ship_some)

    def finish(self) -> bool:
        """Ship the rest, the last line even if no newline ends it; whether all is stored and on disk.

        Only once the program has ended. To be called again until it is true.
        """
        return self._guarded(self._finish)

    def close(self) -> None:
        """Give the stream and the source back."""
        for writer in (self._series, self._writer):
            if writer is not None:
                try:
                    writer.close()
                except OSError:
                    self._log.error("log stream not closed well")
        self._series = self._writer = None
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    def _guarded(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except (OSError, LogStoreError) as error:
            self.failures += 1
            self._log.warning("log not shipped", error=str(error), failures=self.failures, offset=self._splitter.offset)
            return False

    def _ship_some(self) -> bool:
        writer = self._opened()
        if self._source < 0:
            return True
        until = time.monotonic() + _TURN_S
        while time.monotonic() < until:
            self._store(writer)
            all_read = self._read_batch()
            self._store(writer)
            self._look_after(writer)
            if all_read:
                return True
        return False

    def _read_batch(self) -> bool:
        """Read what makes one batch; whether that was all there is."""
        messages: list[bytes] = []
        all_read = False
        until = self._read_at + _BATCH_BYTES
        try:
            while self._read_at < until and not all_read:
                block = os.pread(self._source, _BLOCK_BYTES, self._read_at)
                all_read = not block
                self._read_at += len(block)
                self.moved_bytes += len(block)
                messages += self._splitter.feed(block)
        finally:  # an error of the disk must not lose what came before it
            self._wait_for(messages)
        return all_read

    def _finish(self) -> bool:
        if not self._ship_some():
            return False
        writer = self._opened()
        if not self._flushed:
            self._wait_for(self._splitter.flush())
            self._flushed = True
        self._store(writer)
        self._sync(writer)
        return True

    def _opened(self) -> LogWriter:
        if self._writer is None:
            self._writer = self._open_writer()
            self._begun_at = self._read_at = self._writer.resume_offset()
            self._splitter = LineSplitter(self._read_at)
        if self._source < 0 and self._output.exists():
            self._source = os.open(self._output, os.O_RDWR | os.O_CLOEXEC)
        return self._writer

    def _wait_for(self, messages: list[bytes]) -> None:
        if messages:
            now = self._clock.now()
            found = self._find_metrics(messages, now)
            self._waiting = _Batch(messages=messages, metrics=found, timestamp=now, source_offset=self._splitter.offset)

    def _store(self, writer: LogWriter) -> None:
        if self._waiting is not None:
            batch = self._waiting
            if batch.metrics:  # before the lines: see `metrics`
                self._metrics.keep(batch.metrics)
                found = points(batch.metrics, self._training_job_name)
                self._opened_series().append(found, source_offset=batch.source_offset)
            writer.append(batch.messages, timestamp=batch.timestamp, source_offset=batch.source_offset)
            self._waiting = None

    def _opened_series(self) -> SeriesWriter:
        """The series, opened when there is a value for them: only what would be stored twice need be taken out."""
        if self._series is None:
            series = self._open_series()
            series.rewind(self._begun_at)
            self._series = series
        return self._series

    def _sync(self, writer: LogWriter) -> None:
        if self._series is not None:
            self._series.sync()  # first: a line that is on disk is not read again
        writer.sync()

    def _look_after(self, writer: LogWriter) -> None:
        """Now and then, put on disk what was stored, and give back the source's space of what is on disk."""
        stored = self._splitter.offset
        if stored - self._holes_to >= _HOLE_EVERY_BYTES:
            self._sync(writer)
            punch_hole(self._source, self._holes_to, stored)
            self._holes_to = stored
        elif time.monotonic() - self._synced_at >= _SYNC_EVERY_S:
            self._sync(writer)
            self._synced_at = time.monotonic()
