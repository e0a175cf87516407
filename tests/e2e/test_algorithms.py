"""An algorithm on the XGBoost image, and training jobs by its name, through unmodified boto3 clients."""

import io
import random
import tarfile

import pytest
from botocore.exceptions import ClientError

from server import new_name

pytest_plugins = ["server"]

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


def hyper_parameter(name, kind, low=None, high=None, **more):
    specified = {"Name": name, "Type": kind} | more
    if low is not None:
        specified["Range"] = {f"{kind}ParameterRangeSpecification": {"MinValue": low, "MaxValue": high}}
    return specified


def training_specification():
    return {
        "TrainingImage": IMAGE,
        "SupportedTrainingInstanceTypes": ["ml.m5.large"],
        "SupportsDistributedTraining": False,
        "SupportedHyperParameters": [
            hyper_parameter("num_round", "Integer", "1", "100", IsRequired=True),
            hyper_parameter("max_depth", "Integer", "1", "10", DefaultValue="2", IsTunable=True),
            hyper_parameter("eta", "Continuous", "0", "1", DefaultValue="0.5", IsTunable=True),
            hyper_parameter("objective", "FreeText", DefaultValue="binary:logistic"),
        ],
        "MetricDefinitions": [{"Name": "rounds", "Regex": r"^\[([0-9]+)\]"}],
        "TrainingChannels": [
            {
                "Name": "train",
                "IsRequired": True,
                "SupportedContentTypes": ["text/csv"],
                "SupportedInputModes": ["File"],
            }
        ],
    }


@pytest.fixture(scope="module")
def algorithm(server):
    name = new_name("Boosted-Trees")
    arn = server.client("sagemaker").create_algorithm(
        AlgorithmName=name, TrainingSpecification=training_specification(), Tags=[{"Key": "k", "Value": "v"}]
    )["AlgorithmArn"]
    return name, arn


@pytest.fixture(scope="module")
def bucket(server):
    name = server.bucket()
    values = random.Random(0)
    rows = [[values.random() for _ in range(3)] for _ in range(200)]
    csv = "\n".join(",".join(map(str, [int(row[0] > 0.5), *row])) for row in rows)
    server.client("s3").put_object(Bucket=name, Key="in/train.csv", Body=csv.encode())
    return name


def request(server, bucket, algorithm_name, **changes):
    job = server.job(new_name("by-name"), bucket, channels=[("train", f"s3://{bucket}/in/", {})], **changes)
    job["AlgorithmSpecification"] = {"AlgorithmName": algorithm_name, "TrainingInputMode": "File"}
    job["InputDataConfig"][0]["ContentType"] = "text/csv"
    return job


@pytest.mark.parametrize("by_arn", [False, True])
def test_a_job_by_an_algorithm_trains_a_model_with_the_defaults(server, algorithm, bucket, by_arn):
    """By name and by ARN: what Describe shows is what the job was given and what the algorithm added."""
    job = request(server, bucket, algorithm[by_arn], HyperParameters={"num_round": "5", "eta": "0.25"})
    server.client("sagemaker").create_training_job(**job)

    description = server.end(job["TrainingJobName"])

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert description["HyperParameters"] == {
        "num_round": "5",
        "eta": "0.25",
        "max_depth": "2",
        "objective": "binary:logistic",
    }
    specification = description["AlgorithmSpecification"]
    assert specification["AlgorithmName"] == algorithm[by_arn]
    assert "TrainingImage" not in specification
    names = [definition["Name"] for definition in specification["MetricDefinitions"]]
    assert {"rounds", "train:logloss"} <= set(names)
    metrics = {metric["MetricName"]: metric["Value"] for metric in description["FinalMetricDataList"]}
    assert metrics["rounds"] == 4
    assert metrics["train:logloss"] < 0.5
    artifact = description["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{bucket}/")
    body = server.client("s3").get_object(Bucket=bucket, Key=artifact)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        assert archive.getnames() == ["xgboost-model"]


def test_a_job_that_does_not_fit_is_refused_with_all_that_does_not_fit(server, algorithm, bucket):
    """And no job is created."""
    sagemaker = server.client("sagemaker")
    job = request(
        server,
        bucket,
        algorithm[0],
        HyperParameters={"max_depth": "11", "depth": "1"},
        ResourceConfig={"InstanceType": "ml.c5.xlarge", "InstanceCount": 2},
    )

    with pytest.raises(ClientError) as refused:
        sagemaker.create_training_job(**job)

    assert refused.value.response["Error"]["Code"] == "ValidationException"
    message = refused.value.response["Error"]["Message"]
    assert message.startswith(f"The request does not fit algorithm {algorithm[1]}: ")
    for part in (
        "the value '11' of hyperparameter 'max_depth' must be an integer between 1 and 10",
        "hyperparameter 'depth' is not supported",
        "required hyperparameter 'num_round' is not set",
        "instance type ml.c5.xlarge is not supported",
        "distributed training is not supported",
    ):
        assert part in message
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])


def test_an_algorithm_that_is_not_there_is_named(server, bucket):
    with pytest.raises(ClientError, match=r"\(ValidationException\).*Algorithm arn:.*:algorithm/none does not exist\."):
        server.client("sagemaker").create_training_job(**request(server, bucket, "none"))


def test_a_job_outlives_its_algorithm(server, bucket):
    """Deleting an algorithm in use is allowed, and takes nothing from the job."""
    sagemaker = server.client("sagemaker")
    name = new_name("short-lived")
    sagemaker.create_algorithm(AlgorithmName=name, TrainingSpecification=training_specification())
    job = request(server, bucket, name, HyperParameters={"num_round": "3"})
    sagemaker.create_training_job(**job)
    sagemaker.delete_algorithm(AlgorithmName=name)

    assert server.end(job["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_algorithm(AlgorithmName=name)


def test_the_paginator_and_the_tags_know_the_algorithm(server, algorithm):
    sagemaker = server.client("sagemaker")
    name, arn = algorithm

    pages = sagemaker.get_paginator("list_algorithms").paginate(NameContains=name, PaginationConfig={"PageSize": 1})
    assert [s["AlgorithmArn"] for page in pages for s in page["AlgorithmSummaryList"]] == [arn]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
