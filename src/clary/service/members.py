"""Every member of CreateTrainingJob, and what becomes of it: the promise that no field is accepted and ignored.

Each row says that a member *acts*, is *recorded* (shown again by Describe, without effect, and why), or is *refused* (and
why). A row speaks for all members below its path unless they have rows of their own. Refused members may be set to a
value that changes nothing: false, zero, empty, or one listed in `passes`.

`refuse_unsupported` is called by `training_jobs` after validation. A test walks the API model and fails on a member that
no row covers.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from clary.aws.errors import ValidationException


class Effect(StrEnum):
    """What becomes of a member."""

    ACTS = "acts"
    RECORDED = "recorded"
    REFUSED = "refused"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member by its path ("InputDataConfig[].ChannelName"), what becomes of it, and a sentence why."""

    path: str
    effect: Effect
    why: str
    passes: tuple[object, ...] = ()


def _acts(path: str, why: str) -> Member:
    return Member(path=path, effect=Effect.ACTS, why=why)


def _recorded(path: str, why: str) -> Member:
    return Member(path=path, effect=Effect.RECORDED, why=why)


def _refused(path: str, why: str, passes: tuple[object, ...] = ()) -> Member:
    return Member(path=path, effect=Effect.REFUSED, why=why, passes=passes)


_ALGORITHM = "AlgorithmSpecification"
_CHANNEL = "InputDataConfig[]"
_S3 = "InputDataConfig[].DataSource.S3DataSource"
_RESOURCES = "ResourceConfig"

