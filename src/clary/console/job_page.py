"""A training job: where it stands, and all that was asked for. And the two things that can be done to it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from clary.aws.errors import ResourceInUse
from clary.base.clock import Instant
from clary.console import paths
from clary.console.contexts import (
    Channel,
    Checkpoint,
    Download,
    FinalMetric,
    InstanceGroup,
    JobAlgorithm,
    JobDeletePage,
    JobPage,
    MetricDefinition,
    Output,
    Pair,
    RecordedMember,
    Stay,
)
from clary.console.job_head import POLL_S, job_frame, job_head
from clary.console.steps import steps
from clary.console.visit import Visit, instant, span_s
from clary.service.training_job_execution import HostDownload, TrainingJobExecution


async def job_page(visit: Visit, name: str) -> JobPage:
    """The page."""
    described = await visit.describe_job(name)
    execution, tags = await asyncio.gather(visit.execution(name), _tags(visit, described["TrainingJobArn"]))
    head = job_head(described, "Details")
    history = _history(described, visit.now)
    ended = _time(described, "TrainingEndTime")
    resources, output = described["ResourceConfig"], described["OutputDataConfig"]
    checkpoint = described.get("CheckpointConfig")
    return JobPage(
        page=job_frame(visit, name, ""),
        head=head,
        live_path=paths.with_query(head.path, part="live"),
        poll_s=POLL_S if head.is_under_way else None,
        duration_s=span_s(head.creation_time, ended or visit.now),
        training_start_time=_time(described, "TrainingStartTime"),
        training_end_time=ended,
        training_time_s=described.get("TrainingTimeInSeconds"),
        failure_reason=described.get("FailureReason"),
        steps=steps(history),
        history=history,
        downloads=tuple(_download(each) for each in execution.downloads),
        final_metrics=tuple(
            FinalMetric(name=metric["MetricName"], value=metric["Value"], timestamp=instant(metric["Timestamp"]))
            for metric in described.get("FinalMetricDataList", ())
        ),
        role_arn=described["RoleArn"],
        algorithm=_algorithm(described["AlgorithmSpecification"], execution),
        hyper_parameters=_pairs(described.get("HyperParameters", {})),
        channels=tuple(_channel(channel, described) for channel in described.get("InputDataConfig", ())),
        instance_groups=_instance_groups(resources),
        volume_size_in_gb=resources["VolumeSizeInGB"] or None,
        max_runtime_s=described["StoppingCondition"]["MaxRuntimeInSeconds"],
        maximum_retry_attempts=described.get("RetryStrategy", {}).get("MaximumRetryAttempts"),
        enable_network_isolation=described["EnableNetworkIsolation"],
        enable_inter_container_traffic_encryption=described["EnableInterContainerTrafficEncryption"],
        checkpoint=None
        if checkpoint is None
        else Checkpoint(s3_uri=checkpoint["S3Uri"], local_path=checkpoint["LocalPath"]),
        output=Output(
            s3_output_path=output["S3OutputPath"],
            compression_type=output["CompressionType"],
            kms_key_id=output["KmsKeyId"] or None,
            s3_model_artifacts=described.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        ),
        environment=_pairs(described.get("Environment", {})),
        tags=tags,
        recorded_members=tuple(RecordedMember(member=each.path, why=each.why) for each in execution.recorded),
        raw=described,
    )


async def job_delete_page(visit: Visit, name: str) -> JobDeletePage:
    """The page that asks first. Raises `ResourceInUse` for a job that is under way."""
    head = job_head(await visit.describe_job(name), "")
    if head.delete_path is None:
        raise ResourceInUse(f"The training job {name} is under way. It can be deleted when it has ended.")
    return JobDeletePage(
        page=job_frame(visit, name, "Delete", has_twin=False),
        head=head,
        delete_path=head.delete_path,
        cancel_path=head.path,
    )


async def stop_job(visit: Visit, name: str) -> str:
    """Stop it; answers with the page to go on. Raises `AwsError` if it has ended."""
    await visit.ask("sagemaker", "StopTrainingJob", {"TrainingJobName": name})
    return paths.job(name)


async def delete_job(visit: Visit, name: str) -> str:
    """Delete it; answers with the page to go on. Raises `AwsError` if it is under way."""
    await visit.ask("sagemaker", "DeleteTrainingJob", {"TrainingJobName": name})
    return paths.with_query(paths.JOBS, deleted=name)


async def _tags(visit: Visit, arn: str) -> tuple[Pair, ...]:
    answer = await visit.ask("sagemaker", "ListTags", {"ResourceArn": arn})
    return tuple(Pair(name=tag["Key"], value=tag["Value"]) for tag in answer["Tags"])


def _history(described: dict[str, Any], now: Instant) -> tuple[Stay, ...]:
    stays = []
    for transition in described["SecondaryStatusTransitions"]:
        start, end = instant(transition["StartTime"]), _time(transition, "EndTime")
        stays.append(
            Stay(
                status=transition["Status"],
                start_time=start,
                end_time=end,
                duration_s=span_s(start, end or now),
                message=transition["StatusMessage"],
            )
        )
    return tuple(stays)


def _download(download: HostDownload) -> Download:
    progress = download.progress
    total, rate = progress.bytes_total, progress.bytes_per_s
    done = min(progress.bytes_done, total)
    return Download(
        host=download.host,
        channel_name=progress.channel_name,
        objects_done=progress.objects_done,
        objects_total=progress.objects_total,
        bytes_done=done,
        bytes_total=total,
        percent=100 * done / total if total else 100.0,
        bytes_per_second=rate,
        remaining_s=(total - done) / rate if rate else None,
    )


def _algorithm(specification: dict[str, Any], execution: TrainingJobExecution) -> JobAlgorithm:
    image, algorithm = specification.get("TrainingImage"), specification.get("AlgorithmName")
    reference = execution.reference
    return JobAlgorithm(
        training_image=image,
        algorithm_name=algorithm,
        algorithm_path=None if algorithm is None else paths.algorithm(algorithm),
        runs="local environment" if reference is None else "container",
        image_reference=None if reference == image else reference,
        image_digest=execution.image_digest,
        training_input_mode=specification["TrainingInputMode"],
        container_entrypoint=tuple(specification.get("ContainerEntrypoint", ())),
        container_arguments=tuple(specification.get("ContainerArguments", ())),
        repository_access_mode=specification.get("TrainingImageConfig", {}).get("TrainingRepositoryAccessMode"),
        metric_definitions=tuple(
            MetricDefinition(name=definition["Name"], regex=definition["Regex"])
            for definition in specification.get("MetricDefinitions", ())
        ),
    )


def _channel(channel: dict[str, Any], described: dict[str, Any]) -> Channel:
    s3: dict[str, Any] | None = channel["DataSource"].get("S3DataSource")
    files: dict[str, Any] = channel["DataSource"].get("FileSystemDataSource", {})
    objects = s3 or {}
    return Channel(
        name=channel["ChannelName"],
        source="FileSystem" if s3 is None else "S3",
        input_mode=channel.get("InputMode") or described["AlgorithmSpecification"]["TrainingInputMode"],
        s3_uri=objects.get("S3Uri"),
        s3_data_type=objects.get("S3DataType"),
        s3_distribution=objects.get("S3DataDistributionType"),
        attribute_names=tuple(objects.get("AttributeNames", ())),
        instance_group_names=tuple(objects.get("InstanceGroupNames", ())),
        file_system_id=files.get("FileSystemId"),
        file_system_type=files.get("FileSystemType"),
        file_system_directory=files.get("DirectoryPath"),
        file_system_access_mode=files.get("FileSystemAccessMode"),
        content_type=channel.get("ContentType"),
        compression_type=channel["CompressionType"],
        record_wrapper_type=channel["RecordWrapperType"],
        shuffle_seed=channel.get("ShuffleConfig", {}).get("Seed"),
    )


def _instance_groups(resources: dict[str, Any]) -> tuple[InstanceGroup, ...]:
    groups = resources.get("InstanceGroups") or (resources,)
    return tuple(
        InstanceGroup(
            name=group.get("InstanceGroupName"),
            instance_type=group["InstanceType"],
            instance_count=group["InstanceCount"],
        )
        for group in groups
    )


def _pairs(values: Mapping[str, str]) -> tuple[Pair, ...]:
    return tuple(Pair(name=name, value=value) for name, value in values.items())


def _time(members: Mapping[str, Any], name: str) -> Instant | None:
    return instant(members[name]) if name in members else None
