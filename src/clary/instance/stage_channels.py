"""The third step: brings the channels of the job, one after the other, into /opt/ml/input/data.

Each channel is planned (`channel_plan`) and downloaded in the background, or comes out of the input cache (`cached_channels`);
one that is mounted is only listed, and a shared file system is only checked, as they are mounted when the program starts. The
turns watch for a stop, which abandons it. Storage that cannot be reached is waited for without bound (the time limit of the job
still holds): it belongs to a server that comes back. A channel that a crash interrupted begins again, from a new listing and
an empty directory.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance.background import Background
from clary.instance.channel_plan import ChannelPlan, StorageFor, plan_channel
from clary.instance.decisions import try_again_s
from clary.instance.fast_file_mount import MOUNT, keep_view
from clary.instance.file_systems import provide_mount_point
from clary.instance.grants import Grants
from clary.instance.journal import Journal
from clary.instance.opt_ml import INPUT_DATA, input_mode
from clary.instance.pipe_plan import look_up
from clary.instance.pipes import plan_file
from clary.instance.progress import DOWNLOADING_MESSAGE, Pace, channel_progress, progress_message
from clary.instance.state import ChannelStaged, Ended, Failed, InputReady, State
from clary.instance.stops import Stops
from clary.instance.storage_trouble import download_failure
from clary.jobs.failure import JobFailed, internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Channel, S3DataSource
from clary.jobs.task import ChannelProgress, InstanceTask
from clary.runtimes.port import Volumes
from clary.storage.port import AccessDenied
from clary.storage.transfer import InsufficientDisk, Progress, download
from clary.storage.uri import parse_s3_uri

if TYPE_CHECKING:  # a job without a cache starts without it
    from clary.instance.cached_channels import CachedChannels

_LOOK_AGAIN_S = 0.5

faults.declare("instance.downloading", "instance.staged")


class StageChannels:
    """See `steps.Step`."""

    name = "stage channels"

    def __init__(
        self,
        *,
        task: InstanceTask,
        files: InstanceFiles,
        volumes: Volumes,
        storage_for: StorageFor,
        grants: Grants,
        journal: Journal,
        stops: Stops,
        clock: Clock,
        wake: Callable[[], None],
        progress: Callable[[ChannelProgress | None], None],
        log: Logger,
        cached: "CachedChannels | None" = None,
    ) -> None:
        self._task = task
        self._files = files
        self._volumes = volumes
        self._storage_for = storage_for
        self._grants = grants
        self._journal = journal
        self._stops = stops
        self._clock = clock
        self._wake = wake
        self._progress = progress
        self._log = log
        self._cached = cached
        self._work: Background[None] | None = None
        self._begun_at = Instant(0)
        self._not_before = Instant(0)
        self._failures = 0
        self._cancelled = threading.Event()
        self.message: str | None = DOWNLOADING_MESSAGE

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return state.input_ready or state.ended_at is not None

    def turn(self) -> float:
        """See `steps.Step`."""
        if self._stops.begun():
            self._cancelled.set()
            self._journal.note(Ended(at=self._clock.now()))
            return 0
        missing = [
            channel
            for channel in self._task.channels
            if channel.channel_name not in self._journal.state.staged_channels
        ]
        if not missing:
            faults.point("instance.staged")
            self._journal.note(InputReady(at=self._clock.now()))
            return 0
        now = self._clock.now()
        if self._work is None:
            if now < self._not_before:
                return min(_LOOK_AGAIN_S, (self._not_before - now) / 1000)
            channel = missing[0]
            self._begun_at = now
            self._work = Background(lambda: self._stage(channel), self._wake)
        if not self._work.done:
            return _LOOK_AGAIN_S
        work, self._work = self._work, None
        self._progress(None)
        try:
            work.outcome()
        except JobFailed as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - raised again if it is none of the storage's
            self._trouble(missing[0], error)
        else:
            self._failures = 0
            faults.point("instance.downloading")
            self._journal.note(ChannelStaged(at=self._clock.now(), channel_name=missing[0].channel_name))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
        self._cancelled.set()

    def _fail(self, error: JobFailed) -> None:
        self._log.warning("download failed", reason=error.failure.reason)
        self._journal.note(Failed(at=self._clock.now(), failure=error.failure))

    def _trouble(self, channel: Channel, error: Exception) -> None:
        waits_for_grant = isinstance(error, AccessDenied) and self._may_be_outdated(channel)
        failure = None if waits_for_grant else download_failure(error)
        if failure is not None:
            self._fail(JobFailed(failure))
            return
        self._failures += 1
        pause_s = try_again_s(self._failures)
        self._not_before = later(self._clock.now(), pause_s)
        what = "waiting for renewed credentials" if waits_for_grant else "the storage cannot be reached, trying again"
        self.message = f"{DOWNLOADING_MESSAGE}: {what}"
        self._log.warning("download put off", channel=channel.channel_name, error=str(error), pause_s=pause_s)

    def _may_be_outdated(self, channel: Channel) -> bool:
        """Whether a refusal may come from credentials that have ended: all of a job's are given at the same time."""
        if channel.s3 is None:
            return False
        location = parse_s3_uri(channel.s3.s3_uri)
        return self._grants.may_be_outdated("read", location.bucket, location.key, since=self._begun_at)

    def _stage(self, channel: Channel) -> None:
        """Bring one channel. Runs in the background; raises `JobFailed`, and what planning and download raise."""
        mode = input_mode(self._task, channel.input_mode)
        if mode == "Pipe" and channel.s3 is not None:
            units = look_up(channel.s3, self._storage_for, plan_file(self._files, channel.channel_name))
            self._log.info("channel looked up", channel=channel.channel_name, units=units)
            return
        if mode == "FastFile" and channel.s3 is not None and self._task.fast_file == MOUNT:
            self._show(channel.channel_name, channel.s3)
            return
        if mode == "Pipe" or (mode == "FastFile" and channel.s3 is None):
            raise JobFailed(internal_error(f"channel {channel.channel_name} is of a kind that was to be refused"))
        if channel.file_system is not None:
            provide_mount_point(self._task, channel, channel.file_system, self._files.opt_ml)
            self._log.info("file system found", channel=channel.channel_name)
        if channel.s3 is not None:
            self._bring(channel.channel_name, channel.s3)

    def _show(self, channel_name: str, source: S3DataSource) -> None:
        plan = plan_channel(source, self._task, self._storage_for, self._cancelled.is_set)
        keep_view(self._files, channel_name, plan, now=self._clock.now())
        self._keep_manifest(channel_name, plan)
        self._log.info("channel listed", channel=channel_name, objects=len(plan.selection.objects))

    def _bring(self, channel_name: str, source: S3DataSource) -> None:
        plan = plan_channel(source, self._task, self._storage_for, self._cancelled.is_set)
        data, pace = self._files.opt_ml / INPUT_DATA, Pace()

        def tell(progress: Progress) -> None:
            self._tell(channel_name, progress, pace)

        if not self._from_cache(channel_name, plan, tell):
            machine = os.statvfs(self._files.root)
            if plan.selection.size_bytes > machine.f_bavail * machine.f_frsize:
                # A volume may be larger than the room for it, and would tell only when it is too late.
                raise InsufficientDisk(f"{plan.selection.size_bytes} bytes do not fit on this machine")
            download(
                plan.storage,
                plan.bucket,
                plan.selection,
                data / channel_name,
                scratch=self._files.staging / channel_name,
                on_progress=tell,
                cancelled=self._cancelled.is_set,
            )
        self._keep_manifest(channel_name, plan)
        self._volumes.settle(self._files.volume)
        count, size_bytes = len(plan.selection.objects), plan.selection.size_bytes
        self._log.info("channel staged", channel=channel_name, objects=count, bytes=size_bytes)

    def _keep_manifest(self, channel_name: str, plan: ChannelPlan) -> None:
        manifest = self._files.opt_ml / INPUT_DATA / f"{channel_name}-manifest"
        manifest.write_bytes(plan.manifest.encode("utf-8", "surrogateescape"))
        manifest.chmod(0o644)

    def _from_cache(self, channel_name: str, plan: ChannelPlan, tell: Callable[[Progress], None]) -> bool:
        """Whether the channel came by way of the cache."""
        if self._cached is None:
            return False
        volume, room_bytes = self._files.volume, None
        if os.path.ismount(volume):
            disk = os.statvfs(volume)
            room_bytes = disk.f_bavail * disk.f_frsize
        return self._cached.bring(
            plan, channel_name, room_bytes=room_bytes, on_progress=tell, cancelled=self._cancelled.is_set
        )

    def _tell(self, channel_name: str, progress: Progress, pace: Pace) -> None:
        rate = pace.bytes_per_s(progress.bytes_done, time.monotonic())
        self.message = progress_message(channel_name, progress, rate)
        self._progress(channel_progress(channel_name, progress, rate))
