"""Reports of the instance: the newest snapshot in a file, and a hint to whoever waits for one.

A report is the whole state. It is written at once when a moment has passed, and at most twice a second when only
progress has; the sequence number rises through all instance programs that ever worked here. The hint may be lost: the
file is the truth.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from clary.base.clock import Instant
from clary.base.files import write_atomically
from clary.base.telemetry import Logger
from clary.instance.state import State
from clary.jobs.model import MetricData
from clary.jobs.task import ChannelProgress, Snapshot

_PROGRESS_EVERY_MS = 500
_SEQUENCES_PER_START = 1_000_000_000


def snapshot(
    state: State,
    *,
    message: str | None,
    metrics: tuple[MetricData, ...],
    sequence: int,
    downloading: ChannelProgress | None = None,
) -> Snapshot:
    """What the state means for the controller. Pure.

    `staged_at` is the moment before the program was started, shown as soon as the runtime has it.
    """
    return Snapshot(
        sequence=sequence,
        phase=state.phase,
        message=message,
        ready_at=state.ready_at,
        image=state.image,
        standing_by_at=state.standing_by_at,
        staged_at=state.program_start_at if state.program_started else None,
        stopping_at=state.stopping_at,
        stop_reason=state.stop_reason,
        ended_at=state.ended_at,
        finished_at=state.finished_at,
        program_end=state.program_end,
        failure=state.failure or state.checkpoint_failure,
        lost=state.lost,
        s3_model_artifacts=dict(state.artifacts).get("model"),
        metrics=metrics,
        log_stream=state.log_stream,
        downloading=downloading,
    )


class Reporter:
    """Writes snapshots. `hints` is a FIFO that somebody may be reading, or None."""

    def __init__(self, path: Path, hints: Path | None, instance_name: str, log: Logger) -> None:
        self._path = path
        self._hints = hints
        self._hint = f"{instance_name}\n".encode()
        self._log = log
        self._last: Snapshot | None = None
        self._last_state = State()
        self._last_at = Instant(0)
        self._count = 0

    def report(
        self,
        state: State,
        *,
        message: str | None,
        metrics: tuple[MetricData, ...],
        now: Instant,
        downloading: ChannelProgress | None = None,
    ) -> None:
        """Write the state if it differs from the last report and it is time. Raises OSError when it matters."""
        moment = self._last is None or state != self._last_state
        if not moment and now - self._last_at < _PROGRESS_EVERY_MS and now >= self._last_at:
            return
        sequence = state.starts * _SEQUENCES_PER_START + self._count
        report = snapshot(state, message=message, metrics=metrics, sequence=sequence, downloading=downloading)
        if self._last is not None and msgspec.structs.replace(self._last, sequence=sequence) == report:
            self._last_state = state
            return
        try:
            # The journal is what survives a power cut; only the last word must, since nobody would say it again.
            write_atomically(self._path, msgspec.json.encode(report), durable=state.finished_at is not None)
        except OSError:
            if state.finished_at is not None:
                raise
            self._log.warning("report not written", sequence=sequence)
            return
        self._count += 1
        self._last, self._last_state, self._last_at = report, state, now
        self._give_hint()

    def _give_hint(self) -> None:
        if self._hints is None:
            return
        # Nobody there (ENXIO, ENOENT) or nobody reading (EAGAIN): the reader finds the file by itself.
        with contextlib.suppress(OSError):
            fd = os.open(self._hints, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, self._hint)
            finally:
                os.close(fd)
