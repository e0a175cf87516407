"""A training job whose bucket the SDK chooses: it asks STS over HTTPS, at a fixed host name."""

from pathlib import Path

from common import ROLE, found, told
from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData

Path("data").mkdir()
Path("data/a.csv").write_text("1,2\n")
session = Session()
trainer = ModelTrainer(
    training_image=told()["image"],
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    role=ROLE,
    base_job_name="v3-bucket",
    sagemaker_session=session,
)
trainer.train(input_data_config=[InputData(channel_name="train", data_source="data")], wait=True, logs=False)
job = trainer._latest_training_job
job.refresh()
found(bucket=session.default_bucket(), model=job.model_artifacts.s3_model_artifacts, status=job.training_job_status)
