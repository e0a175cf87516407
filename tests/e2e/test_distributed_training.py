"""Two instances that really train one model together over their private network, against one instance on the same data."""

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from container_images import python_image
from each_runtime import IN_CONTAINERS
from server import new_name

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", IN_CONTAINERS, indirect=True)

HYPERPARAMETERS = {"num_round": "15", "objective": "binary:logistic", "eval_metric": "logloss", "nthread": "1"}


def xgboost_image():
    """The built-in algorithm as an image of its own, as somebody would build it."""
    packages = ("numpy", "scipy", "xgboost", "clary_algorithms")
    return python_image(*packages, entrypoint='["{python}", "-m", "clary_algorithms.xgboost"]')


def csv(x, y):
    return "".join(
        f"{int(label)},{','.join(map(repr, map(float, row)))}\n" for row, label in zip(x, y, strict=True)
    ).encode()


def test_xgboost_on_two_hosts_trains_one_model_as_good_as_ones(server):
    """Each host has half of the rows; the model is of all of them."""
    x, x_test, y, y_test = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)
    bucket = server.bucket()
    for half in range(2):
        server.client("s3").put_object(Bucket=bucket, Key=f"in/{half}.csv", Body=csv(x[half::2], y[half::2]))
    names = {1: new_name("alone"), 2: new_name("together")}
    for hosts, name in names.items():
        sharded = {"S3DataDistributionType": "ShardedByS3Key"}
        request = server.job(
            name,
            bucket,
            channels=[("train", f"s3://{bucket}/in/", sharded)],
            HyperParameters=HYPERPARAMETERS,
            ResourceConfig={"InstanceCount": hosts},
        )
        request["AlgorithmSpecification"]["TrainingImage"] = xgboost_image()
        request["InputDataConfig"][0]["ContentType"] = "text/csv"
        server.client("sagemaker").create_training_job(**request)

    boosters = {}
    for hosts, name in names.items():
        description = server.end(name)
        assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
        boosters[hosts] = xgboost.Booster(model_file=bytearray(server.model(description)["xgboost-model"]))

    assert any("213 rows" in line for host in ("algo-1", "algo-2") for line in server.lines(names[2], host))
    everything = xgboost.DMatrix(x)
    alone, together = (boosters[hosts].predict(everything) for hosts in (1, 2))
    assert np.abs(together - alone).mean() < 0.02
    assert roc_auc_score(y_test, boosters[2].predict(xgboost.DMatrix(x_test))) > 0.98
