"""The eighth step, on the leader: uploads what all hosts have left behind, packed or file by file.

The hosts of a job are directories side by side on this machine; the leader merges theirs into its own, later hosts over
earlier ones. Whether all of them have ended, the controller says. Storage that cannot be reached is waited for without
bound; an upload that a crash interrupted begins again.
"""

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance.background import Background
from clary.instance.channel_plan import StorageFor
from clary.instance.decisions import failed_by_itself, keeps_empty_model, may_upload, try_again_s, uploads
from clary.instance.grants import Grants
from clary.instance.journal import Journal
from clary.instance.opt_ml import MODEL, OUTPUT_DATA
from clary.instance.state import ArtifactUploaded, Failed, State, UploadBegun, Uploaded
from clary.instance.storage_trouble import upload_failure
from clary.instance.wishes import WishesFile
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask, instance_name
from clary.runtimes.port import Volumes
from clary.storage.port import AccessDenied
from clary.storage.uri import parse_s3_uri

_LOOK_AGAIN_S = 1.0

faults.declare("instance.uploading", "instance.uploaded")


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact: its name in the journal, its directory below /opt/ml, and whether it may be empty.

    `key` is its place below the job's output prefix: the key of an archive, or "…/", below which every file is an object.
    """

    name: str
    key: str
    directory: Path
    even_if_empty: bool

    @property
    def is_tree(self) -> bool:
        """Whether it is uploaded file by file."""
        return self.key.endswith("/")


def artifacts(state: State, compression_type: str) -> tuple[Artifact, ...]:
    """What is to be uploaded, in order. Pure. An empty output/data becomes nothing (inferred).

    Source: API model, OutputDataConfig.CompressionType; "output/model/" as S3ModelArtifacts of uncompressed jobs have
    it; "output/data/" beside it (inferred).
    """
    model, data = ("model/", "data/") if compression_type == "NONE" else ("model.tar.gz", "output.tar.gz")
    return (
        Artifact(name="model", key=model, directory=MODEL, even_if_empty=keeps_empty_model(state)),
        Artifact(name="output", key=data, directory=OUTPUT_DATA, even_if_empty=False),
    )


class UploadArtifacts:
    """See `steps.Step`."""

    name = "upload artifacts"

    def __init__(
        self,
        *,
        task: InstanceTask,
        files: InstanceFiles,
        volumes: Volumes,
        storage_for: StorageFor,
        grants: Grants,
        journal: Journal,
        wishes: WishesFile,
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
        self._wishes = wishes
        self._clock = clock
        self._wake = wake
        self._log = log
        self._work: Background[str | None] | None = None
        self._begun_at = Instant(0)
        self._not_before = Instant(0)
        self._failures = 0
        self._skipped: set[str] = set()
        self._cancelled = threading.Event()
        self.message: str | None = None

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return state.uploaded or not uploads(state, self._task)

    def turn(self) -> float:
        """See `steps.Step`."""
        state = self._journal.state
        if not may_upload(self._wishes.read(), self._task):
            return _LOOK_AGAIN_S
        if not state.upload_begun:
            self._journal.note(UploadBegun(at=self._clock.now()))
            return 0
        done = self._skipped | {name for name, _ in state.artifacts}
        missing = [artifact for artifact in self._artifacts(state) if artifact.name not in done]
        if not missing:
            faults.point("instance.uploaded")
            self._journal.note(Uploaded(at=self._clock.now()))
            return 0
        now = self._clock.now()
        if self._work is None:
            if now < self._not_before:
                return min(_LOOK_AGAIN_S, (self._not_before - now) / 1000)
            artifact = missing[0]
            self._begun_at = now
            self._work = Background(lambda: self._upload(artifact), self._wake)
        if not self._work.done:
            return _LOOK_AGAIN_S
        work, self._work = self._work, None
        try:
            uri = work.outcome()
        except Exception as error:  # noqa: BLE001 - raised again if it is none of the storage's
            self._trouble(missing[0], error)
            return 0
        self._failures = 0
        self.message = None
        if uri is None:
            self._skipped.add(missing[0].name)
            return 0
        faults.point("instance.uploading")
        self._journal.note(ArtifactUploaded(at=self._clock.now(), artifact=missing[0].name, uri=uri))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
        self._cancelled.set()

    def _trouble(self, artifact: Artifact, error: Exception) -> None:
        location = parse_s3_uri(self._task.s3_output_prefix).child(artifact.key)
        waits_for_grant = isinstance(error, AccessDenied) and self._grants.may_be_outdated(
            "write", location.bucket, location.key, since=self._begun_at
        )
        failure = None if waits_for_grant else upload_failure(error)
        now = self._clock.now()
        if failure is None:
            self._failures += 1
            pause_s = try_again_s(self._failures)
            self._not_before = later(now, pause_s)
            self.message = "Uploading generated training model: the storage cannot be reached, trying again"
            self._log.warning("upload put off", artifact=artifact.name, error=str(error), pause_s=pause_s)
            return
        self._log.warning("upload failed", artifact=artifact.name, reason=failure.reason)
        if failed_by_itself(self._journal.state):
            self._skipped.add(artifact.name)  # the job has failed already, and for a reason that helps more
        else:
            self._journal.note(Failed(at=now, failure=failure))

    def _artifacts(self, state: State) -> tuple[Artifact, ...]:
        return artifacts(state, self._task.output_compression_type)

    def _upload(self, artifact: Artifact) -> str | None:
        """Upload one artifact; its URI, or None if there is nothing to upload. Runs in the background."""
        # Here, because packing is needed by the leader alone, and after the training: start-up must not wait for it.
        from clary.storage.archive import is_empty  # noqa: PLC0415
        from clary.storage.upload import upload_archive, upload_tree  # noqa: PLC0415

        hosts = self._all_hosts()
        for files in hosts:  # those of other hosts, which have finished, are nobody else's business after a reboot
            self._volumes.attach_again(files.volume_image, files.volume)
            self._volumes.settle(files.volume)
        roots = [root for files in hosts if (root := plain_directory(files.opt_ml, artifact.directory))]
        if not artifact.even_if_empty and is_empty(roots):
            return None
        location = parse_s3_uri(self._task.s3_output_prefix).child(artifact.key)
        upload = upload_tree if artifact.is_tree else upload_archive
        members = upload(
            self._storage_for("write", location),
            location.bucket,
            location.key,
            roots,
            seen_as=f"/opt/ml/{artifact.directory}",
            kms_key_id=self._task.output_kms_key_id,
            on_skip=lambda path, reason: self._log.warning(
                "left out", artifact=artifact.name, path=path, reason=reason
            ),
            cancelled=self._cancelled.is_set,
        )
        self._log.info("uploaded", artifact=artifact.name, members=members, uri=str(location))
        return f"{self._task.s3_output_prefix}/{artifact.key}"

    def _all_hosts(self) -> list[InstanceFiles]:
        """Each host's files, in the order of the hosts; our own are where we are, whatever the name."""
        task = self._task
        return [
            self._files
            if host == task.host
            else InstanceFiles(self._files.root.parent / instance_name(task.training_job_name, task.attempt, host))
            for host in task.hosts
        ]


def plain_directory(opt_ml: Path, relative: Path) -> Path | None:
    """That directory below /opt/ml if it is one, and no part of its way a link that job code has put there."""
    path = opt_ml
    for part in relative.parts:
        path = path / part
        try:
            if not stat.S_ISDIR(path.lstat().st_mode):
                return None
        except OSError:
            return None
    return path
