"""The SageMaker Python SDK v2, as its users call it: estimators."""

import pytest

CLIENT = "sagemaker_v2"


def test_an_estimator_shows_the_log_and_gives_the_model(run):
    """fit() prints every line of the job, ends when it ends, and the model can be had."""
    result, printed = run(CLIENT, "sagemaker_v2_logs")

    assert result["data"] == f"s3://{result['bucket']}/v2/data"
    assert result["status"] == "Completed"
    assert result["model_data"].startswith(f"s3://{result['bucket']}/v2-logs-")
    assert result["model_data"].endswith("/output/model.tar.gz")
    assert result["downloaded"] == ["model.tar.gz"]
    for line in ("epoch=1 loss=1.00;", "epoch=2 loss=0.50;", "epoch=3 loss=0.33;"):
        assert printed.count(line) == 1
    assert """hyperparameters {"epochs": "3", "flag": "True", "names": "['a', 'b']"}""" in printed
    assert "Training job completed" in printed


def test_an_estimator_waits_attaches_fails_and_stops(run):
    """What the SDK learns of a job without its log, and from its name alone."""
    result, printed = run(CLIENT, "sagemaker_v2_life")

    assert result["waited"].endswith("/output/model.tar.gz")
    assert result["attached"] == [True, {"epochs": "2"}, result["image"]]
    assert printed.count("epoch=2 loss=0.50;") == 1
    assert "AlgorithmError: no such column" in result["failure"]
    assert result["stopped"] == "Stopped"
    assert result["stopped_model"].endswith("/output/model.tar.gz")


def test_analytics_are_a_table_of_metrics(run):
    """TrainingJobAnalytics finds the values by the names that Describe tells."""
    result, _ = run(CLIENT, "sagemaker_v2_analytics")

    assert result["columns"] == ["timestamp", "metric_name", "value"]
    assert result["names"] == ["train:loss"]
    # One point a minute, each the average of what was logged in it.
    assert result["values"]
    assert all(0.25 <= value <= 1.0 for value in result["values"])
    assert result["values"] == [pytest.approx((1 + 0.5 + 0.33 + 0.25) / 4)] or len(result["values"]) > 1


def test_a_role_by_its_name_becomes_an_arn(run):
    """The SDK asks IAM for a role that is given without its ARN."""
    result, _ = run(CLIENT, "sagemaker_v2_roles")

    assert result["expanded"] == result["unchanged"]


def test_a_bucket_and_a_role_that_the_sdk_finds_itself(run):
    """Through STS over HTTPS: the default bucket is made once, and a session of a role knows that role."""
    result, _ = run(CLIENT, "sagemaker_v2_default_bucket", tls=True)

    assert result["bucket"] == result["again"] == "sagemaker-us-east-1-000000000000"
    assert result["uploaded"] == f"s3://{result['bucket']}/d/a.csv"
    assert result["account"] == "000000000000"
    assert result["role"] == "arn:aws:iam::000000000000:role/test"


def test_script_mode_packs_and_tells(run):
    """The archive of the sources is in S3 and its hyperparameters arrive with their quotes."""
    result, _ = run(CLIENT, "sagemaker_v2_script")

    assert result["packed"] == ["helper.py", "train.py"]
    assert result["hyperparameters"]["sagemaker_program"] == '"train.py"'
    assert result["hyperparameters"]["name"] == '"x"'


def test_an_estimator_of_instance_groups_shows_every_host(run):
    """The SDK adds up the hosts of all groups and prints what each of them says."""
    result, printed = run(CLIENT, "sagemaker_v2_groups")

    assert result["status"] == "Completed"
    assert result["groups"] == [["loaders", 1], ["trainers", 2]]
    assert printed.count("epoch=1 loss=1.00;") == 3


def test_records_through_pipes_are_what_the_sdk_wrote(run):
    """The SDK's own reader takes our frames, and its own frames come through untouched, in whatever order."""
    result, _ = run(CLIENT, "sagemaker_v2_pipe")

    assert result["lines"] == ["", "x", "xx"]
    assert result["labels"] == list(range(12))
    assert result["rows"] == [[3 * n, 3 * n + 1, 3 * n + 2] for n in range(12)]
    assert result["modes"] == [None, "Pipe"]
