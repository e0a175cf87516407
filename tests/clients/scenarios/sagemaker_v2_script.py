"""Generic script mode: how the SDK packs the sources, and what it tells the image, whose `train` here only repeats it.

A toolkit that runs them: sagemaker_v2_pytorch, sagemaker_v2_sklearn.
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
