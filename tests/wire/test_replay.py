"""Every recorded conversation in `golden/`, replayed against a real server: the client gets what it needs.

The same class of status, the same error code, and in answers the members without which some client breaks. What Clary
answers otherwise on purpose stands in the tables below, with the reason.
"""

import contextlib
import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from replay import Replay
from server import TERMINAL, serving

pytestmark = pytest.mark.sandbox

SCENARIOS = sorted(Path(__file__).with_name("golden").glob("*.json"))

PENDING = {}
"""(scenario, number of the exchange) -> what is still to come. The scenario is replayed up to there."""

REFUSED = {
    ("smv2-spot_checkpoint", 3): (
        "ValidationException",
        "EnableManagedSpotTraining",
        "spot capacity and networks of their own are not there yet, and are refused by name",
    ),
}
"""(scenario, number) -> the code, a word of the message, and why. The client would stop there."""

OTHERWISE = {
    "iam:CreateRole": (400, "UnsupportedOperationException", "the recorder's own preparation; Clary keeps no roles"),
    "logs:DescribeLogStreams": (200, None, "the log group is there from the first job on, and never goes away"),
    "iam:GetRole": (200, None, "every role name stands for a role that SageMaker may assume"),
    "s3:HeadObject": (
        200,
        None,
        "the store has a directory for `prefix/`, where S3 has nothing; the next request lists it",
    ),
    "logs:GetLogEvents": (400, "ResourceNotFoundException", "the same, for a stream that is not there"),
}
"""operation -> another status and code than recorded, and why. Clients take either."""

IMAGES = """
[[image]]
image = '123456789012\\.dkr\\.ecr\\.us-east-1\\.amazonaws\\.com/sm-acceptance:latest'
entrypoint = ["/bin/sh", "-c", "echo epoch=1 loss=0.5; mkdir -p /opt/ml/model; echo model > /opt/ml/model/model.txt"]

[[image]]
image = '\\d+\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com/(pytorch-training|sagemaker-scikit-learn):.*'
entrypoint = ["/bin/sh", "-c", "echo epoch=1 loss=0.5; mkdir -p /opt/ml/model; echo model > /opt/ml/model/model.txt"]
"""

