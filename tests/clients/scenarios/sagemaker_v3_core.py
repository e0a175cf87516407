"""sagemaker.core's TrainingJob: create, get, wait with logs, get_all, stop, delete."""

import logging
import sys

import boto3
from common import ROLE, found, see_begin, told
from sagemaker.core.resources import Tag, TrainingJob
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    MetricDefinition,
    OutputDataConfig,
    ResourceConfig,
    StoppingCondition,
)

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ARGUMENTS = told()
NAME = ARGUMENTS["name"]


def create(name, **hyperparameters):
    return TrainingJob.create(
        training_job_name=name,
        role_arn=ROLE,
        algorithm_specification=AlgorithmSpecification(
            training_image=ARGUMENTS["image"],
            training_input_mode="File",
            metric_definitions=[MetricDefinition(name="loss", regex="loss=([0-9.]+)")],
        ),
        hyper_parameters=hyperparameters,
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{ARGUMENTS['bucket']}/core"),
        resource_config=ResourceConfig(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=10),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
        tags=[Tag(key="a", value="1")],
    )


job = create(NAME, epochs="3")
job.wait(poll=1, logs=True)
job.refresh()
stops = create(f"{NAME}-stops", run_for="600")
see_begin(boto3.client("logs"), f"{NAME}-stops")
stops.stop()
stops.wait(poll=1)
stops.refresh()
listed = [found_.training_job_name for found_ in TrainingJob.get_all(name_contains=NAME, sort_by="CreationTime")]
stops.delete()
stops.wait_for_delete(poll=1, timeout=30)
found(
    status=job.training_job_status,
    model=job.model_artifacts.s3_model_artifacts,
    metrics={metric.metric_name: metric.value for metric in job.final_metric_data_list},
    hyperparameters=job.hyper_parameters,
    stopped=stops.training_job_status,
    listed=listed,
    left=[left.training_job_name for left in TrainingJob.get_all(name_contains=NAME)],
)
