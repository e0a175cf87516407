"""The SageMaker Python SDK v3, as its users call it: ModelTrainer, and the resource classes below it."""

import pytest

CLIENT = "sagemaker_v3"


def test_a_model_trainer_runs_source_code(run):
    """The SDK's own drivers run a local entry script with its package, requirements, data, hyperparameters and environment."""
    result, printed = run(CLIENT, "sagemaker_v3_source")

    assert result["status"] == "Completed"
    assert result["size"] > 0
    assert result["entrypoint"] == ["/bin/bash"]
    channel = "/opt/ml/input/data/train"
    assert f"hello from the package 3 ['a', 'b'] /opt/ml/input/data/code {channel} 1" in printed.replace('"', "'")
    assert "['a.csv']" in printed
    assert "required /tmp/site-packages/greeting.py" in printed
    assert "FailedStatusError" in result["failure"]
    assert "AlgorithmError" in result["failure"]


def test_a_model_that_is_not_compressed(run):
    """An image with its own `train`; each file of the model is an object below S3ModelArtifacts."""
    result, _ = run(CLIENT, "sagemaker_v3_byo")

    assert result["status"] == "Completed"
    assert result["prefix"] == f"byo/{result['job']}/output/model/"
    assert result["keys"] == [f"{result['prefix']}seen.json"]


def test_the_resource_class_of_a_job(run):
    """Create, wait with logs, get, list, stop and delete."""
    result, printed = run(CLIENT, "sagemaker_v3_core")
    name = result["name"]

    assert result["status"] == "Completed"
    assert result["model"].endswith(f"/core/{name}/output/model.tar.gz")
    assert result["metrics"] == {"loss": pytest.approx(0.33)}
    assert result["hyperparameters"] == {"epochs": "3"}
    assert printed.count("epoch=3 loss=0.33;") == 1
    assert result["stopped"] == "Stopped"
    assert sorted(result["listed"]) == [name, f"{name}-stops"]
    assert result["left"] == [name]


def test_a_trainer_checks_its_role(run):
    """IAM answers what ModelTrainer asks before it trains."""
    result, printed = run(CLIENT, "sagemaker_v3_role")

    assert result["status"] == "Completed"
    assert "cannot verify" not in printed.lower()


def test_a_bucket_that_the_sdk_finds_itself(run):
    """Through STS over HTTPS: data go up to the default bucket, and the model comes there."""
    result, _ = run(CLIENT, "sagemaker_v3_default_bucket", tls=True)

    assert result["status"] == "Completed"
    assert result["bucket"] == "sagemaker-us-east-1-000000000000"
    assert result["model"].startswith(f"s3://{result['bucket']}/v3-bucket/")


def test_a_trainer_of_instance_groups_shows_every_host(run):
    """The SDK adds up the hosts of all groups and prints what each of them says."""
    result, printed = run(CLIENT, "sagemaker_v3_groups")

    assert result["status"] == "Completed"
    assert result["groups"] == [["loaders", 1], ["trainers", 1]]
    assert printed.count("epoch=1 loss=1.00;") == 2
