"""The training job and its parts, typed: what a caller asked for, and where the job stands.

Field names are the API model's members in snake case, and each struct encodes to the model's own spelling, so that
`msgspec` turns a validated request into a `TrainingJobRequest` and back without a hand-written name. Only members that
act, or are shown again as they came, stand here; what is refused never gets this far (see `clary.service.members`).

Times are instants in milliseconds. Source: API model, CreateTrainingJobRequest and DescribeTrainingJobResponse.
"""

from typing import Any

import msgspec

from clary.base.clock import Instant
from clary.jobs.failure import JobFailure
from clary.jobs.status import STATUS_OF, TERMINAL, SecondaryStatus, TrainingJobStatus

DEFAULT_MAX_RUNTIME_S = 86_400
DEFAULT_CHECKPOINT_PATH = "/opt/ml/checkpoints"
"""Without a slash at its end, as it was seen in checkpointconfig.json; the API model's text has one."""
HOMOGENEOUS_CLUSTER = "homogeneousCluster"
"""The name of the one instance group of a job that asked for none (observed in resourceconfig.json)."""


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """A shape of the API model."""


class MetricDefinition(_Shape, frozen=True, kw_only=True):
    """A metric to be read from the log: the first group of `regex`, searched in each line."""

    name: str
    regex: str


class TrainingRepositoryAuthConfig(_Shape, frozen=True, kw_only=True):
    """Who knows the login at a private registry: the image catalogue says which program stands for the Lambda function."""

    training_repository_credentials_provider_arn: str


class TrainingImageConfig(_Shape, frozen=True, kw_only=True):
    """How to come by an image of a private registry."""

    training_repository_access_mode: str
    training_repository_auth_config: TrainingRepositoryAuthConfig | None = None


class AlgorithmSpecification(_Shape, frozen=True, kw_only=True):
    """What runs, and how it is told to run: either `training_image` or `algorithm_name`, as the caller named it, is there.

    A job by an algorithm has the algorithm's metric definitions before its own.
    """

    training_input_mode: str
    training_image: str | None = None
    algorithm_name: str | None = None
    training_image_config: TrainingImageConfig | None = None
    metric_definitions: tuple[MetricDefinition, ...] = ()
    enable_sage_maker_metrics_time_series: bool = False
    container_entrypoint: tuple[str, ...] = ()
    container_arguments: tuple[str, ...] = ()


class S3DataSource(_Shape, frozen=True, kw_only=True):
    """Where a channel's objects are: all keys that begin with the key part of `s3_uri`, or those that a manifest names,
    which is then the object at `s3_uri`.

    Of an augmented manifest the attributes in `attribute_names` are sent. Only hosts of the instance groups in `instance_group_names` get them; of all groups, if none is named.
    """

    s3_data_type: str
    s3_uri: str
    s3_data_distribution_type: str | None = None
    attribute_names: tuple[str, ...] = ()
    instance_group_names: tuple[str, ...] = ()

    @property
    def is_manifest(self) -> bool:
        """Whether `s3_uri` is one object, which names the others."""
        return self.s3_data_type in {"ManifestFile", "AugmentedManifestFile"}

    def is_for(self, instance_group_name: str) -> bool:
        """Whether the hosts of that instance group get the data."""
        return not self.instance_group_names or instance_group_name in self.instance_group_names


class FileSystemDataSource(_Shape, frozen=True, kw_only=True):
    """A directory of a file system that is mounted as it is; `file_system_access_mode` is "ro" or "rw"."""

    file_system_id: str
    file_system_access_mode: str
    file_system_type: str
    directory_path: str


class DataSource(_Shape, frozen=True, kw_only=True):
    """Where a channel's data come from: one of these."""

    s3_data_source: S3DataSource | None = None
    file_system_data_source: FileSystemDataSource | None = None


class ShuffleConfig(_Shape, frozen=True, kw_only=True):
    """Seed of the shuffle; without visible effect in File mode, as on SageMaker."""

    seed: int


class Channel(_Shape, frozen=True, kw_only=True):
    """One named input of a job."""

    channel_name: str
    data_source: DataSource
    content_type: str | None = None
    compression_type: str | None = None
    record_wrapper_type: str | None = None
    input_mode: str | None = None
    shuffle_config: ShuffleConfig | None = None

    @property
    def s3(self) -> S3DataSource | None:
        """Where its objects are; None for one that has none."""
        return self.data_source.s3_data_source

    @property
    def file_system(self) -> FileSystemDataSource | None:
        """What is mounted for it; None for one of objects."""
        return self.data_source.file_system_data_source

    def is_for(self, instance_group_name: str) -> bool:
        """Whether the hosts of that instance group get it (inferred for file systems: all do)."""
        return self.s3 is None or self.s3.is_for(instance_group_name)


class OutputDataConfig(_Shape, frozen=True, kw_only=True):
    """Where artifacts go."""

    s3_output_path: str
    kms_key_id: str | None = None
    compression_type: str | None = None


class InstanceGroup(_Shape, frozen=True, kw_only=True):
    """Some ML instances of one type, by a name of their own within the job."""

    instance_type: str
    instance_count: int
    instance_group_name: str


