"""upload_data, Estimator.fit with the log shown, model_data, latest_training_job."""

from pathlib import Path

from common import ROLE, found, told
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.session import Session

ARGUMENTS = told()
BUCKET = ARGUMENTS["bucket"]
session = Session(default_bucket=BUCKET)

Path("data/sub").mkdir(parents=True)
Path("data/a.csv").write_text("1,2\n")
Path("data/sub/b.csv").write_text("3,4\n")
data = session.upload_data("data", key_prefix="v2/data")
estimator = Estimator(
    image_uri=ARGUMENTS["image"],
    role=ROLE,
    instance_count=1,
    instance_type="ml.m5.large",
    sagemaker_session=session,
    hyperparameters={"epochs": 3, "flag": True, "names": ["a", "b"]},
    environment={"MY_FLAG": "1"},
    tags=[{"Key": "team", "Value": "ml"}],
    metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    base_job_name="v2-logs",
)
estimator.fit({"train": data, "test": TrainingInput(data, content_type="text/csv", distribution="ShardedByS3Key")})
description = estimator.latest_training_job.describe()
Path("model").mkdir()
session.download_data("model", BUCKET, estimator.model_data.removeprefix(f"s3://{BUCKET}/"))
found(
    data=data,
    model_data=estimator.model_data,
    status=description["TrainingJobStatus"],
    downloaded=[path.name for path in Path("model").iterdir()],
)
