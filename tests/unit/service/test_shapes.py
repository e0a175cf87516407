"""Requests to the domain and jobs to answers. botocore judges the answers."""

import botocore.session
import msgspec
from botocore.parsers import create_parser

from clary.base.clock import Instant
from clary.jobs import transitions
from clary.jobs.failure import program_failure
from clary.jobs.model import MetricData, MetricDefinition, Program
from clary.jobs.status import Event
from clary.service.shapes import to_description, to_request

FULL = {
    "TrainingJobName": "Job-1",
    "HyperParameters": {"epochs": "5"},
    "AlgorithmSpecification": {
        "TrainingImage": "clary/python",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
        "ContainerEntrypoint": ["python3"],
        "ContainerArguments": ["a"],
    },
    "RoleArn": "arn:aws:iam::000000000000:role/r",
    "InputDataConfig": [
        {
            "ChannelName": "train",
            "ContentType": "text/csv",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/p"}},
            "ShuffleConfig": {"Seed": 7},
        }
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "Environment": {"A": "b"},
    "RetryStrategy": {"MaximumRetryAttempts": 2},
    "Tags": [{"Key": "k", "Value": "v"}],
    "DebugHookConfig": {"S3OutputPath": "s3://b/o", "CollectionConfigurations": []},
    "ProfilerConfig": {"DisableProfiler": True},
}


def job(**changes):
    request = to_request(FULL | changes, image_metrics=())
    return transitions.create(
        request, training_job_arn="arn:j", program=Program(image="i"), now=Instant(1_700_000_000_123)
    )


def parsed(answer):
    model = botocore.session.Session().get_service_model("sagemaker").operation_model("DescribeTrainingJob")
    response = {"body": msgspec.json.encode(answer), "headers": {}, "status_code": 200}
    return create_parser("json").parse(response, model.output_shape)


def test_describe_shows_the_request_as_it_came_with_the_service_s_defaults():
    answer = parsed(to_description(job()))

    for name in FULL.keys() - {"Tags", "InputDataConfig", "OutputDataConfig", "AlgorithmSpecification"}:
        assert answer[name] == FULL[name], name
    assert "Tags" not in answer
    [channel] = answer["InputDataConfig"]
    assert channel["CompressionType"] == channel["RecordWrapperType"] == "None"
    assert channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated"
    assert "InputMode" not in channel
    assert answer["OutputDataConfig"] == {"S3OutputPath": "s3://b/o", "KmsKeyId": "", "CompressionType": "GZIP"}
    assert answer["EnableNetworkIsolation"] is False
    assert answer["EnableManagedSpotTraining"] is False
    assert answer["AlgorithmSpecification"]["EnableSageMakerMetricsTimeSeries"] is False


def test_a_job_by_an_algorithm_shows_the_name_as_it_was_given_and_no_image():
    specification = {"AlgorithmName": "a", "TrainingInputMode": "File"}

    answer = parsed(to_description(job(AlgorithmSpecification=specification)))

    assert answer["AlgorithmSpecification"] == specification | {"EnableSageMakerMetricsTimeSeries": False}


def test_the_default_time_limit_is_a_day():
    without = {name: value for name, value in FULL.items() if name != "StoppingCondition"}
    request = to_request(without, image_metrics=())

    assert request.stopping_condition.max_runtime_in_seconds == 86_400


def test_times_travel_as_seconds_to_the_millisecond():
    assert to_description(job())["CreationTime"] == 1_700_000_000.123


def test_a_running_job_shows_nothing_that_it_does_not_have():
    answer = to_description(job())

    absent = {"ModelArtifacts", "FailureReason", "TrainingStartTime", "TrainingEndTime", "FinalMetricDataList"}
    assert not absent & answer.keys()
    assert "EndTime" not in answer["SecondaryStatusTransitions"][-1]


def test_a_failed_job_shows_its_reason_and_both_times():
    failed = transitions.apply(
        job(), Event.FAILED, at=Instant(1_700_000_002_000), reason="x", failure=program_failure("boom", 1)
    )

    answer = to_description(failed)

    assert answer["FailureReason"] == "AlgorithmError: boom, exit code: 1"
    assert answer["TrainingTimeInSeconds"] == answer["BillableTimeInSeconds"] == 1
    last = answer["SecondaryStatusTransitions"][-1]
    assert last["StartTime"] == last["EndTime"] == answer["TrainingEndTime"]


def test_the_time_of_a_final_metric_has_whole_seconds():
    measured = transitions.observe_metrics(
        job(), (MetricData(metric_name="loss", value=0.25, timestamp=Instant(1_700_000_001_999)),)
    )

    assert to_description(measured)["FinalMetricDataList"] == [
        {"MetricName": "loss", "Value": 0.25, "Timestamp": 1_700_000_001}
    ]


def test_the_image_s_own_metrics_come_first_and_the_caller_s_win():
    own = (MetricDefinition(name="loss", regex="no"), MetricDefinition(name="auc", regex="auc=(.*)"))

    request = to_request(FULL, image_metrics=own)

    assert [(d.name, d.regex) for d in request.algorithm_specification.metric_definitions] == [
        ("auc", "auc=(.*)"),
        ("loss", "loss=(.*)"),
    ]
