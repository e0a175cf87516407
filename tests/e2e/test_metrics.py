"""Metrics of a job that really runs, asked for by unmodified clients in every protocol that CloudWatch speaks."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

from each_runtime import EACH_RUNTIME
from server import new_name, wait

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)

NAMESPACE = "/aws/sagemaker/TrainingJobs"
PROGRAM = """
import os, time
for number, loss in enumerate((0.5, 0.25, 1.5)):
    print(f"[{number}]\\ttrain-loss:{loss};", flush=True)
print(os.environ.get("SAGEMAKER_METRICS_DIRECTORY"), os.path.isdir("/opt/ml/output/metrics/sagemaker"))
"""
DEFINITIONS = [
    {"Name": "train:loss", "Regex": r".*#011train-loss:([0-9\\.]+);"},
    {"Name": "never", "Regex": "never=([0-9]+)"},
]


@pytest.fixture(scope="module")
def job(server):
    """The description of a job that has ended."""
    name = new_name("Metrics")
    specification = {
        "MetricDefinitions": DEFINITIONS,
        "EnableSageMakerMetricsTimeSeries": True,
    }
    request = server.job(name, server.bucket(), program=PROGRAM)
    request["AlgorithmSpecification"] |= specification
    server.client("sagemaker").create_training_job(**request)
    described = server.end(name)
    assert described["TrainingJobStatus"] == "Completed", described.get("FailureReason")
    return described


def question(job, **changes):
    """GetMetricStatistics as SDK v2's TrainingJobAnalytics asks it."""
    return {
        "Namespace": NAMESPACE,
        "MetricName": "train:loss",
        "Dimensions": [{"Name": "TrainingJobName", "Value": job["TrainingJobName"]}],
        "StartTime": job["TrainingStartTime"],
        "EndTime": job["TrainingEndTime"] + timedelta(minutes=1),
        "Period": 60,
        "Statistics": ["Average"],
    } | changes


def check(answer):
    """Three values, in one minute or across the turn of one."""
    points = answer["Datapoints"]
    assert sum(each["SampleCount"] for each in points) == 3
    assert sum(each["Sum"] for each in points) == 2.25
    assert (min(each["Minimum"] for each in points), max(each["Maximum"] for each in points)) == (0.25, 1.5)
    assert all(each["Unit"] == "None" and each["Timestamp"].second == 0 for each in points)
    assert all(each["Timestamp"].tzinfo is not None for each in points)


EVERY = {"Statistics": ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]}


def test_statistics_as_sdk_v2_asks_for_them(server, job):
    """JSON, which boto3 prefers; an average for each minute of the job."""
    answer = server.client("cloudwatch").get_metric_statistics(**question(job))
    assert answer["Label"] == "train:loss"
    assert answer["Datapoints"]
    assert all(set(each) == {"Timestamp", "Average", "Unit"} for each in answer["Datapoints"])
    check(server.client("cloudwatch").get_metric_statistics(**question(job, **EVERY)))
    assert server.client("cloudwatch").get_metric_statistics(**question(job, MetricName="never"))["Datapoints"] == []
    assert job["AlgorithmSpecification"]["EnableSageMakerMetricsTimeSeries"] is True
    assert "/opt/ml/output/metrics/sagemaker True" in server.lines(job["TrainingJobName"])