MEMBERS: tuple[Member, ...] = (
    _acts("TrainingJobName", "Names the job, its log streams and its artifacts."),
    _acts("HyperParameters", "Written to hyperparameters.json as they came."),
    _acts(f"{_ALGORITHM}.TrainingImage", "Resolved by the image catalogue: a local environment or a container."),
    _acts(
        f"{_ALGORITHM}.AlgorithmName",
        "The algorithm, by name or ARN, gives image, metrics and default hyperparameters, and refuses what it does not take.",
    ),
    _acts(
        f"{_ALGORITHM}.TrainingInputMode",
        "File: downloaded before the start; Pipe: fed while the program reads; FastFile: mounted, read from S3 as files are.",
    ),
    _acts(
        f"{_ALGORITHM}.MetricDefinitions", "Searched in each log line; the last values stand in FinalMetricDataList."
    ),
    _acts(
        f"{_ALGORITHM}.EnableSageMakerMetricsTimeSeries",
        "Sets SAGEMAKER_METRICS_DIRECTORY for the program. Time series of MetricDefinitions are kept in any case.",
    ),
    _acts(f"{_ALGORITHM}.ContainerEntrypoint", "Replaces the image's entrypoint."),
    _acts(f"{_ALGORITHM}.ContainerArguments", "Replace the argument `train`."),
    _acts(
        f"{_ALGORITHM}.TrainingImageConfig.TrainingRepositoryAccessMode",
        "Platform and Vpc alike: the container engine pulls the image from the registry of its name. Vpc needs no VpcConfig.",
    ),
    _acts(
        f"{_ALGORITHM}.TrainingImageConfig.TrainingRepositoryAuthConfig",
        "The image catalogue names the credential helper that stands for the Lambda function; another ARN is refused.",
    ),
    _recorded(
        "RoleArn", "Roles are not checked and give no credentials yet; the job's own S3 access is limited anyway."
    ),
    _acts(f"{_CHANNEL}.ChannelName", "Names the directory under /opt/ml/input/data."),
    _refused(
        f"{_S3}.S3DataType",
        "only S3Prefix, ManifestFile and (in the input mode Pipe) AugmentedManifestFile are there",
        ("S3Prefix", "ManifestFile", "AugmentedManifestFile"),
    ),
    _acts(
        f"{_S3}.S3Uri",
        "All objects whose keys begin with it are the channel's, or those that the manifest at it names.",
    ),
    _acts(f"{_S3}.S3DataDistributionType", "FullyReplicated: every host has all objects; ShardedByS3Key: its share."),
    _acts(f"{_S3}.AttributeNames", "Of each line of an augmented manifest these are sent, in this order."),
    _acts(f"{_S3}.InstanceGroupNames", "Only hosts of these instance groups get the channel."),
    _refused(f"{_S3}.ModelAccessConfig", "there is no model hub here"),
    _refused(f"{_S3}.HubAccessConfig", "there is no model hub here"),
    _acts(
        f"{_CHANNEL}.DataSource.FileSystemDataSource",
        "The directory of this machine that the setting `file_systems` names is mounted, ro or rw. Needs no VpcConfig.",
    ),
    _refused(f"{_CHANNEL}.DataSource.DatasetSource", "there are no dataset resources here; use an S3DataSource"),
    _acts(f"{_CHANNEL}.ContentType", "Written to inputdataconfig.json."),
    _acts(f"{_CHANNEL}.CompressionType", "Gzip: objects are unpacked before they are sent; in the input mode Pipe."),
    _acts(f"{_CHANNEL}.RecordWrapperType", "RecordIO: each object is sent as a record; in the input mode Pipe."),
    _acts(f"{_CHANNEL}.InputMode", "Wins over TrainingInputMode for this channel."),
    _acts(
        f"{_CHANNEL}.ShuffleConfig",
        "In the input mode Pipe each epoch has an order of its own; in File mode there is no visible effect.",
    ),
    _acts("OutputDataConfig.S3OutputPath", "Artifacts go to S3OutputPath/TrainingJobName/output/."),
    _acts(
        "OutputDataConfig.KmsKeyId",
        "Artifacts are encrypted under that key (SSE-KMS): by its id, its ARN, an alias or the alias's ARN. A key that is unknown or "
        "cannot be used is refused at create.",
    ),
    _acts(
        "OutputDataConfig.CompressionType",
        "GZIP: one tar.gz each; NONE: an object for every file, below output/model/.",
    ),
    _acts(
        f"{_RESOURCES}.InstanceType",
        "Told to the program in resourceconfig.json. A container gets no more processors, memory and GPUs than the type has.",
    ),
    _acts(f"{_RESOURCES}.InstanceCount", "So many hosts, algo-1 and on, each a program of its own."),
    _acts(
        f"{_RESOURCES}.VolumeSizeInGB",
        "The size in GiB of what /opt/ml and /tmp share, where the machine can (setting `volumes`) and the type has no instance store. "
        "Types that have one may omit it.",
    ),
    _refused(f"{_RESOURCES}.VolumeKmsKeyId", "the disk would not be encrypted"),
    _refused(f"{_RESOURCES}.KeepAlivePeriodInSeconds", "warm pools are not there yet"),
    _acts(
        f"{_RESOURCES}.InstanceGroups",
        "In place of InstanceType and InstanceCount. Hosts are numbered through all groups, in the order of the request.",
    ),
    _refused(f"{_RESOURCES}.TrainingPlanArn", "there are no training plans here"),
    _refused(f"{_RESOURCES}.InstancePlacementConfig", "there are no UltraServers here"),
    _refused(f"{_RESOURCES}.InstancePreferences", "name one InstanceType; preferences are not weighed here"),
    _refused(f"{_RESOURCES}.SelectedInstanceType", "it is an answer of the service, not a request"),
    _refused(f"{_RESOURCES}.SelectedInstanceCount", "it is an answer of the service, not a request"),
    _refused("VpcConfig", "jobs are not attached to networks of their own yet"),
    _acts(
        "StoppingCondition.MaxRuntimeInSeconds",
        "Seconds from TrainingStartTime; then SIGTERM, 120 s, SIGKILL. At most 28 days.",
    ),
    _refused("StoppingCondition.MaxWaitTimeInSeconds", "it belongs to spot training, which is not there yet"),
    _refused("StoppingCondition.MaxPendingTimeInSeconds", "it belongs to training plans, which are not there"),
    _acts("Tags", "Kept on the job; AddTags, ListTags and DeleteTags show and change them."),
    _acts(
        "EnableNetworkIsolation",
        "A process has no network but its own loopback, and is refused for several instances; a container reaches the job's "
        "other containers alone.",
    ),
    _acts(
        "EnableInterContainerTrafficEncryption",
        "Has no effect on a job of one instance, as on SageMaker. Refused for several, which talk in the clear: containers over "
        "the job's private bridge network, processes over the machine's loopback.",
    ),
    _refused("EnableManagedSpotTraining", "there is no spot capacity here yet"),
    _acts(
        "CheckpointConfig.S3Uri",
        "What lies below it is restored on every host; files that are new, changed or deleted follow while the program runs.",
    ),
    _acts("CheckpointConfig.LocalPath", "The directory as the program sees it; /opt/ml/checkpoints if not given."),
    _recorded(
        "DebugHookConfig",
        "There is no debugger; SDK v2 sends this with every job. A LocalPath must not be a place of the platform's.",
    ),
    _refused("DebugRuleConfigurations", "there is no debugger to evaluate rules"),
    _refused("TensorBoardOutputConfig", "TensorBoard output is not synchronised yet"),
    _refused("ExperimentConfig", "there are no experiments here"),
    _recorded(
        "ProfilerConfig",
        "There is no profiler; SDK v2 sends this with every job. The interval must be one that SageMaker has.",
    ),
    _refused("ProfilerRuleConfigurations", "there is no profiler to evaluate rules"),
    _acts("Environment", "Set in the program's environment; the platform's own variables win."),
    _acts("RetryStrategy", "The job starts again, so many times, after an InternalServerError."),
    _refused("RemoteDebugConfig.EnableRemoteDebug", "there is no remote debugging"),
    _refused("InfraCheckConfig.EnableInfraCheck", "there are no health checks of hardware"),
    _refused("SessionChainingConfig.EnableSessionTagChaining", "roles are not assumed yet"),
    _refused("ServerlessJobConfig", "serverless customisation of models is not offered"),
    _refused("MlflowConfig", "there is no MLflow here; log to your own from the training program"),
    _refused("ModelPackageConfig", "there is no model registry here"),
)

