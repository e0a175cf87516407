"""Pipe mode through an estimator: the SDK writes records, asks for Pipe channels, and reads what the program was sent."""

import io
import tarfile

import boto3
import numpy as np
from common import ROLE, found, told
from sagemaker.amazon.common import read_recordio, read_records, write_numpy_to_dense_tensor
from sagemaker.estimator import Estimator
from sagemaker.inputs import ShuffleConfig, TrainingInput
from sagemaker.session import Session

ARGUMENTS = told()
BUCKET = ARGUMENTS["bucket"]
s3 = boto3.client("s3")


def tensors(first, last):
    """Rows as recordIO-protobuf, as the built-in algorithms read them."""
    file = io.BytesIO()
    rows = np.arange(first * 3, last * 3, dtype="float32").reshape(-1, 3)
    write_numpy_to_dense_tensor(file, rows, np.arange(first, last, dtype="float32"))
    return file.getvalue()


for number in range(3):
    s3.put_object(Bucket=BUCKET, Key=f"tensors/{number}", Body=tensors(number * 4, number * 4 + 4))
    s3.put_object(Bucket=BUCKET, Key=f"lines/{number}", Body=b"x" * number)

estimator = Estimator(
    image_uri=ARGUMENTS["image"],
    role=ROLE,
    instance_count=1,
    instance_type="ml.m5.large",
    input_mode="Pipe",
    container_entry_point=[
        "/bin/sh",
        "-c",
        "cd /opt/ml/input/data && cat tensors_0 >../../model/t; cat lines_0 >../../model/l",
    ],
    sagemaker_session=Session(default_bucket=BUCKET),
)
estimator.fit(
    {
        "tensors": TrainingInput(f"s3://{BUCKET}/tensors/", shuffle_config=ShuffleConfig(7)),
        "lines": TrainingInput(f"s3://{BUCKET}/lines/", record_wrapping="RecordIO", input_mode="Pipe"),
    },
    logs=False,
)
bucket, _, key = estimator.model_data.removeprefix("s3://").partition("/")
body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
with tarfile.open(fileobj=io.BytesIO(body)) as tar:
    read = {name: tar.extractfile(name) for name in ("t", "l")}
    records = read_records(read["t"])
    lines = [record.decode() for record in read_recordio(read["l"])]
found(
    modes=[channel.get("InputMode") for channel in estimator.latest_training_job.describe()["InputDataConfig"]],
    labels=sorted(record.label["values"].float32_tensor.values[0] for record in records),
    rows=sorted(list(record.features["values"].float32_tensor.values) for record in records),
    lines=lines,
)
