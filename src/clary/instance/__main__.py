"""The instance program: `python -m clary.instance --directory DIR --logs LOGS_DIR [--hints FIFO]`.

Started by `compute`, detached, once per ML instance, and again whenever it is not there while the instance is not
finished. This file chooses the adapters and holds the instance's lock; the work is `lifecycle`. Exit codes: 0 the
instance is finished, or this program was told to leave; 75 another one is at work here; 1 it could not even begin.

It imports little: a job's first line is waiting for it.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from clary.base import typed
from clary.base.clock import Clock, Instant, SystemClock
from clary.base.files import AlreadyLocked, exclusive_lock, write_atomically
from clary.base.telemetry import configure, get_logger
from clary.instance.channel_plan import StorageFor
from clary.instance.decisions import GRACE_S
from clary.instance.grants import Grants
from clary.instance.lifecycle import Lifecycle, Surroundings
from clary.instance.reporting import Reporter
from clary.instance.ship_logs import FindMetrics
from clary.instance.storage_access import s3
from clary.instance.waker import Waker
from clary.jobs.failure import internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import MetricData
from clary.jobs.task import InstanceTask, Phase, ProgramEnd, Snapshot
from clary.logs.files import FileLogStore
from clary.logs.metric_files import FileMetricSeries
from clary.runtimes import choice, fuse, volumes
from clary.runtimes.port import Runtime

if TYPE_CHECKING:  # a job without a cache starts without it
    from clary.instance.cached_channels import CachedChannels

_ANOTHER_IS_HERE = 75  # EX_TEMPFAIL
_LAST_SEQUENCE = 1 << 52  # above all others, and still exact in any JSON reader

_log = get_logger("instance")


def runtime_of(task: InstanceTask) -> Runtime:
    """What runs the task's program."""
    return choice.runtime_for(task.program, container_engine=task.container_engine or None)


def main(
    arguments: Sequence[str],
    *,
    runtime: Callable[[InstanceTask], Runtime] = runtime_of,
    storage_for: Callable[[InstanceTask, Grants], StorageFor] | None = None,
    grace_s: float = GRACE_S,
) -> int:
    """Do the work; the exit code. The keywords are for tests."""
    options = _options(arguments)
    files = InstanceFiles(Path(options["--directory"]))
    hints = options.get("--hints")
    configure(files.agent_log.open("a"), "info")
    waker = Waker()
    waker.install()
    try:
        with exclusive_lock(files.lock) as lock:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            clock = SystemClock()
            try:
                task = typed.from_json(files.task.read_bytes(), InstanceTask)
                grants = Grants(files.grants, clock)
                around = Surroundings(
                    task=task,
                    files=files,
                    runtime=runtime(task),
                    volumes=volumes,
                    fuse=fuse,
                    grants=grants,
                    storage_for=(storage_for or s3)(task, grants),
                    logs=FileLogStore(Path(options["--logs"]), clock),
                    open_series=FileMetricSeries(Path(options["--logs"])).writer,
                    find_metrics=metric_finder(task),
                    reporter=Reporter(files.snapshot, Path(hints) if hints else None, task.instance_name, _log),
                    waker=waker,
                    clock=clock,
                    log=_log.bind(job_arn=task.training_job_arn, host=task.host),
                    grace_s=grace_s,
                    cached=cached_channels(task, files),
                )
                Lifecycle(around).run()
            except Exception:  # noqa: BLE001 - nobody else would ever tell the controller
                _log.error("instance program cannot work")
                with contextlib.suppress(Exception):
                    choice.kill(files.program)
                _last_words(files, clock)
                return 1
    except AlreadyLocked:
        _log.info("another instance program is at work here")
        return _ANOTHER_IS_HERE
    return 0


def cached_channels(task: InstanceTask, files: InstanceFiles) -> "CachedChannels | None":
    """The task's channels by way of the input cache, if there is to be one."""
    if not task.input_cache:
        return None
    from clary.instance.cached_channels import CachedChannels  # noqa: PLC0415 - as above
    from clary.runtimes import overlays, sandbox_overlays  # noqa: PLC0415
    from clary.storage.cache import InputCache  # noqa: PLC0415

    cache = InputCache(Path(task.input_cache), limit_bytes=task.input_cache_bytes, endpoint_url=task.s3_endpoint_url)
    return CachedChannels(
        cache=cache,
        overlays=overlays,
        in_sandbox=None if task.program.reference is not None else sandbox_overlays.make,
        files=files,
        log=_log.bind(host=task.host),
    )


def metric_finder(task: InstanceTask) -> FindMetrics:
    """What searches the job's log for its metrics. Raises re.error for a definition that was to be refused."""
    if not task.metric_definitions:
        return lambda _messages, _timestamp: ()
    from clary.logs.metric_definitions import MetricMatcher  # noqa: PLC0415 - a job without metrics starts without it

    matcher = MetricMatcher([(definition.name, definition.regex) for definition in task.metric_definitions])

    def find(messages: Sequence[bytes], timestamp: Instant) -> list[MetricData]:
        return [
            MetricData(metric_name=found.name, value=found.value, timestamp=found.timestamp)
            for found in matcher.feed(messages, timestamp)
        ]

    return find


def _last_words(files: InstanceFiles, clock: Clock) -> None:
    """The report of an instance whose task or journal cannot be read."""
    now = clock.now()
    snapshot = Snapshot(
        sequence=_LAST_SEQUENCE,
        phase=Phase.FINISHED,
        ended_at=now,
        finished_at=now,
        program_end=ProgramEnd(exit_code=None),
        failure=internal_error(),
    )
    write_atomically(files.snapshot, msgspec.json.encode(snapshot))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """The options by name. Each has a value; without argparse, which takes longer to import than to be missed."""
    names, values = arguments[::2], arguments[1::2]
    options = dict(zip(names, values, strict=False))
    if len(names) != len(values) or not {"--directory", "--logs"} <= set(options) <= {
        "--directory",
        "--logs",
        "--hints",
    }:
        raise SystemExit("usage: python -m clary.instance --directory DIR --logs DIR [--hints FIFO]")
    return options


def leave_with(code: int) -> NoReturn:
    """End this process at once: background work that hangs on a dead store must not keep it from ending."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave_with(main(sys.argv[1:]))
