"""The sixth step: starts the training program, watches it, ships its output, and tells it to end when it must.

The program outlives this one: whoever reads the journal goes on watching. Its start is noted before and after, and the
runtime finds a program that was started in between, so that there is one program whatever is killed.
"""

import os
import signal
from collections.abc import Callable

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance import checkpoint_place, fast_file_mount, file_systems
from clary.instance.command import argv, container
from clary.instance.decisions import kill_due, watch_again_s
from clary.instance.failure_file import failure_text
from clary.instance.fast_file_mount import FastFileMount
from clary.instance.hosts import addresses
from clary.instance.journal import Journal
from clary.instance.limits import program_limits
from clary.instance.log_stream import log_stream
from clary.instance.measure import InstanceMeter
from clary.instance.pipes import Pipes
from clary.instance.program_environment import program_environment
from clary.instance.ship_logs import Shipper
from clary.instance.state import (
    AgentSettled,
    Ended,
    Failed,
    Killing,
    ProgramStarted,
    ProgramStarting,
    State,
    Terminated,
)
from clary.instance.stops import Stops
from clary.instance.sync_checkpoints import CheckpointSync
from clary.jobs.failure import client_error, internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask
from clary.runtimes.port import (
    CannotStart,
    EngineAway,
    Exited,
    ImageUnusable,
    Limits,
    Lost,
    Mount,
    ProgramSpec,
    Running,
    Runtime,
)

_SETTLED_AFTER_S = 60.0
_SHIP_AGAIN_S = 1.0
_TRY_AGAIN_S = 1.0
_SHIP_PATIENCE_S = 60.0
_KILLED = 128 + signal.SIGKILL

faults.declare("instance.training", "instance.stopping", "instance.ended")


