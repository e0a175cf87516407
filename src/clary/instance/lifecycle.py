"""The life of an ML instance: its steps in order, and the loop that takes them.

Called by `__main__`, which chooses the adapters. The next step is always the first one that is not done, so that a new
instance program goes on where the journal of the last one ends, and the ending steps come whatever happened before.

Told to leave, the loop ends and the training program goes on. An error that nobody expected ends the job with an
InternalServerError rather than leaving it hanging. A machine's disk that is full is no such error once the training
program has been started: it is waited for. A volume that its program has filled concerns nobody else: nothing of ours is
on it.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clary.base import faults
from clary.base.clock import Clock
from clary.base.telemetry import Logger
from clary.instance.await_peers import AwaitPeers
from clary.instance.channel_plan import StorageFor
from clary.instance.decisions import is_hopeless
from clary.instance.fast_file_mount import FastFileMount
from clary.instance.finish import Finish
from clary.instance.grants import Grants
from clary.instance.journal import Journal
from clary.instance.measure import InstanceMeter
from clary.instance.metrics import LastMetrics
from clary.instance.pipes import Pipes
from clary.instance.prepare import Prepare
from clary.instance.provide_image import ProvideImage
from clary.instance.reporting import Reporter
from clary.instance.restore_checkpoints import RestoreCheckpoints
from clary.instance.run_training import RunTraining
from clary.instance.ship_logs import FindMetrics, Shipper
from clary.instance.stage_channels import StageChannels
from clary.instance.state import AgentLeft, AgentStarted, Failed, Finished, State
from clary.instance.steps import Step
from clary.instance.stops import Stops
from clary.instance.sync_checkpoints import CheckpointSync, SyncCheckpoints
from clary.instance.upload_artifacts import UploadArtifacts
from clary.instance.waker import Waker
from clary.instance.wishes import WishesFile
from clary.jobs.failure import JobFailure, internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import ChannelProgress, InstanceTask
from clary.logs.metric_series import SeriesWriter
from clary.logs.port import LogStore
from clary.runtimes.port import Runtime, UserMounts, Volumes, VolumeTrouble

if TYPE_CHECKING:  # a job without a cache starts without it
    from clary.instance.cached_channels import CachedChannels

_DISK_FULL_PAUSE_S = 1.0

faults.declare("instance.finished")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an instance works with.

    `open_series` opens metric series by owner and writer; `hints` as in `Reporter`; `cached` is None without an input cache.
    """

    task: InstanceTask
    files: InstanceFiles
    runtime: Runtime
    volumes: Volumes
    fuse: UserMounts
    grants: Grants
    storage_for: StorageFor
    logs: LogStore
    open_series: Callable[[str, str], SeriesWriter]
    find_metrics: FindMetrics
    reporter: Reporter
    waker: Waker
    clock: Clock
    log: Logger
    grace_s: float
    cached: "CachedChannels | None" = None


def next_step(steps: Sequence[Step], state: State) -> Step | None:
    """The first step that is not done; None if all are. Pure."""
    return next((step for step in steps if not step.is_done(state)), None)


