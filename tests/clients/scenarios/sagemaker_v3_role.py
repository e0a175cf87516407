"""What ModelTrainer asks IAM about its role when it is built, and a bucket of the SDK's own choice by name."""

import logging
import os
import sys

from common import ROLE, found, told
from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ARGUMENTS = told()
assert "SAGEMAKER_VALIDATE_ROLE" not in os.environ
trainer = ModelTrainer(
    training_image=ARGUMENTS["image"],
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    role=ROLE,
    base_job_name="v3-role",
    sagemaker_session=Session(default_bucket=ARGUMENTS["bucket"]),
)
trainer.train(wait=True, logs=False)
found(role=trainer.role, status=trainer._latest_training_job.refresh().training_job_status)