def test_statistics_in_the_query_protocol(server, job, monkeypatch):
    """As boto3 did before it knew another one."""
    real = Loader.load_service_model

    def older(self, service_name, type_name, api_version=None):
        model = real(self, service_name, type_name, api_version)
        if (service_name, type_name) == ("cloudwatch", "service-2"):
            metadata = {**model["metadata"], "protocol": "query", "protocols": ["query"]}
            metadata.pop("awsQueryCompatible")
            return {**model, "metadata": metadata}
        return model

    monkeypatch.setattr(Loader, "load_service_model", older)
    cloudwatch = server.client("cloudwatch")
    assert cloudwatch.meta.service_model.metadata["protocol"] == "query"
    check(cloudwatch.get_metric_statistics(**question(job, **EVERY)))
    with pytest.raises(ClientError) as refused:
        cloudwatch.get_metric_statistics(**question(job, Period=61))
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"
    with pytest.raises(ClientError) as refused:
        cloudwatch.get_metric_statistics(**question(job, Statistics=["Mean"]))
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_statistics_in_cbor(server, job):
    """As the first protocol of the service's model says; botocore writes the request and reads the answer."""
    operation = ServiceModel(Loader().load_service_model("cloudwatch", "service-2"), "cloudwatch").operation_model(
        "GetMetricStatistics"
    )

    def ask(params):
        sent = RpcV2CBORSerializer().serialize_to_request(params, operation)
        request = AWSRequest(
            method="POST", url=server.url + sent["url_path"], data=bytes(sent["body"]), headers=sent["headers"]
        )
        exports = server.environment()
        keys = Credentials(exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"])
        SigV4Auth(keys, "monitoring", exports["AWS_DEFAULT_REGION"]).add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
        assert answer.headers["content-type"] == "application/cbor"
        raw = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
        return RpcV2CBORParser().parse(raw, operation.output_shape)

    check(ask(question(job, **EVERY)))
    error = ask(question(job, Period=61))["Error"]
    assert (error["Code"], "multiple of 60" in error["Message"]) == ("InvalidParameterValue", True)


def test_data_and_lists(server, job):
    """GetMetricData and ListMetrics, through boto3's paginators."""
    cloudwatch = server.client("cloudwatch")
    metric = {"Namespace": NAMESPACE, "MetricName": "train:loss", "Dimensions": question(job)["Dimensions"]}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[{"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}],
        StartTime=job["TrainingStartTime"],
        EndTime=job["TrainingEndTime"] + timedelta(minutes=1),
        PaginationConfig={"PageSize": 1},
    )
    results = [each for page in pages for each in page["MetricDataResults"]]
    assert sum(value for each in results for value in each["Values"]) == 2.25
    assert {each["Id"] for each in results} == {"m1"}
    assert results[-1]["StatusCode"] == "Complete"
    listed = cloudwatch.get_paginator("list_metrics").paginate(Namespace=NAMESPACE, Dimensions=metric["Dimensions"])
    assert [each for page in listed for each in page["Metrics"]] == [metric]
    with pytest.raises(ClientError, match="Clary has neither metric math") as refused:
        cloudwatch.get_metric_data(
            MetricDataQueries=[{"Id": "e1", "Expression": "m1*2"}],
            StartTime=job["TrainingStartTime"],
            EndTime=job["TrainingEndTime"],
        )
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(cloudwatch.exceptions.InvalidParameterCombinationException):
        cloudwatch.get_metric_statistics(**question(job, EndTime=datetime(2040, 1, 1, tzinfo=UTC)))


def test_values_of_a_running_job(server):
    """They are there while it trains."""
    name = new_name()
    definitions = {"MetricDefinitions": [{"Name": "n", "Regex": "n=([0-9]+)"}]}
    program = (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: exit(0))\nprint('n=7', flush=True)\nsignal.pause()\n"
    )
    request = server.job(name, server.bucket(), program=program)
    request["AlgorithmSpecification"] |= definitions
    server.client("sagemaker").create_training_job(**request)
    try:
        cloudwatch = server.client("cloudwatch")
        now = datetime.now(UTC)
        asked = {
            "Namespace": NAMESPACE,
            "MetricName": "n",
            "Dimensions": [{"Name": "TrainingJobName", "Value": name}],
            "StartTime": now - timedelta(minutes=1),
            "EndTime": now + timedelta(minutes=5),
            "Period": 60,
            "Statistics": ["Maximum"],
        }
        found = wait(lambda: cloudwatch.get_metric_statistics(**asked)["Datapoints"], until=bool, why=server.log_text)
        assert [each["Maximum"] for each in found] == [7.0]
        assert (
            server.client("sagemaker").describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress"
        )
    finally:
        server.client("sagemaker").stop_training_job(TrainingJobName=name)
        server.end(name)


def test_batch_metrics(server, job):
    """The service of its own that signs as SageMaker: values put for a job's trial component are read back."""
    metrics = server.client("sagemaker-metrics")
    component = f"{job['TrainingJobName'].lower()}-aws-training-job"
    at = int(time.time())
    answer = metrics.batch_put_metrics(
        TrialComponentName=component,
        MetricData=[
            {"MetricName": "accuracy", "Timestamp": at, "Step": 0, "Value": 0.5},
            {"MetricName": "accuracy", "Timestamp": at, "Step": 1, "Value": 0.75},
        ],
    )
    assert not answer.get("Errors")
    query = {
        "ResourceArn": job["TrainingJobArn"],
        "MetricStat": "Last",
        "XAxisType": "Timestamp",
        "Period": "OneMinute",
    }
    steps = {"XAxisType": "IterationNumber", "Period": "IterationNumber"}
    results = metrics.batch_get_metrics(
        MetricQueries=[
            query | {"MetricName": "accuracy"},
            query | {"MetricName": "accuracy"} | steps,
            query | {"MetricName": "train:loss"},
        ]
    )["MetricQueryResults"]
    assert [each["Status"] for each in results] == ["Complete"] * 3
    assert (results[0]["XAxisValues"], results[0]["MetricValues"]) == ([at - at % 60], [0.75])
    assert (results[1]["XAxisValues"], results[1]["MetricValues"]) == ([0, 1], [0.5, 0.75])
    assert results[2]["MetricValues"][-1] == 1.5
    answer = metrics.batch_put_metrics(
        TrialComponentName="nobody-aws-training-job", MetricData=[{"MetricName": "a", "Timestamp": at, "Value": 1.0}]
    )
    assert answer["Errors"] == [{"Code": "VALIDATION_ERROR", "MetricIndex": 0}]
    unchecked = server.client("sagemaker-metrics", config=Config(parameter_validation=False))
    with pytest.raises(ClientError, match="'metricData'") as refused:
        unchecked.batch_put_metrics(TrialComponentName="x", MetricData=[])
    assert refused.value.response["Error"]["Code"] == "ValidationException"
