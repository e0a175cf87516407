"""Keeps a job's checkpoints in S3: beside the program while it runs, and once more when it has ended.

`CheckpointSync` is asked for its turns by `run_training` and, at the end, by the step here; both use the one, so that
there is never more than one look at work. Each look runs in the background: storage that hangs keeps neither the program
nor its log waiting. Trouble while the program runs is told in our own log and tried again, since it may pass; at the end
storage that cannot be reached is waited for without bound, and any other trouble fails the job (inferred), whose artifacts
are uploaded all the same. A program that was lost is not synchronised: after a reboot its files may be damaged, and the
next attempt begins with the checkpoints that were found at rest.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance import checkpoint_place
from clary.instance.background import Background
from clary.instance.channel_plan import StorageFor
from clary.instance.decisions import failed_by_itself, look_again_s, syncs, try_again_s
from clary.instance.grants import Grants
from clary.instance.journal import Journal
from clary.instance.state import CheckpointsSynced, Failed, State
from clary.instance.storage_trouble import sync_failure
from clary.jobs.failure import JobFailed
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import CheckpointConfig
from clary.jobs.task import InstanceTask
from clary.runtimes.port import Volumes
from clary.storage.port import AccessDenied

if TYPE_CHECKING:
    from clary.storage.mirror import Mirror, Turn

_LOOK_AGAIN_S = 0.5
_TOLD_AT_MOST = 100

faults.declare("instance.synced")


class CheckpointSync:
    """The checkpoints of one instance; does nothing for a job without."""

    def __init__(
        self,
        *,
        task: InstanceTask,
        files: InstanceFiles,
        volumes: Volumes,
        storage_for: StorageFor,
        grants: Grants,
        clock: Clock,
        wake: Callable[[], None],
        log: Logger,
    ) -> None:
        self._config = task.checkpoint_config
        self._files = files
        self._volumes = volumes
        self._storage_for = storage_for
        self._grants = grants
        self._clock = clock
        self._wake = wake
        self._log = log
        self._mirror: Mirror | None = None
        self._work: Background[Turn] | None = None
        self._is_last = False
        self._begun_at = Instant(0)
        self._not_before = Instant(0)
        self._last_not_before = Instant(0)
        self._failures = 0
        self._told: set[tuple[str, str]] = set()
        self._cancelled = threading.Event()

    def turn(self) -> None:
        """Look again if it is time. Returns at once, and raises nothing."""
        now = self._clock.now()
        if self._config is None:
            return
        if self._work is None:
            if now >= self._not_before:
                self._begin(self._config, last=False)
            return
        if not self._work.done:
            return
        work, self._work = self._work, None
        try:
            done = work.outcome()
        except Exception as error:  # noqa: BLE001 - nothing that befalls a look is the program's business
            self._failures += 1
            self._not_before = later(now, try_again_s(self._failures))
            self._log.warning("checkpoints not synchronised", error=str(error), failures=self._failures)
            return
        self._failures = 0
        self._not_before = later(now, look_again_s(done.look_s))
        self._tell(done)

    def finish(self) -> bool:
        """Bring S3 to what the program has left, in several calls; whether that is done. Raises `JobFailed`."""
        if self._config is None:
            return True
        if self._work is None:
            if self._clock.now() >= self._last_not_before:
                self._begin(self._config, last=True)
            return False
        if not self._work.done:
            return False
        work, self._work = self._work, None
        if not self._is_last:
            return False  # whatever came of it: the last look finds what there is to do
        try:
            done = work.outcome()
        except Exception as error:  # noqa: BLE001 - raised again if it is none of the storage's
            self._put_off(self._config, error)
            return False
        self._tell(done)
        return done.whole

    def leave(self) -> None:
        """Begin nothing more; what is under way is given up."""
        self._cancelled.set()

    def _begin(self, config: CheckpointConfig, *, last: bool) -> None:
        if last and not self._is_last:
            self._failures = 0
        self._is_last = last
        self._begun_at = self._clock.now()
        # Nobody waits for a look beside the program.
        self._work = Background(lambda: self._look(config, last=last), self._wake if last else lambda: None)

    def _look(self, config: CheckpointConfig, *, last: bool) -> "Turn":
        """One turn of the mirror. Runs in the background."""
        if last:
            self._volumes.attach_again(self._files.volume_image, self._files.volume)
            self._volumes.settle(self._files.volume)
        if self._mirror is None:
            from clary.storage.mirror import Mirror  # noqa: PLC0415 - a job without checkpoints starts without it

            place = checkpoint_place.objects(config)
            self._mirror = Mirror(
                self._storage_for("sync", place),
                place,
                checkpoint_place.directory(config, self._files),
                self._files.synced,
                seen_as=config.directory,
                on_skip=self._skip,
                cancelled=self._cancelled.is_set,
            )
        return self._mirror.turn(settled=last)

    def _put_off(self, config: CheckpointConfig, error: Exception) -> None:
        place = checkpoint_place.objects(config)
        waits_for_grant = isinstance(error, AccessDenied) and self._grants.may_be_outdated(
            "sync", place.bucket, place.key, since=self._begun_at
        )
        failure = None if waits_for_grant else sync_failure(error)
        if failure is not None:
            raise JobFailed(failure)
        self._failures += 1
        pause_s = try_again_s(self._failures)
        self._last_not_before = later(self._clock.now(), pause_s)
        self._log.warning("last checkpoints put off", error=str(error), pause_s=pause_s)

    def _tell(self, done: "Turn") -> None:
        if done.uploaded or done.deleted:
            self._log.info("checkpoints synchronised", uploaded=done.uploaded, deleted=done.deleted)

    def _skip(self, path: str, reason: str) -> None:
        """Tell of it once: each look finds it again, and job code can make as many as it likes."""
        if (path, reason) not in self._told and len(self._told) < _TOLD_AT_MOST:
            self._told.add((path, reason))
            self._log.warning("checkpoint left out", path=path, reason=reason)


class SyncCheckpoints:
    """The seventh step: the last look. See `steps.Step`."""

    name = "sync checkpoints"
    message = None

    def __init__(self, task: InstanceTask, sync: CheckpointSync, journal: Journal, clock: Clock, log: Logger) -> None:
        self._task = task
        self._sync = sync
        self._journal = journal
        self._clock = clock
        self._log = log

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return state.checkpoints_synced or not syncs(state, self._task)

    def turn(self) -> float:
        """See `steps.Step`."""
        try:
            if not self._sync.finish():
                return _LOOK_AGAIN_S
        except JobFailed as error:
            self._fail(error)
            return 0
        faults.point("instance.synced")
        self._journal.note(CheckpointsSynced(at=self._clock.now()))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
        self._sync.leave()

    def _fail(self, error: JobFailed) -> None:
        self._log.warning("checkpoints failed", reason=error.failure.reason)
        now = self._clock.now()
        if failed_by_itself(self._journal.state):
            self._journal.note(CheckpointsSynced(at=now))  # the job has failed already, for a reason that helps more
        elif error.failure.may_be_retried:
            self._journal.note(Failed(at=now, failure=error.failure))  # there is nothing left that could be trusted
        else:
            self._journal.note(CheckpointsSynced(at=now, failure=error.failure))
