"""The third step: brings the channels of the job, one after the other, into /opt/ml/input/data.

Each channel is listed, planned and downloaded in the background; the turns watch for a stop, which abandons it. Storage
that cannot be reached is waited for without bound (the time limit of the job still holds): it belongs to a server that
comes back. A channel that a crash interrupted begins again, from a new listing and an empty directory.
"""

import os
import threading
from collections.abc import Callable

import msgspec

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance.background import Background
from clary.instance.decisions import try_again_s
from clary.instance.grants import Grants
from clary.instance.journal import Journal
from clary.instance.opt_ml import INPUT_DATA, input_mode
from clary.instance.state import ChannelStaged, Ended, Failed, InputReady, State
from clary.instance.stops import Stops
from clary.instance.storage_trouble import download_failure, empty_listing
from clary.jobs.failure import JobFailed, internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Channel, S3DataSource
from clary.jobs.status import MESSAGES, SecondaryStatus
from clary.jobs.task import InstanceTask
from clary.runtimes.port import Volumes
from clary.storage.port import AccessDenied, ObjectStorage
from clary.storage.selection import Selection, channel_manifest, select_prefix, shard
from clary.storage.transfer import InsufficientDisk, Progress, download
from clary.storage.uri import S3Location, parse_s3_uri

StorageFor = Callable[[str, S3Location], ObjectStorage]
"""The storage through which keys from a location on may be accessed, "read" or "write"."""

DOWNLOADING_MESSAGE = MESSAGES[SecondaryStatus.DOWNLOADING]
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
        log: Logger,
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
        self._log = log
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
        location = parse_s3_uri(channel.data_source.s3_data_source.s3_uri)
        waits_for_grant = isinstance(error, AccessDenied) and self._grants.may_be_outdated(
            "read", location.bucket, location.key, since=self._begun_at
        )
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

    def _stage(self, channel: Channel) -> None:
        """Bring one channel. Runs in the background; raises `JobFailed`, and what listing and download raise."""
        source = channel.data_source.s3_data_source
        if source.s3_data_type != "S3Prefix" or input_mode(self._task, channel.input_mode) != "File":
            raise JobFailed(internal_error(f"channel {channel.channel_name} is of a kind that was to be refused"))
        location = parse_s3_uri(source.s3_uri)
        storage = self._storage_for("read", location)
        listing = list(storage.list_objects(location.bucket, location.key))
        if not listing:
            raise JobFailed(empty_listing(source.s3_uri))
        whole = select_prefix(location.key, listing)
        mine = share(whole, source, self._task)
        machine = os.statvfs(self._files.root)
        if mine.size_bytes > machine.f_bavail * machine.f_frsize:
            # A volume may be larger than the room for it, and would tell only when it is too late.
            raise InsufficientDisk(f"{mine.size_bytes} bytes do not fit on this machine")
        data = self._files.opt_ml / INPUT_DATA
        done = download(
            storage,
            location.bucket,
            mine,
            data / channel.channel_name,
            scratch=self._files.staging / channel.channel_name,
            on_progress=lambda progress: self._tell(channel, progress),
            cancelled=self._cancelled.is_set,
        )
        manifest = data / f"{channel.channel_name}-manifest"
        text = channel_manifest(location.key, location.bucket, whole.objects)
        manifest.write_bytes(text.encode("utf-8", "surrogateescape"))
        manifest.chmod(0o644)
        self._volumes.settle(self._files.volume)
        self._log.info("channel staged", channel=channel.channel_name, objects=done.objects_done, bytes=done.bytes_done)

    def _tell(self, channel: Channel, progress: Progress) -> None:
        self.message = progress_message(channel.channel_name, progress)


def share(whole: Selection, source: S3DataSource, task: InstanceTask) -> Selection:
    """What this host gets of a channel (Source: API model, S3DataDistributionType; the deal was observed).

    A channel for some instance groups is dealt out among their hosts (inferred).
    """
    if source.s3_data_distribution_type != "ShardedByS3Key":
        return whole
    hosts = task.hosts_with(source)
    return msgspec.structs.replace(whole, objects=shard(whole.objects, hosts.index(task.host), len(hosts)))


def progress_message(channel_name: str, progress: Progress) -> str:
    """The StatusMessage while a channel comes in; it begins with SageMaker's own."""
    size = f"{_size(progress.bytes_done)} of {_size(progress.bytes_total)}"
    return (
        f"{DOWNLOADING_MESSAGE}: channel {channel_name}, {progress.objects_done} of {progress.objects_total} objects, "
        f"{size}"
    )


def _size(size_bytes: int) -> str:
    """A number of bytes as people read it: three digits or so."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