class Lifecycle:
    """One instance program's share in the life of an instance."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._clock = around.clock
        self._log = around.log
        self._waker = around.waker
        self._journal = Journal(around.files.journal)
        self._metrics = LastMetrics(around.files.root / "metrics.json", around.task.metric_definitions)
        self._downloading: ChannelProgress | None = None
        self.steps = self._steps()

    @property
    def state(self) -> State:
        """Where the instance stands."""
        return self._journal.state

    def run(self) -> None:
        """Go on with the instance's life until it is finished, or this program is told to leave."""
        try:
            self.begin()
            while not self._waker.leaving:
                pause = self.turn()
                if pause is None:
                    return
                self._waker.wait(pause)
            self._leave()
        except VolumeTrouble as error:
            self._log.error("volume failed")
            self._give_up(internal_error(str(error)))
        except Exception:  # noqa: BLE001 - whatever it is, the job must come to an end
            self._log.error("instance failed")
            self._give_up(internal_error())

    def begin(self) -> None:
        """Note that another instance program is at work, and see to the volume, which a reboot unmounts.

        Raises RuntimeError if too many have died here in vain, and `VolumeTrouble`.
        """
        self._journal.note(AgentStarted(at=self._clock.now()))
        self._log.info("instance program started", starts=self.state.starts, phase=self.state.phase)
        if self.state.finished_at is None and is_hopeless(self.state):
            raise RuntimeError(f"the instance program died {self.state.barren_starts - 1} times in a row")
        if self.state.ready_at is not None and self.state.finished_at is None:
            self._around.volumes.attach_again(self._around.files.volume_image, self._around.files.volume)
            if self._around.cached is not None and self.state.program_start_at is None:
                self._around.cached.attach_again(self.state.staged_channels)

    def turn(self) -> float | None:
        """One turn of the present step, and a report; seconds until the next, None if there is none."""
        step = next_step(self.steps, self.state)
        try:
            pause = 0 if step is None else step.turn()
            if self.state.finished_at is not None:
                faults.point("instance.finished")
            self._report(None if step is None else step.message)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT} or self.state.program_start_at is None:
                raise
            self._log.warning("disk full", error=str(error))
            return _DISK_FULL_PAUSE_S
        return None if step is None else pause

    def _leave(self) -> None:
        for step in self.steps:
            step.leave()
        self._journal.note(AgentLeft(at=self._clock.now()))
        self._log.info("instance program leaves", phase=self.state.phase)

    def _give_up(self, failure: JobFailure) -> None:
        """End the program, then the instance, come what may."""
        state = self.state
        if state.program_start_at is not None and state.ended_at is None:
            try:
                self._around.runtime.kill(self._around.files.program)
            except Exception:  # noqa: BLE001 - there is nobody left to tell
                self._log.error("program not ended")
        if state.finished_at is None:
            now = self._clock.now()
            self._journal.note(Failed(at=now, failure=failure))
            self._journal.note(Finished(at=now))
        self._report(None)

    def _report(self, message: str | None) -> None:
        self._around.reporter.report(
            self.state,
            message=message,
            metrics=self._metrics.values(),
            now=self._clock.now(),
            downloading=self._downloading,
        )

    def _download_is_at(self, progress: ChannelProgress | None) -> None:
        """Keep how far a download is until the next report. Called in the thread that downloads."""
        self._downloading = progress

    def _shipper(self, log_stream: str) -> Shipper:
        around = self._around
        job = around.task.training_job_name
        return Shipper(
            training_job_name=job,
            output=around.files.output,
            open_writer=lambda: around.logs.writer(around.task.log_group, log_stream),
            open_series=lambda: around.open_series(job, log_stream.removeprefix(f"{job}/")),
            find_metrics=around.find_metrics,
            metrics=self._metrics,
            clock=around.clock,
            log=around.log,
        )

    def _meter(self) -> InstanceMeter:
        around, task = self._around, self._around.task
        return InstanceMeter(
            host=f"{task.training_job_name}/{task.host}",
            usage=lambda: around.runtime.usage(around.files.program),
            disk=around.files.opt_ml,
            open_series=lambda: around.open_series(task.training_job_name, f"{task.host}-instance"),
            clock=around.clock,
            log=around.log,
        )

    def _steps(self) -> tuple[Step, ...]:
        """The life of an instance, in order."""
        around, journal, clock, log = self._around, self._journal, self._clock, self._log
        task, files, wake = around.task, around.files, around.waker.wake
        wishes = WishesFile(files.wishes, log)
        stops = Stops(task, wishes, journal, clock, log)
        checkpoints = CheckpointSync(
            task=task,
            files=files,
            volumes=around.volumes,
            storage_for=around.storage_for,
            grants=around.grants,
            clock=clock,
            wake=wake,
            log=log,
        )
        return (
            Prepare(task, files, around.runtime, around.volumes, journal, clock),
            ProvideImage(
                task=task,
                runtime=around.runtime,
                journal=journal,
                stops=stops,
                clock=clock,
                wake=wake,
                log=log,
            ),
            StageChannels(
                task=task,
                files=files,
                volumes=around.volumes,
                storage_for=around.storage_for,
                grants=around.grants,
                journal=journal,
                stops=stops,
                clock=clock,
                wake=wake,
                progress=self._download_is_at,
                log=log,
                cached=around.cached,
            ),
            RestoreCheckpoints(
                task=task,
                files=files,
                volumes=around.volumes,
                storage_for=around.storage_for,
                grants=around.grants,
                journal=journal,
                stops=stops,
                clock=clock,
                wake=wake,
                progress=self._download_is_at,
                log=log,
            ),
            AwaitPeers(task, journal, wishes, stops, clock),
            RunTraining(
                task=task,
                files=files,
                runtime=around.runtime,
                shipper=self._shipper,
                has_stream=lambda name: around.logs.has_stream(task.log_group, name),
                meter=self._meter(),
                checkpoints=checkpoints,
                pipes=Pipes(
                    task=task,
                    files=files,
                    storage_for=around.storage_for,
                    grants=around.grants,
                    clock=clock,
                    wake=wake,
                    log=log,
                ),
                fast_file=FastFileMount(task, files, around.fuse, log),
                lent=lambda: () if around.cached is None else around.cached.mounts(),
                journal=journal,
                stops=stops,
                clock=clock,
                log=log,
                grace_s=around.grace_s,
            ),
            SyncCheckpoints(task, checkpoints, journal, clock, log),
            UploadArtifacts(
                task=task,
                files=files,
                volumes=around.volumes,
                storage_for=around.storage_for,
                grants=around.grants,
                journal=journal,
                wishes=wishes,
                clock=clock,
                wake=wake,
                log=log,
            ),
            Finish(journal, clock),
        )