class RunTraining:
    """See `steps.Step`. `grace_s`: seconds from SIGTERM to SIGKILL. `shipper` makes the shipper of a log stream, and
    `has_stream` knows whether there is one; `meter`, `checkpoints`, `pipes` and `fast_file` are the instance's.
    """

    name = "run training"

    def __init__(
        self,
        *,
        task: InstanceTask,
        files: InstanceFiles,
        runtime: Runtime,
        shipper: Callable[[str], Shipper],
        has_stream: Callable[[str], bool],
        meter: InstanceMeter,
        pipes: Pipes,
        fast_file: FastFileMount,
        lent: Callable[[], tuple[Mount, ...]],
        journal: Journal,
        checkpoints: CheckpointSync,
        stops: Stops,
        clock: Clock,
        log: Logger,
        grace_s: float,
    ) -> None:
        self._task = task
        self._files = files
        self._runtime = runtime
        self._make_shipper = shipper
        self._has_stream = has_stream
        self._meter = meter
        self._pipes = pipes
        self._fast_file = fast_file
        self._lent = lent
        self._journal = journal
        self._checkpoints = checkpoints
        self._stops = stops
        self._clock = clock
        self._log = log
        self._grace_s = grace_s
        self._shipper: Shipper | None = None
        self._here_since = clock.now()
        self._settled = False
        self._cut = False
        self._moved_bytes = 0
        self._moved_at = Instant(0)
        self._gone_at: Instant | None = None
        self.message: str | None = None

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return state.ended_at is not None

    def turn(self) -> float:
        """See `steps.Step`."""
        state = self._journal.state
        if not state.program_started:
            return self._start()
        if self._shipper is None:
            self._shipper = self._make_shipper(state.log_stream or "")
        # In this order: all that the program ever printed is in the file once it is known to have ended.
        program = self._runtime.state(self._files.program)
        torn = self._pipes.is_torn() or self._fast_file.is_torn()
        match program:
            case Running() if torn or self._pipes.failure is not None:
                return self._cut_short()
            case Running():
                self._pipes.feed()
                return self._watch(self._shipper)
            case Exited():
                exit_code, starved, lost = program.exit_code, program.out_of_memory, False
            case Lost():
                # Our own SIGKILL may have hit whoever watched it, too.
                exit_code, starved, lost = _KILLED, False, not state.killing
        lost = lost or torn  # it may have taken the end of its feeder for the end of its data
        self._pipes.stop()
        if not self._all_shipped(self._shipper):
            return 0.01 if self._shipper.failures == 0 else _SHIP_AGAIN_S
        if self._cut and self._pipes.failure is not None:  # else it ended by itself, and needed no more data
            self._journal.note(Failed(at=self._clock.now(), failure=self._pipes.failure))
            self._fast_file.stop()
            self.leave()
            return 0
        text = "" if lost or exit_code == 0 else failure_text(self._files.opt_ml) or self._fast_file.trouble()
        faults.point("instance.ended")
        self._log.info("program ended", exit_code=None if lost else exit_code, lost=lost)
        end = Ended(
            at=self._clock.now(),
            exit_code=None if lost else exit_code,
            failure_text=text,
            out_of_memory=starved,
            lost=lost,
        )
        self._journal.note(end)
        self._fast_file.stop()
        self.leave()
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
        if self._shipper is not None:
            self._shipper.close()
            self._shipper = None
        self._meter.close()
        self._pipes.stop()
        self._fast_file.leave()

    def _cut_short(self) -> float:
        """End a program that cannot have its data, at once: whatever it made of them is of no use."""
        self._cut = True
        try:
            self._runtime.kill(self._files.program)
        except TimeoutError:
            self._log.error("program does not end")
            return _TRY_AGAIN_S
        return 0

    def _start(self) -> float:
        now = self._clock.now()
        if self._journal.state.program_start_at is None:
            if self._stops.begun():
                self._journal.note(Ended(at=self._clock.now()))
                return 0
            stream = log_stream(self._task, now, self._has_stream)
            self._journal.note(ProgramStarting(at=now, log_stream=stream))
        try:
            limits = program_limits(self._task, cpus=os.cpu_count() or 1, memory_bytes=_memory_bytes())
            spec = program_spec(
                self._task,
                self._files,
                self._runtime.network_interface,
                limits,
                self._journal.state.image,
                lent=self._lent(),
            )
            self._pipes.make()
            self._fast_file.start()
            self._runtime.start(spec)
        except EngineAway as error:
            self._log.warning("program not started", error=str(error))
            self.message = str(error)
            return _TRY_AGAIN_S
        except CannotStart as error:
            self._log.error("program cannot be started")
            whose = client_error if isinstance(error, ImageUnusable) else internal_error
            self._journal.note(Failed(at=self._clock.now(), failure=whose(str(error))))
            self._fast_file.stop()
            return 0
        self.message = None
        faults.point("instance.training")
        self._journal.note(ProgramStarted(at=self._clock.now()))
        self._log.info("program started", log_stream=self._journal.state.log_stream)
        return 0

    def _watch(self, shipper: Shipper) -> float:
        now = self._clock.now()
        self._stop_if_asked(now)
        if not self._settled and now >= later(self._here_since, _SETTLED_AFTER_S):
            self._journal.note(AgentSettled(at=now))
            self._settled = True
        self._checkpoints.turn()
        failures = shipper.failures
        all_there = shipper.ship()
        self._meter.turn()  # after the log: its first look at all processes must not keep the first line waiting
        if shipper.failures != failures:
            return _SHIP_AGAIN_S
        if shipper.moved_bytes != self._moved_bytes or not self._moved_at:
            self._moved_bytes, self._moved_at = shipper.moved_bytes, now
        return watch_again_s((now - self._moved_at) / 1000) if all_there else 0

    def _stop_if_asked(self, now: Instant) -> None:
        if not self._stops.begun():
            return
        if not self._journal.state.terminated and self._told_to_end():
            faults.point("instance.stopping")
            self._journal.note(Terminated(at=now))
            self._moved_at = now  # it may end at any moment now: look closely
        elif kill_due(self._journal.state, now=now, grace_s=self._grace_s):
            if not self._journal.state.killing:
                self._journal.note(Killing(at=now))
            try:
                self._runtime.kill(self._files.program)
                self._moved_at = now
            except TimeoutError:
                self._log.error("program does not end")  # tried again at the next turn

    def _told_to_end(self) -> bool:
        """Send SIGTERM; false if that must be tried again at the next turn."""
        try:
            return self._runtime.signal(self._files.program, signal.SIGTERM)
        except EngineAway as error:
            self._log.warning("program not told to end", error=str(error))
            return False

    def _all_shipped(self, shipper: Shipper) -> bool:
        """Whether the log is complete, or has kept the job waiting for too long."""
        now = self._clock.now()
        self._gone_at = self._gone_at or now
        if shipper.finish():
            return True
        if shipper.failures and now >= later(self._gone_at, _SHIP_PATIENCE_S):
            self._log.error("log incomplete", failures=shipper.failures)
            return True
        return False


def program_spec(
    task: InstanceTask,
    files: InstanceFiles,
    network_interface: str,
    limits: Limits,
    image: str | None = None,
    *,
    lent: tuple[Mount, ...] = (),
) -> ProgramSpec:
    """What the runtime is to start: in a container of `image`, if one is given. `lent` are channels out of the cache. Pure."""
    return ProgramSpec(
        argv=argv(task),
        environment=program_environment(task, network_interface),
        hostname=task.host,
        hosts=addresses(task),
        mounts=(
            Mount(source=str(files.opt_ml), target="/opt/ml", read_only=False),
            Mount(source=str(files.scratch), target="/tmp", read_only=False),  # noqa: S108 - the program's own
            *checkpoint_place.mounts(task.checkpoint_config, files),
            *(Mount(source=path, target=path) for path in task.program.read_only_paths),
            *file_systems.mounts(task),
            *lent,
            *fast_file_mount.mounts(task, files),
        ),
        directory=str(files.program),
        output=str(files.output),
        isolated_network=task.enable_network_isolation,
        limits=limits,
        container=None if image is None else container(task, image),
    )


def _memory_bytes() -> int:
    """All memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
