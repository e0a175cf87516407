"""The PyTorch estimator without network: the SDK sends the sources as a channel, the toolkit runs them. One job fails."""

from pathlib import Path

from common import ROLE, found, told
from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.pytorch import PyTorch
from sagemaker.session import Session

ARGUMENTS = told()
session = Session(default_bucket=ARGUMENTS["bucket"])
Path("data").mkdir()
Path("data/rows.csv").write_text("".join(f"{x},{3 * x + 2}\n" for x in (-1.0, -0.5, 0.0, 0.5, 1.0)))
data = session.upload_data("data", key_prefix="v2/script-mode")
version = {"framework_version": "2.3", "py_version": "py311"}


def estimator(**hyperparameters):
    return PyTorch(
        entry_point="train.py",
        source_dir=ARGUMENTS["sources"],
        **({"image_uri": ARGUMENTS["image"]} if ARGUMENTS["image"] else version),
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.xlarge",
        sagemaker_session=session,
        enable_network_isolation=True,
        hyperparameters=hyperparameters,
        metric_definitions=[{"Name": "train:loss", "Regex": "loss=([0-9.]+)"}],
    )


works = estimator(rate=0.3, steps=100, name="a line")
works.fit({"training": data})
description = works.latest_training_job.describe()
fails = estimator(rate=0.3, steps=1, fail="no such column: label")
failure = ""
try:
    fails.fit({"training": data}, logs=False)
except UnexpectedStatusException as error:
    failure = str(error)
found(
    status=description["TrainingJobStatus"],
    ran=description["AlgorithmSpecification"]["TrainingImage"],
    channels=[channel["ChannelName"] for channel in description["InputDataConfig"]],
    hyperparameters=description["HyperParameters"],
    metrics={metric["MetricName"]: metric["Value"] for metric in description["FinalMetricDataList"]},
    model_data=works.model_data,
    failure=failure,
    failed=fails.latest_training_job.describe()["FailureReason"],
    failed_job=fails.latest_training_job.name,
)
