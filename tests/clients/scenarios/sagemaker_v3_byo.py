"""ModelTrainer with an image that brings its own `train`, and a model that is not compressed."""

import boto3
from common import ROLE, found, told
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.shapes import OutputDataConfig
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute

ARGUMENTS = told()
BUCKET = ARGUMENTS["bucket"]
trainer = ModelTrainer(
    training_image=ARGUMENTS["image"],
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    output_data_config=OutputDataConfig(s3_output_path=f"s3://{BUCKET}/byo", compression_type="NONE"),
    role=ROLE,
    base_job_name="v3-byo",
    sagemaker_session=Session(default_bucket=BUCKET),
)
trainer.train(wait=True, logs=False)
job = trainer._latest_training_job
job.refresh()
prefix = job.model_artifacts.s3_model_artifacts.removeprefix(f"s3://{BUCKET}/")
listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
found(status=job.training_job_status, prefix=prefix, job=job.training_job_name, keys=[item["Key"] for item in listed])
