"""Two instances that really train one model together over their private network, against one instance on the same data."""

import json

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from container_images import python_image
from each_runtime import IN_CONTAINERS
from server import new_name
from torch_packages import torch_packages, torch_problem

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


# Whole-batch gradient descent: the mean of the hosts' gradients is the gradient of all rows, so that any number of hosts
# with equally many rows walks the same way.
DATA_PARALLEL = """
import json, os, pathlib, warnings
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

config = json.load(open("/opt/ml/input/config/resourceconfig.json"))
hosts, me = config["hosts"], config["current_host"]
os.environ["GLOO_SOCKET_IFNAME"] = config["network_interface_name"]
dist.init_process_group("gloo", init_method=f"tcp://{hosts[0]}:29500", rank=hosts.index(me), world_size=len(hosts))
text = "".join(path.read_text() for path in sorted(pathlib.Path("/opt/ml/input/data/train").iterdir()))
rows = torch.tensor([[float(value) for value in line.split(",")] for line in text.splitlines()])
torch.manual_seed(dist.get_rank())  # DistributedDataParallel gives all hosts the first one's weights
net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
model = DistributedDataParallel(net)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for step in range(60):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(rows[:, 1:]), rows[:, :1])
    loss.backward()
    optimizer.step()
print("rows", len(rows), "hosts", dist.get_world_size(), "loss", loss.item())
weights = [value.item() for parameter in net.parameters() for value in parameter.flatten()]
json.dump({"weights": weights, "loss": loss.item()}, open(f"/opt/ml/model/{me}.json", "w"))
dist.destroy_process_group()
"""


@pytest.mark.timeout(600)  # PyTorch has to be fetched, and made an image of
def test_pytorch_on_two_hosts_walks_the_way_of_one(server):
    """DistributedDataParallel over gloo: both hosts have the weights that one host with all rows has."""
    problem = torch_problem()
    if problem is not None:
        pytest.skip(problem)
    site, packages = torch_packages()
    image = python_image(*packages, site=site)
    bucket = server.bucket()
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] / 2
    for half in range(2):
        rows = "".join(
            ",".join(map(str, (label, *row))) + "\n" for row, label in zip(x[half::2], y[half::2], strict=True)
        )
        server.client("s3").put_object(Bucket=bucket, Key=f"in/{half}.csv", Body=rows.encode())
    models, losses = {}, {}
    for hosts in (1, 2):
        name = new_name(f"torch-{hosts}")
        sharded = {"S3DataDistributionType": "ShardedByS3Key"}
        request = server.job(
            name,
            bucket,
            program=DATA_PARALLEL,
            channels=[("train", f"s3://{bucket}/in/", sharded)],
            ResourceConfig={"InstanceCount": hosts},
        )
        request["AlgorithmSpecification"]["TrainingImage"] = image
        server.client("sagemaker").create_training_job(**request)
        description = server.end(name)
        assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
        assert any(line.startswith(f"rows {200 // hosts} hosts {hosts} ") for line in server.lines(name))
        saved = {host: json.loads(text) for host, text in server.model(description).items()}
        models[hosts] = {host: each["weights"] for host, each in saved.items()}
        losses[hosts] = np.mean([each["loss"] for each in saved.values()])

    assert models[2]["algo-1.json"] == models[2]["algo-2.json"]
    np.testing.assert_allclose(models[2]["algo-1.json"], models[1]["algo-1.json"], atol=1e-4)
    assert losses[2] == pytest.approx(losses[1], rel=1e-4)
    assert losses[1] < 0.5 * np.mean(y**2)
