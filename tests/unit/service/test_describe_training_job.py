"""DescribeTrainingJob, row by row: what the service fills in, what is there when, and what clients cannot do without."""

import itertools
from datetime import UTC, datetime

import msgspec
import pytest

from clary.base.clock import Instant
from clary.jobs import transitions
from clary.jobs.failure import internal_error, program_failure
from clary.jobs.model import MetricData
from clary.jobs.status import TERMINAL, Event
from clary.service.search import to_record
from factories import NOW, STEPS, arn, make_job
from sagemaker_api import BOTOCORE, ROLE_ARN, SageMaker, create_request, refusal

ENDED = sorted(TERMINAL)
AT_WORK = [status for status in STEPS if status not in TERMINAL]
S3_SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/p"}}
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


@pytest.fixture
def sagemaker():
    return SageMaker()


def created(sagemaker, **changes):
    """The description of a job that was just created."""
    sagemaker("CreateTrainingJob", **create_request("Job", **changes))
    return sagemaker("DescribeTrainingJob", TrainingJobName="Job")


def described(sagemaker, job):
    sagemaker.keep(job)
    return sagemaker("DescribeTrainingJob", TrainingJobName=job.training_job_name)


def moment(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


# --- what the service fills in


def test_the_least_request_is_shown_with_these_members(sagemaker):
    """And no others."""
    description = created(sagemaker)

    assert description == create_request("Job") | {
        "TrainingJobArn": arn("Job"),
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "CreationTime": moment(NOW),
        "LastModifiedTime": moment(NOW),
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": moment(NOW), "StatusMessage": "Starting the training job"}
        ],
        "AlgorithmSpecification": {
            "TrainingImage": "clary/python",
            "TrainingInputMode": "File",
            "EnableSageMakerMetricsTimeSeries": False,
        },
        "OutputDataConfig": {"S3OutputPath": "s3://models/out", "KmsKeyId": "", "CompressionType": "GZIP"},
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "EnableManagedSpotTraining": False,
    }


def test_a_channel_gets_its_defaults_and_nothing_else(sagemaker):
    """ContentType, InputMode and ShuffleConfig stay absent."""
    [channel] = created(sagemaker, InputDataConfig=[{"ChannelName": "train", "DataSource": S3_SOURCE}])[
        "InputDataConfig"
    ]

    assert channel == {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": S3_SOURCE["S3DataSource"] | {"S3DataDistributionType": "FullyReplicated"}},
        "CompressionType": "None",
        "RecordWrapperType": "None",
    }


def test_what_was_sent_is_not_overwritten_by_a_default(sagemaker):
    source = {"S3DataSource": S3_SOURCE["S3DataSource"] | {"S3DataDistributionType": "ShardedByS3Key"}}
    sent = {
        "ChannelName": "train",
        "DataSource": source,
        "ContentType": "text/csv",
        "CompressionType": "None",
        "RecordWrapperType": "None",
        "InputMode": "File",
        "ShuffleConfig": {"Seed": 9},
    }

    assert created(sagemaker, InputDataConfig=[sent])["InputDataConfig"] == [sent]


@pytest.mark.parametrize("condition", [None, {}])
def test_a_job_may_run_for_a_day_when_nothing_is_said(sagemaker, condition):
    request = create_request("job") | {"StoppingCondition": condition}
    sagemaker("CreateTrainingJob", **request)

    description = sagemaker("DescribeTrainingJob", TrainingJobName="job")
    assert description["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}


def test_resource_config_shows_the_three_members_alone(sagemaker):
    assert created(sagemaker)["ResourceConfig"].keys() == {"InstanceType", "InstanceCount", "VolumeSizeInGB"}


def test_a_volume_that_was_not_asked_for_is_shown_as_none(sagemaker):
    """A type with an instance store needs none; clients index the member all the same."""
    config = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}
    assert created(sagemaker, ResourceConfig=config)["ResourceConfig"] == config | {"VolumeSizeInGB": 0}
    job = sagemaker.run(sagemaker.store.get("Job"))
    assert to_record(job)["ResourceConfig"]["VolumeSizeInGB"] == 0


