"""Training jobs for tests that care about little of them: `from factories import make_job, make_request`.

Everything has a plausible value; name what your test is about, and give the rest away.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from clary.base.clock import Instant
from clary.jobs import transitions
from clary.jobs.algorithm import ChannelSpecification, TrainingSpecification
from clary.jobs.failure import JobFailure, internal_error
from clary.jobs.model import (
    AlgorithmSpecification,
    Channel,
    DataSource,
    InstanceGroup,
    OutputDataConfig,
    Program,
    ResourceConfig,
    S3DataSource,
    StoppingCondition,
    TrainingJob,
    TrainingJobRequest,
)
from clary.jobs.status import TERMINAL, Event
from clary.jobs.task import InstanceTask

ACCOUNT_ID = "000000000000"
REGION = "us-east-1"
NOW = Instant(1_700_000_000_000)

STEPS: dict[str, tuple[Event, ...]] = {
    "Starting": (),
    "Downloading": (Event.INSTANCES_READY,),
    "Training": (Event.INSTANCES_READY, Event.INPUT_READY),
    "Uploading": (Event.INSTANCES_READY, Event.INPUT_READY, Event.PROGRAM_ENDED),
    "Completed": (Event.INSTANCES_READY, Event.INPUT_READY, Event.PROGRAM_ENDED, Event.SUCCEEDED),
    "Stopping": (Event.INSTANCES_READY, Event.INPUT_READY, Event.STOP),
    "Stopped": (Event.INSTANCES_READY, Event.INPUT_READY, Event.STOP, Event.STOPPED),
    "MaxRuntimeExceeded": (Event.INSTANCES_READY, Event.INPUT_READY, Event.STOP, Event.RUNTIME_EXCEEDED),
    "Failed": (Event.INSTANCES_READY, Event.FAILED),
}
"""The events that lead from a new job to each secondary status."""


def arn(name: str) -> str:
    """The ARN of the job of that name."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:training-job/{name.lower()}"


def make_channel(name: str = "train", **changes: Any) -> Channel:
    """A channel of all objects below s3://data/NAME/."""
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://data/{name}/")
    channel = Channel(channel_name=name, data_source=DataSource(s3_data_source=source))
    return msgspec.structs.replace(channel, **changes)


def make_groups(**counts: int) -> ResourceConfig:
    """Instance groups by their names, of so many instances each, and each of another type."""
    types = ("ml.m5.large", "ml.c5.xlarge", "ml.g5.xlarge", "ml.r5.large", "ml.t3.medium", "ml.p3.2xlarge")
    groups = tuple(
        InstanceGroup(instance_type=instance_type, instance_count=count, instance_group_name=name)
        for (name, count), instance_type in zip(counts.items(), types, strict=False)
    )
    return ResourceConfig(instance_groups=groups, volume_size_in_gb=10)


def make_request(
    name: str = "job",
    *,
    instance_count: int = 1,
    max_runtime_in_seconds: int = 3600,
    channels: Sequence[str] = ("train",),
    **changes: Any,
) -> TrainingJobRequest:
    """A request as CreateTrainingJob takes it; `changes` replace fields of `TrainingJobRequest`."""
    request = TrainingJobRequest(
        training_job_name=name,
        algorithm_specification=AlgorithmSpecification(training_image="clary/python", training_input_mode="File"),
        role_arn=f"arn:aws:iam::{ACCOUNT_ID}:role/trainer",
        output_data_config=OutputDataConfig(s3_output_path="s3://models/out"),
        resource_config=ResourceConfig(
            instance_type="ml.m5.large", instance_count=instance_count, volume_size_in_gb=10
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=max_runtime_in_seconds),
        input_data_config=tuple(make_channel(channel) for channel in channels),
        hyper_parameters={"epochs": "3"},
    )
    return msgspec.structs.replace(request, **changes)


def make_training_specification(**changes: Any) -> TrainingSpecification:
    """How an algorithm trains that reads one optional channel, `train`; `changes` replace fields."""
    specification = TrainingSpecification(
        training_image="clary/python",
        supported_training_instance_types=("ml.m5.large",),
        training_channels=(
            ChannelSpecification(name="train", supported_content_types=(), supported_input_modes=("File",)),
        ),
    )
    return msgspec.structs.replace(specification, **changes)


def make_program(**changes: Any) -> Program:
    """A local environment that runs python3."""
    return msgspec.structs.replace(Program(image="clary/python", entrypoint=("/usr/bin/python3",)), **changes)


def make_task(name: str = "job-a1-algo-1", **changes: Any) -> InstanceTask:
    """What one instance of a plain job of one host is to do; `name` is that of the instance."""
    task = InstanceTask(
        instance_name=name,
        training_job_name="job",
        training_job_arn=arn("job"),
        region=REGION,
        attempt=1,
        host="algo-1",
        hosts=("algo-1",),
        instance_type="ml.m5.large",
        program=make_program(),
        container_entrypoint=(),
        container_arguments=(),
        training_input_mode="File",
        channels=(),
        hyper_parameters={},
        environment={},
        metric_definitions=(),
        s3_output_prefix="s3://bucket/out/job/output",
        max_runtime_s=60,
        enable_network_isolation=False,
        s3_endpoint_url="http://127.0.0.1:1",
    )
    return msgspec.structs.replace(task, **changes)


def make_job(
    name: str = "job",
    *,
    status: str = "Starting",
    at: int = NOW,
    request: TrainingJobRequest | None = None,
    failure: JobFailure | None = None,
    **changes: Any,
) -> TrainingJob:
    """A job, created at `at` (milliseconds), that has come to the secondary status `status`, one second a step.

    `failure` is that of a Failed job. `changes` replace fields of `TrainingJob` at the end. The job's `version` is 0, as
    a store expects of a new one.
    """
    job = transitions.create(
        request or make_request(name), training_job_arn=arn(name), program=make_program(), now=Instant(at)
    )
    if STEPS[status]:
        job = msgspec.structs.replace(job, attempt=1)
    for number, event in enumerate(STEPS[status], start=1):
        why = (failure or internal_error()) if event is Event.FAILED else None
        job = transitions.apply(job, event, at=Instant(at + 1000 * number), reason=event.value, failure=why)
    if job.secondary_status not in TERMINAL and failure is not None:
        raise ValueError("only a Failed job has a failure")
    return msgspec.structs.replace(job, **changes)