ECHOED: tuple[str, ...] = (
    "DebugHookConfig",
    "ProfilerConfig",
    "RemoteDebugConfig",
    "InfraCheckConfig",
)
"""Top-level members that Describe shows again just as they came: recorded ones, and refused ones set to nothing."""


Rows = Mapping[str, "Member | Rows"]
"""Rows of one effect, as the tree of the request that they are about: only what a request has is looked at."""


def refused_rows(members: Sequence[Member]) -> Rows:
    """The rows of a table that refuse."""
    return _rows(members, Effect.REFUSED)


def _rows(members: Sequence[Member], effect: Effect) -> Rows:
    tree: dict[str, Any] = {}
    for member in members:
        if member.effect is effect:
            *above, name = (part.removesuffix("[]") for part in member.path.split("."))
            node = tree
            for part in above:
                node = node.setdefault(part, {})
            node[name] = member
    return tree


_REFUSED = refused_rows(MEMBERS)
_RECORDED = _rows(MEMBERS, Effect.RECORDED)


def recorded_members(description: dict[str, Any]) -> tuple[Member, ...]:
    """The members that a job has, by its description, and that are recorded without acting."""
    return tuple(dict.fromkeys(member for _, member in _set_members(description, _RECORDED, "")))


def refuse_unsupported(params: dict[str, Any], rows: Rows = _REFUSED) -> None:
    """Raise one `ValidationException` that names every member which is set to something that Clary would ignore.

    `params` obey the API model. `rows` are those of another operation than CreateTrainingJob.
    """
    refused = [f"'{where}' is not supported: {member.why}" for where, member in _set_members(params, rows, "")]
    if refused:
        raise ValidationException("; ".join(refused) + ".")


def _set_members(params: dict[str, Any], rows: Rows, above: str) -> Iterator[tuple[str, Member]]:
    """The members that are set, each with its place in AWS's notation ("inputDataConfig.1.member.inputMode")."""
    for name in [name for name in params if name in rows]:
        row, value = rows[name], params[name]
        if not value:
            continue
        where = above + name[0].lower() + name[1:]
        if isinstance(row, Member):
            if value not in row.passes:
                yield where, row
        elif isinstance(value, list):
            for n, item in enumerate(value, start=1):
                yield from _set_members(item, row, f"{where}.{n}.member.")
        else:
            yield from _set_members(value, row, f"{where}.")
