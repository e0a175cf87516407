"""Between the wire and the domain: a validated request becomes a `TrainingJobRequest`, a job becomes an answer.

Called by `training_jobs` alone. The structs of `clary.jobs.model` carry the API model's names, so nothing is spelt here
but what the service fills in. Source: API model; the defaults as SageMaker's descriptions show them.
"""

from typing import Any

import msgspec

from clary.base import typed
from clary.base.clock import Instant
from clary.jobs.model import DEFAULT_CHECKPOINT_PATH, MetricDefinition, TrainingJob, TrainingJobRequest
from clary.service.members import ECHOED
from clary.store.port import Summary


def to_request(params: dict[str, Any], *, image_metrics: tuple[MetricDefinition, ...]) -> TrainingJobRequest:
    """The typed request, without its tags. `image_metrics` are the image's own metric definitions; those of the caller come
    after them.
    """
    request = typed.convert(params, TrainingJobRequest)
    algorithm = request.algorithm_specification
    named = {definition.name for definition in algorithm.metric_definitions}
    own = tuple(definition for definition in image_metrics if definition.name not in named)
    return msgspec.structs.replace(
        request,
        algorithm_specification=msgspec.structs.replace(
            algorithm, metric_definitions=own + algorithm.metric_definitions
        ),
        recorded={name: params[name] for name in ECHOED if name in params},
    )


def to_description(job: TrainingJob) -> dict[str, Any]:
    """The answer of DescribeTrainingJob. What has no value is left out; clients index some members without asking."""
    answer: dict[str, Any] = msgspec.to_builtins(job.request)
    answer |= answer.pop("recorded", {})
    for channel in answer.get("InputDataConfig", ()):
        channel.setdefault("CompressionType", "None")
        channel.setdefault("RecordWrapperType", "None")
        if "S3DataSource" in channel["DataSource"]:
            channel["DataSource"]["S3DataSource"].setdefault("S3DataDistributionType", "FullyReplicated")
    if "InstanceGroups" in answer["ResourceConfig"]:
        answer["ResourceConfig"].setdefault("InstanceCount", 0)  # observed: clients add up the groups' own
    # Inferred, for a job that needed none: SDK v2's attach indexes it without asking.
    answer["ResourceConfig"].setdefault("VolumeSizeInGB", 0)
    answer["OutputDataConfig"].setdefault("KmsKeyId", "")
    answer["OutputDataConfig"].setdefault("CompressionType", "GZIP")
    if "CheckpointConfig" in answer:
        answer["CheckpointConfig"].setdefault("LocalPath", DEFAULT_CHECKPOINT_PATH)
    answer["AlgorithmSpecification"].setdefault("EnableSageMakerMetricsTimeSeries", False)
    answer["StoppingCondition"] = {
        "MaxRuntimeInSeconds": job.request.stopping_condition.max_runtime_in_seconds,
    }
    answer["EnableNetworkIsolation"] = job.request.enable_network_isolation
    answer["EnableInterContainerTrafficEncryption"] = job.request.enable_inter_container_traffic_encryption
    answer["EnableManagedSpotTraining"] = False
    answer |= {
        "TrainingJobArn": job.training_job_arn,
        "TrainingJobStatus": job.training_job_status,
        "SecondaryStatus": job.secondary_status,
        "CreationTime": seconds(job.creation_time),
        "LastModifiedTime": seconds(job.last_modified_time),
        "SecondaryStatusTransitions": [
            _without_none(
                {
                    "Status": transition.status,
                    "StartTime": seconds(transition.start_time),
                    "EndTime": None if transition.end_time is None else seconds(transition.end_time),
                    "StatusMessage": transition.status_message,
                }
            )
            for transition in job.secondary_status_transitions
        ],
    }
    if job.failure is not None:
        answer["FailureReason"] = job.failure.reason
    if job.s3_model_artifacts is not None:
        answer["ModelArtifacts"] = {"S3ModelArtifacts": job.s3_model_artifacts}
    if job.training_start_time is not None:
        answer["TrainingStartTime"] = seconds(job.training_start_time)
    if job.training_start_time is not None and job.training_end_time is not None:
        answer["TrainingEndTime"] = seconds(job.training_end_time)
        duration_s = max(1, round((job.training_end_time - job.training_start_time) / 1000))
        answer["TrainingTimeInSeconds"] = duration_s
        answer["BillableTimeInSeconds"] = duration_s
    if job.final_metric_data_list:
        answer["FinalMetricDataList"] = [
            {
                "MetricName": metric.metric_name,
                "Value": metric.value,
                "Timestamp": metric.timestamp // 1000,  # whole seconds, as observed
            }
            for metric in job.final_metric_data_list
        ]
    return answer


def to_summary(summary: Summary) -> dict[str, Any]:
    """One entry of ListTrainingJobs' TrainingJobSummaries."""
    return _without_none(
        {
            "TrainingJobName": summary.training_job_name,
            "TrainingJobArn": summary.training_job_arn,
            "CreationTime": seconds(summary.creation_time),
            "LastModifiedTime": seconds(summary.last_modified_time),
            "TrainingEndTime": None if summary.training_end_time is None else seconds(summary.training_end_time),
            "TrainingJobStatus": summary.training_job_status,
            "SecondaryStatus": summary.secondary_status,
        }
    )


def seconds(at: Instant) -> float:
    """A timestamp as the wire has it: seconds since the epoch, to the millisecond."""
    return at / 1000


def instant(timestamp: float | None) -> Instant | None:
    """A timestamp of a request, in seconds, as an instant."""
    return None if timestamp is None else Instant(round(timestamp * 1000))


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
