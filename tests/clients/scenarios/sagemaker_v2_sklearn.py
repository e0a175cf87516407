"""The SKLearn estimator: the toolkit fetches the sources from S3, with temporary credentials that the job is given,
and installs what they require.
"""

import os
import shutil
from pathlib import Path

import boto3
from common import ROLE, found, put_wheel, told
from sagemaker.session import Session
from sagemaker.sklearn import SKLearn

ARGUMENTS = told()
session = Session(default_bucket=ARGUMENTS["bucket"])
Path("rows.csv").write_text("".join(f"{x},{2 * x - 1}\n" for x in (-1.0, 0.0, 1.0)))
shutil.copytree(ARGUMENTS["sources"], "src")
put_wheel("src")
data = session.upload_data("rows.csv", key_prefix="v2/script-mode")
lent = boto3.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="job")["Credentials"]
estimator = SKLearn(
    entry_point="train.py",
    source_dir="src",
    framework_version="1.2-1",
    role=ROLE,
    instance_count=1,
    instance_type="ml.m5.xlarge",
    sagemaker_session=session,
    hyperparameters={"rate": 0.3, "steps": 100, "name": "x", "required": "greeting"},
    environment={
        "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
        "AWS_ACCESS_KEY_ID": lent["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": lent["SecretAccessKey"],
        "AWS_SESSION_TOKEN": lent["SessionToken"],
    },
)
estimator.fit({"training": data})
description = estimator.latest_training_job.describe()
found(
    status=description["TrainingJobStatus"],
    ran=description["AlgorithmSpecification"]["TrainingImage"],
    submitted=description["HyperParameters"]["sagemaker_submit_directory"],
    model_data=estimator.model_data,
)
