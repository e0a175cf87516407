"""ModelTrainer with instance groups, which waits for the job and shows the log of every host."""

import logging
import sys

from common import ROLE, found, told
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.shapes import InstanceGroup, OutputDataConfig
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ARGUMENTS = told()
BUCKET = ARGUMENTS["bucket"]
trainer = ModelTrainer(
    training_image=ARGUMENTS["image"],
    compute=Compute(
        instance_groups=[
            InstanceGroup(instance_group_name="loaders", instance_type="ml.c5.xlarge", instance_count=1),
            InstanceGroup(instance_group_name="trainers", instance_type="ml.m5.large", instance_count=1),
        ]
    ),
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{BUCKET}/groups"),
    hyperparameters={"epochs": 1},
    role=ROLE,
    base_job_name="v3-groups",
    sagemaker_session=Session(default_bucket=BUCKET),
)
trainer.train(wait=True, logs=True)
job = trainer._latest_training_job
job.refresh()
found(
    status=job.training_job_status,
    groups=[[group.instance_group_name, group.instance_count] for group in job.resource_config.instance_groups],
)
