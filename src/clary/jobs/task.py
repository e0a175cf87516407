"""The contract between controller and instance: what one ML instance must do, and what it reports.

The controller writes an `InstanceTask` and, later, `Wishes`; the instance program answers with `Snapshot`s. All three
are plain JSON, so that they cross a file here and a network elsewhere. A snapshot is the whole state with a rising
sequence number: the newest wins, and the same one twice changes nothing.
"""

from enum import StrEnum

import msgspec

from clary.base.clock import Instant
from clary.jobs.failure import JobFailure
from clary.jobs.model import (
    HOMOGENEOUS_CLUSTER,
    Channel,
    CheckpointConfig,
    MetricData,
    MetricDefinition,
    Program,
    S3DataSource,
)


class HostGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one instance group of a job, in the order of the job's hosts."""

    instance_group_name: str
    instance_type: str
    hosts: tuple[str, ...]


class InstanceTask(msgspec.Struct, frozen=True, kw_only=True):
    """What one ML instance must do for one attempt of one job.

    `hosts` are all hosts of the job, algo-1 first; `instance_groups` say which of them belong together (empty in tasks of
    earlier versions: all do); `instance_type` is this host's, `channels` are those that it gets. `s3_output_prefix` is
    "s3://bucket/prefix/job-name/output" without a slash at its end, `output_compression_type` is GZIP or NONE, and
    `output_kms_key_id` the key that artifacts are encrypted with, None for the bucket's own way;
    `max_runtime_s` counts from the moment at which the instance was ready, in seconds; `container_engine` is the URL of the
    engine's API, for a program that is an image.
    `file_systems` are the host directories that stand for the file systems of its channels, by FileSystemId.
    `input_cache` is the directory in which objects of its channels are kept for other jobs, within `input_cache_bytes` bytes;
    "": they are not.
    `verify_multipart_etags`: objects that were uploaded in parts without a CRC-32 are held against their ETags.
    `fast_file`: how its channels of the input mode FastFile come: "mount", or "download" before the program starts.
    `limited`: the program may use no more than the instance type has; `volume_size_in_gb`: the size of a disk of its own in
    GiB, None if it shares this machine's.
    """

    instance_name: str
    training_job_name: str
    training_job_arn: str
    region: str
    attempt: int
    host: str
    hosts: tuple[str, ...]
    instance_type: str
    program: Program
    container_entrypoint: tuple[str, ...]
    container_arguments: tuple[str, ...]
    training_input_mode: str
    channels: tuple[Channel, ...]
    hyper_parameters: dict[str, str]
    environment: dict[str, str]
    metric_definitions: tuple[MetricDefinition, ...]
    s3_output_prefix: str
    max_runtime_s: int
    enable_network_isolation: bool
    s3_endpoint_url: str
    output_compression_type: str = "GZIP"
    output_kms_key_id: str | None = None
    enable_sage_maker_metrics_time_series: bool = False
    log_group: str = "/aws/sagemaker/TrainingJobs"
    container_engine: str = ""
    limited: bool = True
    volume_size_in_gb: int | None = None
    instance_groups: tuple[HostGroup, ...] = ()
    checkpoint_config: CheckpointConfig | None = None
    file_systems: dict[str, str] = {}
    input_cache: str = ""
    input_cache_bytes: int = 0
    verify_multipart_etags: bool = False
    fast_file: str = "mount"

    @property
    def is_leader(self) -> bool:
        """Whether this host uploads what all hosts made."""
        return self.host == self.hosts[0]

    @property
    def groups(self) -> tuple[HostGroup, ...]:
        """All hosts in their instance groups."""
        return self.instance_groups or (
            HostGroup(instance_group_name=HOMOGENEOUS_CLUSTER, instance_type=self.instance_type, hosts=self.hosts),
        )

    @property
    def group(self) -> HostGroup:
        """This host's instance group."""
        return next(group for group in self.groups if self.host in group.hosts)

    def hosts_with(self, source: S3DataSource) -> tuple[str, ...]:
        """The hosts that get a channel with this source, in the order of the job's hosts."""
        groups = [group for group in self.groups if source.is_for(group.instance_group_name)]
        return tuple(host for host in self.hosts if any(host in group.hosts for group in groups))


def instance_name(training_job_name: str, attempt: int, host: str) -> str:
    """The name of an ML instance: known before it exists, so that launching twice finds the first."""
    return f"{training_job_name}-a{attempt}-{host}"


class StorageGrant(msgspec.Struct, frozen=True, kw_only=True):
    """Temporary credentials and what they open: keys that begin with `prefix`, to be read or to be written; with `exact`
    the one key that it is.
    """

    access: str
    bucket: str
    prefix: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: Instant
    exact: bool = False


class StopReason(StrEnum):
    """Why an instance was told to end its program before its time."""

    STOP_TRAINING_JOB = "StopTrainingJob"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    PEER_ENDED = "PeerEnded"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller wants of a running instance; wishes are only ever added.

    `stop`: end the program (SIGTERM, 120 seconds, SIGKILL), whatever it is doing. `start`: every host has its data, the
    programs may start. `upload`: every host's program has ended, the leader may upload. A job of one host needs neither
    of these two words.
    """

    stop: StopReason | None = None
    start: bool = False
    upload: bool = False

    def and_also(self, more: "Wishes") -> "Wishes":
        """These and those. The first reason to stop stays."""
        return Wishes(stop=self.stop or more.stop, start=self.start or more.start, upload=self.upload or more.upload)


class Phase(StrEnum):
    """What an instance is doing."""

    PREPARING = "preparing"
    DOWNLOADING = "downloading"
    TRAINING = "training"
    ENDED = "ended"
    UPLOADING = "uploading"
    FINISHED = "finished"


class ProgramEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How the training program ended: its exit code (128 + n for signal n) and the text of its failure file.

    `exit_code` is None if the program never started: it was stopped before, or its instance failed. `out_of_memory`: it was
    killed, or a process of it, for want of memory within the instance's limit.
    """

    exit_code: int | None
    failure_text: str = ""
    out_of_memory: bool = False


class ChannelProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the download of a channel (or of the checkpoints) is. `bytes_per_s` is None while it is too early to say."""

    channel_name: str
    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int
    bytes_per_s: float | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state of an instance. Each `…_at` is set once, in this order, when that moment has passed.

    ready_at: /opt/ml stands, staging begins. standing_by_at: all its data are there, it awaits the other hosts' (of jobs
    of several hosts). staged_at: all data are there, the program starts. ended_at: the program has ended, or never will
    start. finished_at: artifacts are in S3 (or there was nothing to upload for this host); nothing more will happen.
    `stopping_at`/`stop_reason`: when and why the program was told to end early.
    `downloading` is there while a channel comes in; `message` says the same in words.
    `image` names exactly the training image that was pulled, "repository@sha256:…" or an id, as soon as it is there.
    `failure` is trouble of the instance, not a bad exit code. `lost`: the program vanished without an exit code, such
    as after a reboot.
    """

    sequence: int
    phase: Phase
    message: str | None = None
    ready_at: Instant | None = None
    image: str | None = None
    standing_by_at: Instant | None = None
    staged_at: Instant | None = None
    stopping_at: Instant | None = None
    stop_reason: StopReason | None = None
    ended_at: Instant | None = None
    finished_at: Instant | None = None
    program_end: ProgramEnd | None = None
    failure: JobFailure | None = None
    lost: bool = False
    s3_model_artifacts: str | None = None
    metrics: tuple[MetricData, ...] = ()
    log_stream: str | None = None
    downloading: ChannelProgress | None = None
