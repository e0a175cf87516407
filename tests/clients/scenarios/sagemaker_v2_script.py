"""Generic script mode: the SDK packs the sources, and the image's own toolkit is to fetch them.

Job code has no credentials here, so the image's `train` only tells what it was given.
"""

import io
import tarfile
from pathlib import Path

import boto3
from common import ROLE, found, told
from sagemaker.estimator import Estimator
from sagemaker.session import Session

ARGUMENTS = told()
Path("src").mkdir()
Path("src/train.py").write_text("print('hello')\n")
Path("src/helper.py").write_text("")
estimator = Estimator(
    image_uri=ARGUMENTS["image"],
    role=ROLE,
    instance_count=1,
    instance_type="ml.m5.large",
    sagemaker_session=Session(default_bucket=ARGUMENTS["bucket"]),
    entry_point="train.py",
    source_dir="src",
    hyperparameters={"epochs": 1, "name": "x"},
)
estimator.fit(logs=False)
hyperparameters = estimator.latest_training_job.describe()["HyperParameters"]
uri = hyperparameters["sagemaker_submit_directory"].strip('"').removeprefix("s3://")
bucket, _, key = uri.partition("/")
body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
with tarfile.open(fileobj=io.BytesIO(body)) as tar:
    names = sorted(tar.getnames())
found(hyperparameters=hyperparameters, packed=names)