# Members of DescribeTrainingJob without which some client breaks.
NEEDED = [
    "TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "ResourceConfig.InstanceCount",
    "ResourceConfig.InstanceType", "ResourceConfig.VolumeSizeInGB", "StoppingCondition.MaxRuntimeInSeconds", "RoleArn",
    "AlgorithmSpecification.TrainingInputMode", "AlgorithmSpecification.TrainingImage", "OutputDataConfig.S3OutputPath",
    "OutputDataConfig.KmsKeyId", "LastModifiedTime", "CreationTime", "EnableManagedSpotTraining", "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
]  # fmt: skip
ECHOED = [
    "TrainingJobName", "HyperParameters", "RoleArn", "ResourceConfig", "StoppingCondition", "Environment", "DebugHookConfig",
    "ProfilerConfig", "RetryStrategy",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    images = tmp_path_factory.mktemp("images") / "images.toml"
    images.write_text(IMAGES)
    settings = {"CLARY_ACCOUNT_ID": "123456789012", "CLARY_IMAGES": str(images), "CLARY_INSTANCES": "20"}
    with serving(CLARY_FAST_FILE="download", **settings) as running:  # whether or not this machine can mount
        yield running


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_recorded_client_gets_what_it_needs(server, path):
    """The whole conversation, in order."""
    created = {}

    def check(exchange):
        where = f"{path.stem} {exchange.n} {exchange.service}:{exchange.operation}: {exchange.answer.body[:600]!r}"
        key = (path.stem, exchange.n)
        if key in PENDING:
            return False
        if key in REFUSED:
            code, word, _ = REFUSED[key]
            assert (exchange.status, exchange.code) == (400, code), where
            assert word.lower() in exchange.answer.body.decode().lower(), where
            return False
        operation = f"{exchange.service}:{exchange.operation}"
        otherwise = OTHERWISE.get(operation)
        if otherwise is not None and (exchange.status, exchange.code) == otherwise[:2]:
            return True
        assert exchange.status // 100 == exchange.wanted_status // 100, where
        if exchange.wanted_code is not None:
            assert exchange.code == exchange.wanted_code, where
        if exchange.operation == "CreateTrainingJob" and exchange.status == 200:
            created[exchange.params["TrainingJobName"]] = exchange.params
        if exchange.status == 200 and exchange.operation in CHECKS:
            CHECKS[exchange.operation](exchange, created)
        return True

    try:
        Replay(server, json.loads(path.read_text())).run(check)
    finally:
        end_jobs(server, created)
        empty_store(server.client("s3"))  # the next client expects no bucket


def end_jobs(server, created):
    """Stop what runs and wait for its end: what is to be uploaded still needs its bucket."""
    sagemaker = server.client("sagemaker")
    for name in created:
        with contextlib.suppress(ClientError):  # it is at its end, or deleted
            sagemaker.stop_training_job(TrainingJobName=name)
        with contextlib.suppress(ClientError):
            server.end(name)


def empty_store(s3):
    for bucket in s3.list_buckets()["Buckets"]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            for found in page.get("Contents", ()):
                s3.delete_object(Bucket=bucket["Name"], Key=found["Key"])
        s3.delete_bucket(Bucket=bucket["Name"])


def test_the_tables_speak_of_what_is_there():
    """No entry outlives its scenario."""
    known = {path.stem for path in SCENARIOS}
    assert {scenario for scenario, _ in [*PENDING, *REFUSED]} <= known


def check_description(exchange, created):
    """What SDK v2, SDK v3 and Airflow read."""
    got, asked = exchange.got, created.get(exchange.got["TrainingJobName"])
    for member in NEEDED:
        value = got
        for name in member.split("."):
            value = value[name]
        assert value is not None, member
    for member in ECHOED:
        if asked is not None and asked.get(member):
            assert got[member] == asked[member], member
    messages = [transition["StatusMessage"] for transition in got["SecondaryStatusTransitions"]]
    assert len(set(messages)) == len(messages)
    assert all({"Status", "StartTime", "StatusMessage"} <= set(each) for each in got["SecondaryStatusTransitions"])
    assert all(type(value) is str for value in got.get("HyperParameters", {}).values())
    assert got.get("ModelArtifacts") != {}
    if exchange.wanted["TrainingJobStatus"] in TERMINAL:
        assert got["TrainingJobStatus"] == exchange.wanted["TrainingJobStatus"], got.get("FailureReason")
        assert got["TrainingEndTime"] >= got["TrainingStartTime"]
    if got["TrainingJobStatus"] == "Failed":
        assert got["FailureReason"]
    if got["TrainingJobStatus"] == "Completed":
        assert got["ModelArtifacts"]["S3ModelArtifacts"].startswith(got["OutputDataConfig"]["S3OutputPath"].rstrip("/"))
        assert "//" not in got["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://")
        wanted = exchange.wanted["ModelArtifacts"]["S3ModelArtifacts"]
        assert got["ModelArtifacts"]["S3ModelArtifacts"].rstrip("/") == wanted  # AWS ends a prefix with a slash
    for channel in got.get("InputDataConfig", ()):
        assert channel["ChannelName"]
        assert channel["DataSource"]


def check_streams(exchange, _):
    """One stream an instance, and no token when there are no more: clients loop on it."""
    assert all(stream["logStreamName"] for stream in exchange.got["logStreams"])
    assert "nextToken" in exchange.got or "nextToken" not in exchange.wanted
    assert exchange.got.get("nextToken", "x")


def check_events(exchange, _):
    """Time, message, and a token to go on with."""
    assert exchange.got["nextForwardToken"]
    assert all({"timestamp", "message"} <= set(event) for event in exchange.got["events"])
    if "nextToken" in exchange.params and not exchange.wanted["events"]:
        assert exchange.got["nextForwardToken"]


def check_filtered(exchange, _):
    """What `aws logs tail` prints and remembers."""
    needed = {"eventId", "timestamp", "ingestionTime", "message", "logStreamName"}
    assert all(needed <= set(event) for event in exchange.got["events"])
    assert bool(exchange.got["events"]) == bool(exchange.wanted["events"])


def check_list(exchange, _):
    """The same jobs in the same order."""
    needed = {"TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus"}
    assert all(needed <= set(summary) for summary in exchange.got["TrainingJobSummaries"])
    assert names(exchange.got) == names(exchange.wanted)
    assert ("NextToken" in exchange.got) == ("NextToken" in exchange.wanted)


def names(answer):
    return [summary["TrainingJobName"] for summary in answer["TrainingJobSummaries"]]


def check_search(exchange, _):
    """The same jobs, where the search names one."""
    found = [result["TrainingJob"]["TrainingJobName"] for result in exchange.got["Results"]]
    if "SearchExpression" in exchange.params:
        assert found == [result["TrainingJob"]["TrainingJobName"] for result in exchange.wanted["Results"]]
    else:
        assert len(found) == len(exchange.wanted["Results"])


def check_tags(exchange, _):
    """The same tags, in any order."""
    assert sorted(map(str, exchange.got["Tags"])) == sorted(map(str, exchange.wanted["Tags"]))


def check_datapoints(exchange, _):
    """A label and points; how many depends on the clock."""
    assert exchange.got["Label"] == exchange.wanted["Label"]
    assert all({"Timestamp", "Average"} <= set(point) for point in exchange.got["Datapoints"])


def check_object(exchange, _):
    """As many bytes as were asked for."""
    wanted = {name.lower(): value for name, value in exchange.recorded["response"]["headers"].items()}
    if "content-range" in wanted:
        assert exchange.answer.headers["content-range"] == wanted["content-range"]
    recorded = exchange.recorded["response"]["body"] or {}
    length = recorded.get("length", len(recorded.get("text", "").encode()))
    assert len(exchange.answer.body) == length
    assert exchange.answer.headers["etag"]


CHECKS = {
    "DescribeTrainingJob": check_description,
    "DescribeLogStreams": check_streams,
    "GetLogEvents": check_events,
    "FilterLogEvents": check_filtered,
    "ListTrainingJobs": check_list,
    "Search": check_search,
    "ListTags": check_tags,
    "AddTags": check_tags,
    "GetMetricStatistics": check_datapoints,
    "GetObject": check_object,
}