class ResourceConfig(_Shape, frozen=True, kw_only=True):
    """The ML instances asked for: `instance_groups`, or else so many instances of one type.

    `volume_size_in_gb` may be missing where every type has an instance store.
    """

    instance_type: str | None = None
    instance_count: int | None = None
    instance_groups: tuple[InstanceGroup, ...] = ()
    volume_size_in_gb: int | None = msgspec.field(name="VolumeSizeInGB", default=None)
    keep_alive_period_in_seconds: int | None = None

    @property
    def groups(self) -> tuple[InstanceGroup, ...]:
        """The instances in either case as groups, in the order of the request."""
        return self.instance_groups or (
            InstanceGroup(
                instance_type=self.instance_type or "",
                instance_count=self.instance_count or 0,
                instance_group_name=HOMOGENEOUS_CLUSTER,
            ),
        )

    @property
    def all_instances_count(self) -> int:
        """How many instances the job has, over all groups."""
        return sum(group.instance_count for group in self.groups)


class CheckpointConfig(_Shape, frozen=True, kw_only=True):
    """The directory that is restored from the objects below `s3_uri`, and then kept there."""

    s3_uri: str
    local_path: str | None = None

    @property
    def directory(self) -> str:
        """The directory as the program sees it, in the words of the request."""
        return self.local_path or DEFAULT_CHECKPOINT_PATH


class StoppingCondition(_Shape, frozen=True, kw_only=True):
    """How long a job may run, in seconds from TrainingStartTime."""

    max_runtime_in_seconds: int = DEFAULT_MAX_RUNTIME_S


class RetryStrategy(_Shape, frozen=True, kw_only=True):
    """How often a job is started again after an InternalServerError."""

    maximum_retry_attempts: int


class Tag(_Shape, frozen=True, kw_only=True):
    """A key and a value on a job."""

    key: str
    value: str


class TrainingJobRequest(_Shape, frozen=True, kw_only=True):
    """What the caller of CreateTrainingJob asked for; channels are in the order of the request. Tags, which belong to the
    job and change later, stand on `TrainingJob`.

    `recorded` holds members that Describe shows again and that do not act, by their wire names.
    """

    training_job_name: str
    algorithm_specification: AlgorithmSpecification
    role_arn: str
    output_data_config: OutputDataConfig
    resource_config: ResourceConfig
    stopping_condition: StoppingCondition = StoppingCondition()
    input_data_config: tuple[Channel, ...] = ()
    hyper_parameters: dict[str, str] = {}
    environment: dict[str, str] = {}
    checkpoint_config: CheckpointConfig | None = None
    retry_strategy: RetryStrategy | None = None
    enable_network_isolation: bool = False
    enable_inter_container_traffic_encryption: bool = False
    recorded: dict[str, Any] = msgspec.field(name="recorded", default_factory=dict)


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What runs as the training image: a local environment that stands for it, or the image itself.

    `reference` is what a container engine is to run, after the catalogue's rewriting; None: a local environment stands for
    `image`, which is as the caller named it. `credential_helper` is the command that knows the login at the registry of
    `reference` (without one, Docker's own configuration does); it holds no secret. What follows is of the local
    environment only.

    `entrypoint` and `command` are the image's own, in Docker's sense; `read_only_paths` are host directories that the
    program sees at the same place; `environment` is the image's own, which the request's Environment overrides.
    """

    image: str
    reference: str | None = None
    credential_helper: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    search_path: tuple[str, ...] = ()
    read_only_paths: tuple[str, ...] = ()


class SecondaryStatusTransition(msgspec.Struct, frozen=True, kw_only=True):
    """One stay in a secondary status; `end_time` is None while it lasts. `reason` is ours: which event began it."""

    status: SecondaryStatus
    start_time: Instant
    status_message: str
    reason: str
    end_time: Instant | None = None


class MetricData(msgspec.Struct, frozen=True, kw_only=True):
    """The last value of a metric, and when it was logged."""

    metric_name: str
    value: float
    timestamp: Instant


class TrainingJob(msgspec.Struct, frozen=True, kw_only=True):
    """A training job: the request, what it resolved to, and where it stands. Changed by `transitions` only.

    `tags` have different keys, in the order in which these were added. `attempt` counts launches of its ML instances (0:
    none yet); `released` is true once nothing of the instances is left; `version` rises with each write. `image_digest` names
    exactly the image that was run ("repository@sha256:…", or an id for one of no registry); None for a local environment.
    """

    training_job_name: str
    training_job_arn: str
    request: TrainingJobRequest
    program: Program
    creation_time: Instant
    last_modified_time: Instant
    secondary_status_transitions: tuple[SecondaryStatusTransition, ...]
    training_start_time: Instant | None = None
    training_end_time: Instant | None = None
    failure: JobFailure | None = None
    s3_model_artifacts: str | None = None
    final_metric_data_list: tuple[MetricData, ...] = ()
    tags: tuple[Tag, ...] = ()
    attempt: int = 0
    released: bool = False
    image_digest: str | None = None
    version: int = 0

    @property
    def secondary_status(self) -> SecondaryStatus:
        """Where the job stands, in detail."""
        return self.secondary_status_transitions[-1].status

    @property
    def training_job_status(self) -> TrainingJobStatus:
        """Where the job stands, coarsely."""
        return STATUS_OF[self.secondary_status]

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self.secondary_status in TERMINAL

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of its hosts, algo-1 first; the first group's come first (inferred)."""
        return tuple(f"algo-{n}" for n in range(1, self.request.resource_config.all_instances_count + 1))
