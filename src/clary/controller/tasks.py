"""Makes, of a job, what each of its ML instances must do and may reach. Pure; called by `act`."""

from itertools import islice

import msgspec

from clary.base.clock import Instant
from clary.jobs.model import CheckpointConfig, OutputDataConfig, Program, S3DataSource, TrainingJob
from clary.jobs.policy import remaining_runtime_s
from clary.jobs.task import HostGroup, InstanceTask, instance_name
from clary.storage.session_policy import Grant
from clary.storage.uri import parse_s3_uri


def output_prefix(job: TrainingJob) -> str:
    """Where the artifacts go: "s3://bucket/prefix/job-name/output"; S3OutputPath may or may not end in a slash."""
    root = parse_s3_uri(job.request.output_data_config.s3_output_path)
    return str(root.child(job.training_job_name).child("output"))


def host_groups(job: TrainingJob) -> tuple[HostGroup, ...]:
    """The job's hosts, dealt out to its instance groups in their order (inferred)."""
    hosts = iter(job.hosts)
    return tuple(
        HostGroup(
            instance_group_name=group.instance_group_name,
            instance_type=group.instance_type,
            hosts=tuple(islice(hosts, group.instance_count)),
        )
        for group in job.request.resource_config.groups
    )


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all instances: see the members of these names in `InstanceTask`.

    `volumes`: an instance's disk is as large as was asked, and no larger. `file_systems`: all that there are.
    """

    region: str
    s3_endpoint_url: str
    container_engine: str = ""
    limited: bool = True
    volumes: bool = False
    file_systems: dict[str, str] = {}
    input_cache: str = ""
    input_cache_bytes: int = 0
    verify_multipart_etags: bool = False
    fast_file: str = "mount"


def instance_task(job: TrainingJob, host: str, *, site: Site, now: Instant) -> InstanceTask:
    """What `host` must do in the job's present attempt."""
    request = job.request
    algorithm = request.algorithm_specification
    groups = host_groups(job)
    group = next(group for group in groups if host in group.hosts)
    return InstanceTask(
        instance_name=instance_name(job.training_job_name, job.attempt, host),
        training_job_name=job.training_job_name,
        training_job_arn=job.training_job_arn,
        region=site.region,
        attempt=job.attempt,
        host=host,
        hosts=job.hosts,
        instance_type=group.instance_type,
        instance_groups=groups,
        program=_program(job),
        container_entrypoint=algorithm.container_entrypoint,
        container_arguments=algorithm.container_arguments,
        training_input_mode=algorithm.training_input_mode,
        channels=tuple(channel for channel in request.input_data_config if channel.is_for(group.instance_group_name)),
        hyper_parameters=request.hyper_parameters,
        environment=request.environment,
        metric_definitions=algorithm.metric_definitions,
        enable_sage_maker_metrics_time_series=algorithm.enable_sage_maker_metrics_time_series,
        s3_output_prefix=output_prefix(job),
        output_compression_type=request.output_data_config.compression_type or "GZIP",
        output_kms_key_id=_kms_key_id(request.output_data_config),
        max_runtime_s=remaining_runtime_s(job, now),
        enable_network_isolation=request.enable_network_isolation,
        s3_endpoint_url=site.s3_endpoint_url,
        container_engine=site.container_engine,
        limited=site.limited,
        volume_size_in_gb=request.resource_config.volume_size_in_gb if site.volumes else None,
        checkpoint_config=request.checkpoint_config,
        file_systems=_file_systems(job, site),
        input_cache=site.input_cache,
        input_cache_bytes=site.input_cache_bytes,
        verify_multipart_etags=site.verify_multipart_etags,
        fast_file=site.fast_file,
    )


def _kms_key_id(output: OutputDataConfig) -> str | None:
    """The key for artifacts, an alias or a key id also where its ARN was given: SeaweedFS takes ARNs of one partition alone."""
    name = (output.kms_key_id or "").rpartition(":")[2]
    return name.removeprefix("key/") or None


def _file_systems(job: TrainingJob, site: Site) -> dict[str, str]:
    """Those of the job alone. One that is no longer configured is left out, and missed by the instance."""
    wanted = {
        channel.file_system.file_system_id
        for channel in job.request.input_data_config
        if channel.file_system is not None
    }
    return {name: path for name, path in site.file_systems.items() if name in wanted}


def _program(job: TrainingJob) -> Program:
    """What runs. The image of an earlier attempt is that of all: its tag may mean another one by now."""
    if job.program.reference is None or job.image_digest is None:
        return job.program
    return msgspec.structs.replace(job.program, reference=job.image_digest)


def storage_grants(job: TrainingJob) -> tuple[Grant, ...]:
    """What the job's instances may do in S3: read its channels, write below its own output prefix, sync its checkpoints.

    What manifests name comes on top: see `manifest_grants`.
    """
    write = parse_s3_uri(output_prefix(job) + "/")
    return (
        *(_reading(channel.s3) for channel in job.request.input_data_config if channel.s3 is not None),
        Grant(access="write", bucket=write.bucket, prefix=write.key),
        *_syncing(job.request.checkpoint_config),
    )


def _syncing(config: CheckpointConfig | None) -> tuple[Grant, ...]:
    if config is None:
        return ()
    uri = parse_s3_uri(config.s3_uri).child("")
    return (Grant(access="sync", bucket=uri.bucket, prefix=uri.key),)


def _reading(source: S3DataSource) -> Grant:
    uri = parse_s3_uri(source.s3_uri)
    return Grant(access="read", bucket=uri.bucket, prefix=uri.key, exact=source.is_manifest)
