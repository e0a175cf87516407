"""TrainingJobAnalytics: metric values as a table, from CloudWatch."""

from common import ROLE, found, told
from sagemaker.estimator import Estimator
from sagemaker.session import Session

ARGUMENTS = told()
estimator = Estimator(
    image_uri=ARGUMENTS["image"],
    role=ROLE,
    instance_count=1,
    instance_type="ml.m5.large",
    sagemaker_session=Session(default_bucket=ARGUMENTS["bucket"]),
    hyperparameters={"epochs": 4},
    metric_definitions=[{"Name": "train:loss", "Regex": "loss=([0-9.]+)"}],
    enable_sagemaker_metrics=True,
)
estimator.fit(logs=False)
table = estimator.training_job_analytics.dataframe()
found(columns=list(table.columns), names=sorted(set(table["metric_name"])), values=list(table["value"]))