def test_a_built_in_image_shows_its_own_metrics_and_a_custom_one_what_was_sent(sagemaker):
    specification = {"TrainingImage": XGBOOST, "TrainingInputMode": "File"}
    shown = created(sagemaker, AlgorithmSpecification=specification)["AlgorithmSpecification"]["MetricDefinitions"]
    assert {"train:rmse", "validation:rmse"} <= {definition["Name"] for definition in shown}
    assert all(definition["Regex"] for definition in shown)

    sent = [{"Name": "loss", "Regex": "loss=(.*)"}]
    specification = {"TrainingImage": "clary/python", "TrainingInputMode": "File", "MetricDefinitions": sent}
    sagemaker("CreateTrainingJob", **create_request("other", AlgorithmSpecification=specification))
    shown = sagemaker("DescribeTrainingJob", TrainingJobName="other")["AlgorithmSpecification"]["MetricDefinitions"]
    assert shown == sent


# --- everything from the request, except tags


def test_every_part_of_the_request_comes_back(sagemaker):
    sent = {
        "HyperParameters": {"epochs": "3", "lr": "0.1"},
        "Environment": {"A": "b"},
        "RetryStrategy": {"MaximumRetryAttempts": 2},
        "DebugHookConfig": {"S3OutputPath": "s3://b/", "CollectionConfigurations": []},
        "ProfilerConfig": {"DisableProfiler": True},
        "RemoteDebugConfig": {"EnableRemoteDebug": False},
        "InfraCheckConfig": {"EnableInfraCheck": False},
        "EnableNetworkIsolation": True,
    }

    description = created(sagemaker, Tags=[{"Key": "k", "Value": "v"}], **sent)

    assert {name: description[name] for name in sent} == sent
    assert "Tags" not in description


def test_hyper_parameters_are_texts(sagemaker):
    """SDK v3 refuses a description in which they are not; a caller who sends a number is told."""
    assert refusal(sagemaker, "CreateTrainingJob", **create_request(HyperParameters={"epochs": 3}))[0] == (
        "SerializationException"
    )


# --- the ARN


