"""boto3, the tests' own and one of 2024, which still speaks the older protocols."""

import pytest

BOTH = pytest.mark.parametrize("client", ["boto3_new", "boto3_old"])


@BOTH
def test_the_life_of_a_job(run, client):
    """Create, wait, read the log, list, fail and stop: all answers are what boto3 makes typed results of."""
    result, _ = run(client, "boto3_life")
    name = result["name"]

    assert result["status"] == "Completed"
    assert result["model"] == f"s3://{result['bucket']}/out/{name}/output/model.tar.gz"
    assert result["times"] == [True, True]
    assert result["metrics"] == {"loss": pytest.approx(0.33)}
    assert len(result["streams"]) == 1
    assert result["lines"][2:] == ["epoch=1 loss=1.00;", "epoch=2 loss=0.50;", "epoch=3 loss=0.33;"]
    assert result["after_the_end"] == [[], True]
    assert result["failure"].startswith("AlgorithmError: bad data")
    assert result["stopped"] == "Stopped"
    assert result["listed"] == [name, f"{name}-fails", f"{name}-stops"]
    assert result["taken"][:2] == ["ResourceInUse", "ResourceInUse"]
    assert result["missing"][1:] == ["ValidationException", "Requested resource not found."]
    assert result["too_late"][1] == "ValidationException"


@BOTH
def test_s3_around_a_job(run, client):
    """Large and odd objects come back as they went, and what is missing is missing in S3's words."""
    result, _ = run(client, "boto3_transfer")

    assert (result["same"], result["ranged"], result["buckets"]) == (True, True, True)
    assert result["copied"] == [3, "text/plain", {"who": "me"}]
    assert result["listed"] == ["odd/a b+c=d&é~!'()*.txt", "x/big", "x/copy", "x/empty"]
    assert result["presigned"] == "odd"
    assert result["deleted"] == ["x/empty", "x/none"]
    assert result["misses"] == [["404", 404], ["NoSuchKey", 404]]
    assert result["no_bucket"] == ["NoSuchBucket", 404]


@BOTH
def test_the_log_of_a_job(run, client):
    """Groups, and a filter in pages, with ids of their own."""
    result, _ = run(client, "boto3_logs")

    assert result["groups"] == ["/aws/sagemaker/TrainingJobs"]
    assert [line.partition(" ")[0] for line in result["filtered"]] == [f"epoch={n}" for n in range(1, 6)]
    assert result["ids"] == 5
    assert result["missing"] == "The specified log group does not exist."


@BOTH
def test_the_metrics_of_a_job(run, client):
    """Statistics, data and names, over the protocol of the time."""
    result, _ = run(client, "boto3_metrics")

    assert (result["minimum"], result["maximum"]) == (0.25, 1.0)
    assert result["sum"] == pytest.approx(1 + 0.5 + 0.33 + 0.25)
    assert result["typed"] == ["datetime", True]
    assert result["data"] == [1.0]
    assert result["listed"] == ["loss"]
    assert result["refused"] == "InvalidParameterValue"


@BOTH
def test_the_tags_of_a_job(run, client):
    """Added, replaced, deleted, listed and found again."""
    result, _ = run(client, "boto3_tags")

    assert result["tags"] == {"team": "data", "run": result["name"]}
    assert result["results"] == [result["name"]]
