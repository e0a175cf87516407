"""Rules of CreateTrainingJob that go across members: the model's own constraints have been checked before.

Called by `training_jobs`; pure. Source: the cross-field rules of SageMaker's documentation; texts are inferred unless a
comment says otherwise.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

from clary.aws.errors import AwsError, ResourceLimitExceeded, ValidationException
from clary.compute.port import Capabilities
from clary.jobs.instance_types import instance_type
from clary.jobs.model import TrainingJobRequest
from clary.logs.metric_definitions import validate
from clary.service.channel_rules import check_channel, check_fifo_names
from clary.service.debugger_rules import check_debug_hook, check_profiler
from clary.service.instance_groups import check_groups
from clary.storage.session_policy import Grant, UngrantableName, pack
from clary.storage.uri import InvalidS3Uri, parse_s3_uri

_VOLUME = "resourceConfig.volumeSizeInGB"
MAX_RUNTIME_S = 2_419_200
"""28 days. Source: API model, StoppingCondition, in words; what an account may by default (5 days) is a quota, and not ours."""

_NEEDED = (
    ("algorithmSpecification", ("AlgorithmSpecification",)),
    ("resourceConfig", ("ResourceConfig",)),
    ("resourceConfig.instanceType", ("ResourceConfig", "InstanceType")),
    ("resourceConfig.instanceCount", ("ResourceConfig", "InstanceCount")),
    (_VOLUME, ("ResourceConfig", "VolumeSizeInGB")),
)
_UNLESS_GROUPS = frozenset({"resourceConfig.instanceType", "resourceConfig.instanceCount"})


def check_needed(params: dict[str, Any]) -> None:
    """What the model calls optional and an ordinary job cannot do without (serverless jobs, which Clary lacks, can)."""
    missing = []
    resources = params.get("ResourceConfig") or {}
    grouped = bool(resources.get("InstanceGroups"))
    needs_volume = _needs_volume(resources)
    spared = (_UNLESS_GROUPS if grouped else frozenset()) | (frozenset() if needs_volume else {_VOLUME})
    for where, path in _NEEDED:
        value: Any = params
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None and where not in spared:
            missing.append(where)
    outermost = [where for where in missing if not any(where.startswith(other + ".") for other in missing)]
    if outermost:
        items = "; ".join(
            f"Value null at '{where}' failed to satisfy constraint: Member must not be null" for where in outermost
        )
        raise ValidationException(
            f"{len(outermost)} validation error{'s' if len(outermost) > 1 else ''} detected: {items}"
        )
    named = {"TrainingImage", "AlgorithmName"} & params["AlgorithmSpecification"].keys()
    # Both refusals are inferred: SageMaker's documentation says only that such a job "might break".
    if len(named) == 2:
        raise ValidationException("AlgorithmSpecification must not name both a TrainingImage and an AlgorithmName.")
    if not any(params["AlgorithmSpecification"][name] for name in named):
        raise ValidationException("AlgorithmSpecification must name a TrainingImage or an AlgorithmName.")
    for name in (*(() if grouped else ("InstanceCount",)), *(("VolumeSizeInGB",) if needs_volume else ())):
        if resources[name] < 1:
            raise ValidationException(
                f"1 validation error detected: Value '{resources[name]}' at 'resourceConfig.{name[0].lower()}{name[1:]}' "
                "failed to satisfy constraint: Member must have value greater than or equal to 1"
            )
    condition = params.get("StoppingCondition") or {}
    runtime_s = condition.get("MaxRuntimeInSeconds")
    if runtime_s is not None and runtime_s > MAX_RUNTIME_S:
        raise ValidationException(
            f"1 validation error detected: Value '{runtime_s}' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy "
            f"constraint: Member must have value less than or equal to {MAX_RUNTIME_S}"
        )
    if condition.get("MaxWaitTimeInSeconds") and not params.get("EnableManagedSpotTraining"):
        # observed text, without a full stop
        raise ValidationException(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )


def _needs_volume(resources: dict[str, Any]) -> bool:
    """Whether an instance has no disk but the volume: a type with an instance store uses that, and no volume.

    Source: API model, ResourceConfig.VolumeSizeInGB. A type that is not known here is taken to need one (inferred).
    """
    groups = resources.get("InstanceGroups") or (resources,)
    found = [instance_type(group.get("InstanceType") or "") for group in groups]
    return not all(each is not None and each.local_storage for each in found)


def check_request(request: TrainingJobRequest, capabilities: Capabilities) -> None:
    """Everything about the typed request that needs no look at the world."""
    names = [channel.channel_name for channel in request.input_data_config]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValidationException(f"Channel names must be unique within a training job: {', '.join(twice)}.")
    for name in names:
        if name in {".", ".."}:  # the model's pattern lets them through; a channel is a directory of that name
            raise ValidationException(f"'{name}' cannot be the name of a channel.")
    for channel in request.input_data_config:
        check_channel(channel, channel.input_mode or request.algorithm_specification.training_input_mode)
        if channel.s3 is not None:
            _check_uri(channel.s3.s3_uri, "read")
    check_fifo_names(request.input_data_config, request.algorithm_specification.training_input_mode)
    check_groups(request)
    _check_uri(request.output_data_config.s3_output_path, "write")
    if request.checkpoint_config is not None:
        _check_uri(request.checkpoint_config.s3_uri, "sync")
    check_profiler(request.recorded.get("ProfilerConfig", {}))
    check_debug_hook(request.recorded.get("DebugHookConfig", {}))
    for definition in request.algorithm_specification.metric_definitions:
        problem = _problem_of(definition.regex)
        if problem is not None:
            raise ValidationException(f"Invalid regular expression in metric definition '{definition.name}': {problem}")
    _check_program(request)
    _check_capabilities(request, capabilities)


def check_kms_key(kms_key_id: str | None, find_key: Callable[[str | None], object]) -> None:
    """A key that cannot encrypt now must not wait for the artifacts to find out. Raises `ValidationException`, in KMS's own
    words (that they are passed on is inferred).
    """
    if kms_key_id:
        try:
            find_key(kms_key_id)
        except AwsError as error:
            raise ValidationException(f"Invalid KmsKeyId '{kms_key_id}': {error.message}") from None


def _check_program(request: TrainingJobRequest) -> None:
    """The model lets NUL through, which ends a text for the system: no program could be started with it."""
    algorithm = request.algorithm_specification
    texts = {
        "environment": (*request.environment, *request.environment.values()),
        "algorithmSpecification.containerEntrypoint": algorithm.container_entrypoint,
        "algorithmSpecification.containerArguments": algorithm.container_arguments,
    }
    for where, found in texts.items():
        if any("\0" in text for text in found):
            raise ValidationException(f"'{where}' must not hold a NUL character.")


@lru_cache(maxsize=4096)
def _problem_of(regex: str) -> str | None:
    """What is wrong with a regular expression. Remembered: images bring dozens of them to every job."""
    return validate(regex)


@lru_cache(maxsize=4096)
def _check_uri(uri: str, access: Literal["read", "write", "sync"]) -> None:
    """A URI that cannot be read, or for which no limited credentials can be given, must not wait for its job to fail."""
    try:
        where = parse_s3_uri(uri)
        where = where.child("") if access == "sync" else where
        pack((Grant(access=access, bucket=where.bucket, prefix=where.key),))
    except InvalidS3Uri as error:
        raise ValidationException(f"Invalid S3 URI: {error}.") from None
    except UngrantableName as error:
        raise ValidationException(f"Unsupported S3 URI '{uri}': {error}.") from None


def _check_capabilities(request: TrainingJobRequest, capabilities: Capabilities) -> None:
    count = request.resource_config.all_instances_count
    if capabilities.problem is not None:
        raise ValidationException(f"No training program can run on this machine. {capabilities.problem}")
    if count > capabilities.instance_count_max:
        types = {group.instance_type for group in request.resource_config.groups}
        # Both names are those of SageMaker's quotas; the second in a refusal is inferred.
        limit = (
            f"{types.pop()} for training job usage"
            if len(types) == 1
            else "Number of instances across all training jobs"
        )
        # observed text, newer ending
        raise ResourceLimitExceeded(
            f"The account-level service limit '{limit}' is "
            f"{capabilities.instance_count_max} Instances, with current utilization of 0 Instances and a request delta of "
            f"{count} Instances. Raise the setting `instances` of Clary to allow more."
        )
    if request.enable_network_isolation and count > capabilities.isolated_instance_count_max:
        raise ValidationException(
            "EnableNetworkIsolation with more than one instance needs containers: the hosts of a job whose programs are "
            "processes of this machine talk over its loopback."
        )
    if request.enable_inter_container_traffic_encryption and count > 1:
        raise ValidationException(
            "EnableInterContainerTrafficEncryption with more than one instance is not supported: the hosts of a job are on "
            "one machine, and what they say to each other is not encrypted there."
        )
