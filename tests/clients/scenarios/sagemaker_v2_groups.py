"""Estimator with instance groups, and inputs for some of them; fit shows the log of every host."""

from pathlib import Path

from common import ROLE, found, told
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.instance_group import InstanceGroup
from sagemaker.session import Session

ARGUMENTS = told()
session = Session(default_bucket=ARGUMENTS["bucket"])

Path("data").mkdir()
Path("data/a.csv").write_text("1,2\n")
data = session.upload_data("data", key_prefix="v2/groups")
estimator = Estimator(
    image_uri=ARGUMENTS["image"],
    role=ROLE,
    instance_groups=[InstanceGroup("loaders", "ml.c5.xlarge", 1), InstanceGroup("trainers", "ml.m5.large", 2)],
    sagemaker_session=session,
    hyperparameters={"epochs": 1},
    base_job_name="v2-groups",
)
estimator.fit(
    {
        "train": TrainingInput(data, instance_groups=["trainers"]),
        "test": TrainingInput(data, instance_groups=["loaders", "trainers"]),
    }
)
description = estimator.latest_training_job.describe()
found(
    status=description["TrainingJobStatus"],
    groups=[
        [group["InstanceGroupName"], group["InstanceCount"]]
        for group in description["ResourceConfig"]["InstanceGroups"]
    ],
)