def test_the_arn_has_the_name_in_lower_case_and_the_name_keeps_its_own(sagemaker):
    answer = sagemaker("CreateTrainingJob", **create_request("Task1-2020-10-04-x6UX"))

    assert answer == {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:000000000000:training-job/task1-2020-10-04-x6ux"}
    description = sagemaker("DescribeTrainingJob", TrainingJobName="Task1-2020-10-04-x6UX")
    assert description["TrainingJobArn"] == answer["TrainingJobArn"]
    assert description["TrainingJobName"] == "Task1-2020-10-04-x6UX"


def test_a_name_in_other_letters_is_taken_and_the_refusal_names_the_job(sagemaker):
    sagemaker("CreateTrainingJob", **create_request("Job"))

    code, message = refusal(sagemaker, "CreateTrainingJob", **create_request("JOB"))

    assert code == "ResourceInUse"
    assert message == (
        "Training job names must be unique within an AWS account and region, and a training job with this name already "
        "exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/job)"
    )


def test_a_job_is_described_as_soon_as_create_has_answered(sagemaker):
    """SDK v3 asks at once."""
    assert created(sagemaker)["TrainingJobStatus"] == "InProgress"
    assert sagemaker.submitted == ["Job"]


@pytest.mark.parametrize("name", ["nope", "job"])
def test_a_job_that_is_not_there_is_a_validation_exception(sagemaker, name):
    """Not ResourceNotFound, which the model names: waiters and Airflow branch on it. Letter case counts here."""
    sagemaker.keep(make_job("Job"))

    assert refusal(sagemaker, "DescribeTrainingJob", TrainingJobName=name) == (
        "ValidationException",
        "Requested resource not found.",
    )


# --- what is there when


@pytest.mark.parametrize("status", STEPS)
def test_both_statuses_are_there_and_belong_together(sagemaker, status):
    description = described(sagemaker, make_job("job", status=status))

    assert description["SecondaryStatus"] == status
    primary = BOTOCORE.shape_for("TrainingJobStatus").enum
    assert description["TrainingJobStatus"] in primary
    expected = {"MaxRuntimeExceeded": "Stopped"}.get(status, status if status in primary else "InProgress")
    assert description["TrainingJobStatus"] == expected


@pytest.mark.parametrize("status", STEPS)
def test_only_a_failed_job_has_a_failure_reason(sagemaker, status):
    description = described(sagemaker, make_job("job", status=status))

    assert ("FailureReason" in description) == (status == "Failed")


def test_a_failure_reason_has_1024_characters_at_most(sagemaker):
    failure = program_failure("Ü" * 5000, 1)

    reason = described(sagemaker, make_job("job", status="Failed", failure=failure))["FailureReason"]

    assert len(reason) <= 1024
    assert reason.startswith("AlgorithmError: Ü")
    assert reason.endswith(", exit code: 1")


@pytest.mark.parametrize("status", AT_WORK)
def test_a_job_at_work_has_no_end(sagemaker, status):
    description = described(sagemaker, make_job("job", status=status))

    absent = {"TrainingEndTime", "TrainingTimeInSeconds", "BillableTimeInSeconds", "ModelArtifacts", "WarmPoolStatus"}
    assert not absent & description.keys()
    assert ("TrainingStartTime" in description) == (status != "Starting")


@pytest.mark.parametrize("status", ENDED)
def test_an_ended_job_has_both_times_and_its_seconds(sagemaker, status):
    """Airflow and SDK v2 index them without asking."""
    job = make_job("job", status=status)
    description = described(sagemaker, job)

    assert description["TrainingStartTime"] == moment(job.training_start_time)
    assert description["TrainingEndTime"] == moment(job.training_end_time)
    assert description["TrainingTimeInSeconds"] == (job.training_end_time - job.training_start_time) // 1000 or 1
    assert description["BillableTimeInSeconds"] == description["TrainingTimeInSeconds"]


@pytest.mark.parametrize("event", [Event.FAILED, Event.STOP])
def test_a_job_that_ended_before_its_instances_started_has_both_times_too(sagemaker, event):
    """And one second, by which SDK v2 may divide."""
    at = Instant(NOW + 500)
    if event is Event.FAILED:
        job = transitions.apply(make_job("job"), event, at=at, reason="r", failure=internal_error())
    else:
        stopping = transitions.apply(make_job("job"), event, at=at, reason="r")
        job = transitions.apply(stopping, Event.STOPPED, at=at, reason="r")

    description = described(sagemaker, job)

    assert description["TrainingStartTime"] == description["TrainingEndTime"] == moment(at)
    assert description["TrainingTimeInSeconds"] == description["BillableTimeInSeconds"] == 1


@pytest.mark.parametrize("milliseconds", [1, 999, 1000, 125_000, 125_400])
def test_training_time_is_in_whole_seconds_and_at_least_one(sagemaker, milliseconds):
    job = make_job("job", status="Completed")
    ended = msgspec.structs.replace(job, training_end_time=Instant(job.training_start_time + milliseconds))

    assert described(sagemaker, ended)["TrainingTimeInSeconds"] == max(1, milliseconds // 1000)


def test_artifacts_are_there_once_they_are_uploaded(sagemaker):
    uri = "s3://models/out/job/output/model.tar.gz"
    description = described(sagemaker, make_job("job", status="Completed", s3_model_artifacts=uri))

    assert description["ModelArtifacts"] == {"S3ModelArtifacts": uri}


def test_final_metrics_are_there_once_metrics_were_seen(sagemaker):
    metric = MetricData(metric_name="loss", value=0.25, timestamp=Instant(NOW + 1999))
    description = described(sagemaker, make_job("job", status="Training", final_metric_data_list=(metric,)))

    assert description["FinalMetricDataList"] == [
        {"MetricName": "loss", "Value": 0.25, "Timestamp": moment(NOW + 1000)}
    ]


# --- the transitions


@pytest.mark.parametrize("status", STEPS)
def test_transitions_are_chained_to_the_millisecond(sagemaker, status):
    """The first begins with the job, each where the one before it ends; the last of an ended job ends as it begins."""
    description = described(sagemaker, make_job("job", status=status, at=NOW + 123))
    steps = description["SecondaryStatusTransitions"]

    assert steps[0]["StartTime"] == description["CreationTime"] == moment(NOW + 123)
    assert [step["EndTime"] for step in steps[:-1]] == [step["StartTime"] for step in steps[1:]]
    assert steps[-1]["Status"] == description["SecondaryStatus"]
    if status in TERMINAL:
        assert steps[-1]["EndTime"] == steps[-1]["StartTime"] == description["TrainingEndTime"]
    else:
        assert "EndTime" not in steps[-1]
    assert description["LastModifiedTime"] >= steps[-1]["StartTime"]


@pytest.mark.parametrize("status", STEPS)
def test_every_transition_has_a_message_of_its_own(sagemaker, status):
    """SDK v2 and Airflow see progress by comparing the last two, and index the member without asking."""
    steps = described(sagemaker, make_job("job", status=status))["SecondaryStatusTransitions"]

    messages = [step["StatusMessage"] for step in steps]
    assert all(messages)
    assert all(one != two for one, two in itertools.pairwise(messages))


def test_training_starts_when_starting_ends(sagemaker):
    description = described(sagemaker, make_job("job", status="Completed"))
    starting, downloading, *_ = description["SecondaryStatusTransitions"]

    assert description["TrainingStartTime"] == starting["EndTime"] == downloading["StartTime"]


# --- what clients cannot do without


@pytest.mark.parametrize("status", STEPS)
def test_what_clients_index_is_always_there(sagemaker, status):
    """Each of these breaks SDK v2, SDK v3 or Airflow when it is missing or null."""
    description = described(sagemaker, make_job("Job", status=status))

    assert description["TrainingJobName"] == "Job"
    assert description["TrainingJobArn"] == arn("Job")
    assert description["TrainingJobStatus"]
    assert description["RoleArn"] == ROLE_ARN
    assert description["ResourceConfig"] == {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}
    assert description["StoppingCondition"]["MaxRuntimeInSeconds"] == 3600
    assert description["AlgorithmSpecification"]["TrainingInputMode"] == "File"
    assert description["AlgorithmSpecification"]["TrainingImage"] == "clary/python"
    assert description["OutputDataConfig"]["S3OutputPath"] == "s3://models/out"
    assert description["OutputDataConfig"]["KmsKeyId"] == ""
    assert description["LastModifiedTime"]
    assert description["InputDataConfig"][0]["ChannelName"] == "train"
    assert description["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://data/train/"
    assert description["HyperParameters"] == {"epochs": "3"}
    for step in description["SecondaryStatusTransitions"]:
        assert step.keys() >= {"Status", "StatusMessage", "StartTime"}
    if status in TERMINAL:
        assert description["TrainingStartTime"]
        assert description["TrainingEndTime"]
        assert description["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}
    if status == "Failed":
        assert description["FailureReason"]


@pytest.mark.parametrize("status", AT_WORK)
def test_model_artifacts_are_left_out_rather_than_empty(sagemaker, status):
    """SDK v3 breaks on an empty object; SDK v2 indexes it for completed jobs alone."""
    assert "ModelArtifacts" not in described(sagemaker, make_job("job", status=status))


def test_a_description_is_read_whole_by_botocore_and_has_no_null(sagemaker):
    """`SageMaker` holds every answer against the model; here of a job that has everything."""
    job = make_job(
        "job",
        status="Failed",
        failure=program_failure("boom", 1),
        s3_model_artifacts="s3://b/m",
        final_metric_data_list=(MetricData(metric_name="m", value=1.0, timestamp=Instant(NOW)),),
    )

    assert described(sagemaker, job)["FailureReason"] == "AlgorithmError: boom, exit code: 1"
