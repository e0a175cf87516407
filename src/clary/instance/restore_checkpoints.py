"""The fourth step: brings the checkpoints that an earlier job, or an earlier attempt of this one, has left in S3.

Every host gets all of them, like a channel that may be empty; what is no checkpoint stays away. The files are open to
everybody, since an image's user need not be ours, and goes on writing to them. Storage that cannot be reached is waited
for without bound; a crash makes the step begin again. Source: the developer guide on checkpoints; checkpoints-manifest as
it was seen.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance import checkpoint_place
from clary.instance.background import Background
from clary.instance.channel_plan import StorageFor
from clary.instance.decisions import try_again_s
from clary.instance.grants import Grants
from clary.instance.journal import Journal
from clary.instance.opt_ml import INPUT_DATA
from clary.instance.progress import DOWNLOADING_MESSAGE, Pace, channel_progress, progress_message
from clary.instance.state import CheckpointsRestored, Ended, Failed, State
from clary.instance.stops import Stops
from clary.instance.storage_trouble import download_failure
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import CheckpointConfig
from clary.jobs.task import ChannelProgress, InstanceTask
from clary.runtimes.port import Volumes
from clary.storage.port import AccessDenied
from clary.storage.selection import channel_manifest, select_prefix
from clary.storage.transfer import InsufficientDisk, Progress, download
from clary.storage.uri import parse_s3_uri

_NAME = "checkpoints"  # of the channel that they are (observed)
_LOOK_AGAIN_S = 0.5

faults.declare("instance.restored")


class RestoreCheckpoints:
    """See `steps.Step`."""

    name = "restore checkpoints"

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
    ) -> None:
        self._task = task
        self._config = task.checkpoint_config
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
        self._work: Background[None] | None = None
        self._begun_at = Instant(0)
        self._not_before = Instant(0)
        self._failures = 0
        self._cancelled = threading.Event()
        self.message: str | None = DOWNLOADING_MESSAGE

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return self._config is None or state.checkpoints_restored or state.ended_at is not None

    def turn(self) -> float:
        """See `steps.Step`."""
        config = self._config
        if config is None or self._stops.begun():
            self._cancelled.set()
            self._journal.note(Ended(at=self._clock.now()))
            return 0
        now = self._clock.now()
        if self._work is None:
            if now < self._not_before:
                return min(_LOOK_AGAIN_S, (self._not_before - now) / 1000)
            self._begun_at = now
            self._work = Background(lambda: self._restore(config), self._wake)
        if not self._work.done:
            return _LOOK_AGAIN_S
        work, self._work = self._work, None
        self._progress(None)
        try:
            work.outcome()
        except Exception as error:  # noqa: BLE001 - raised again if it is none of the storage's
            self._trouble(config, error)
        else:
            faults.point("instance.restored")
            self._journal.note(CheckpointsRestored(at=self._clock.now()))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
        self._cancelled.set()

    def _trouble(self, config: CheckpointConfig, error: Exception) -> None:
        place = checkpoint_place.objects(config)
        waits_for_grant = isinstance(error, AccessDenied) and self._grants.may_be_outdated(
            "sync", place.bucket, place.key, since=self._begun_at
        )
        failure = None if waits_for_grant else download_failure(error)
        if failure is not None:
            self._log.warning("download failed", reason=failure.reason)
            self._journal.note(Failed(at=self._clock.now(), failure=failure))
            return
        self._failures += 1
        pause_s = try_again_s(self._failures)
        self._not_before = later(self._clock.now(), pause_s)
        what = "waiting for renewed credentials" if waits_for_grant else "the storage cannot be reached, trying again"
        self.message = f"{DOWNLOADING_MESSAGE}: {what}"
        self._log.warning("checkpoints put off", error=str(error), pause_s=pause_s)

    def _restore(self, config: CheckpointConfig) -> None:
        """Bring them. Runs in the background; raises what listing and download raise."""
        from clary.storage.mirror import note_restored  # noqa: PLC0415 - a job without checkpoints starts without it
        from clary.storage.mirror_plan import is_synced  # noqa: PLC0415

        place = checkpoint_place.objects(config)
        storage = self._storage_for("sync", place)
        listing = [info for info in storage.list_objects(place.bucket, place.key) if is_synced(info.key)]
        selection = select_prefix(place.key, listing)
        machine = os.statvfs(self._files.root)
        if selection.size_bytes > machine.f_bavail * machine.f_frsize:
            raise InsufficientDisk(f"{selection.size_bytes} bytes do not fit on this machine")
        root = checkpoint_place.directory(config, self._files)
        pace = Pace()
        done = download(
            storage,
            place.bucket,
            selection,
            root,
            scratch=self._files.staging / _NAME,
            on_progress=lambda progress: self._tell(progress, pace),
            cancelled=self._cancelled.is_set,
        )
        _open_to_all(root)
        self._write_manifest(config, [item.key for item in selection.objects])
        self._volumes.settle(self._files.volume)
        note_restored(self._files.synced, root, (item.relative_path for item in selection.objects))
        self._log.info("checkpoints restored", objects=done.objects_done, bytes=done.bytes_done)

    def _write_manifest(self, config: CheckpointConfig, keys: list[str]) -> None:
        name = f"{_NAME}-manifest"
        if {_NAME, name} & {channel.channel_name for channel in self._task.channels}:
            return  # it is that channel's (inferred)
        location = parse_s3_uri(config.s3_uri)
        manifest = self._files.opt_ml / INPUT_DATA / name
        text = channel_manifest(location.key, location.bucket, keys)
        manifest.write_bytes(text.encode("utf-8", "surrogateescape"))
        manifest.chmod(0o644)

    def _tell(self, progress: Progress, pace: Pace) -> None:
        if not progress.objects_total:
            return  # a first run has none, and "0 of 0 objects" would stay in its history for the channels before
        rate = pace.bytes_per_s(progress.bytes_done, time.monotonic())
        self.message = progress_message(_NAME, progress, rate)
        self._progress(channel_progress(_NAME, progress, rate))


def _open_to_all(root: Path) -> None:
    """Let whatever user the program runs as write to the files and directories. Nothing of the program's is there yet."""
    for directory, _, names in os.walk(root):
        Path(directory).chmod(0o777)
        for name in names:
            Path(directory, name).chmod(0o666)
