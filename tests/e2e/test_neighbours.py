"""The neighbouring services as clients use them: log filters, sessions, roles; boto3 and the AWS CLI unmodified."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from server import CLARY, ROLE, new_name

pytest_plugins = ["server"]

GROUP = "/aws/sagemaker/TrainingJobs"
PROGRAM = """
import json
for epoch in range(3):
    print(f"epoch={epoch} loss={1 / (epoch + 1):.4f};")
    print(json.dumps({"epoch": epoch, "loss": 1 / (epoch + 1)}))
print("WARN no checkpoint")
"""


@pytest.fixture(scope="module")
def trained(server):
    """The name of a job that has logged and ended."""
    name = new_name()
    server.client("sagemaker").create_training_job(**server.job(name, server.bucket(), program=PROGRAM))
    assert server.end(name)["TrainingJobStatus"] == "Completed"
    return name


@pytest.fixture(scope="module")
def aws(server):
    """Runs `aws …` in a shell that has evaluated `clary env`, and answers what it printed."""
    script = f'eval "$({" ".join(CLARY)} env --home {server.home})"; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, str(Path(sys.executable).with_name("aws"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    def run(*arguments, succeeds=True):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, timeout=120)
        assert (done.returncode == 0) == succeeds, done.stderr
        return done.stdout if succeeds else done.stderr

    return run


def session_client(server, service, credentials, **options):
    """A client that signs with temporary credentials."""
    session = boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name="us-east-1",
    )
    return session.client(service, endpoint_url=server.url, **options)


@pytest.fixture(scope="module")
def assumed(server):
    return server.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="me")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [('"loss="', 3), ("WARN", 1), ("?WARN ?epoch", 7), ("{ $.loss < 0.6 }", 2), ("%loss=0\\.[0-9]+%", 2), ("", 7)],
)
def test_boto3_finds_the_events_that_a_pattern_asks_for(server, trained, pattern, count):
    """Through the paginator, a small page at a time."""
    pages = (
        server.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=GROUP,
            logStreamNamePrefix=f"{trained}/",
            filterPattern=pattern,
            PaginationConfig={"PageSize": 2},
        )
    )
    events = [event for page in pages for event in page["events"]]
    assert len(events) == count
    assert len({event["eventId"] for event in events}) == count
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)


def test_the_aws_cli_filters_and_lists_groups(aws, trained):
    """As recorded of the real client: the pattern is a quoted phrase."""
    arguments = ("--log-group-name", GROUP, "--log-stream-name-prefix", f"{trained}/")
    found = json.loads(aws("logs", "filter-log-events", *arguments, "--filter-pattern", '"loss="'))
    assert [event["message"] for event in found["events"]] == [
        "epoch=0 loss=1.0000;", "epoch=1 loss=0.5000;", "epoch=2 loss=0.3333;",
    ]  # fmt: skip
    assert found["searchedLogStreams"] == []
    groups = json.loads(aws("logs", "describe-log-groups", "--log-group-name-prefix", "/aws/sagemaker"))
    assert [group["logGroupName"] for group in groups["logGroups"]] == [GROUP]
    missing = aws("logs", "filter-log-events", "--log-group-name", "/no/such/group", succeeds=False)
    assert "ResourceNotFoundException" in missing
    refused = aws("logs", "filter-log-events", *arguments, "--filter-pattern", "loss=", succeeds=False)
    assert "InvalidParameterException" in refused
    query = ("--log-group-name", GROUP, "--start-time", "0", "--end-time", "1", "--query-string", "fields @message")
    assert "UnsupportedOperationException" in aws("logs", "start-query", *query, succeeds=False)


def test_an_assumed_role_works_on_every_service(server, assumed, trained):
    """SageMaker, logs, and S3 with large and small bodies; STS knows whom it stands for."""
    credentials = assumed["Credentials"]
    identity = session_client(server, "sts", credentials).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::000000000000:assumed-role/test/me" == assumed["AssumedRoleUser"]["Arn"]
    assert identity["UserId"] == assumed["AssumedRoleUser"]["AssumedRoleId"]
    described = session_client(server, "sagemaker", credentials).describe_training_job(TrainingJobName=trained)
    assert described["TrainingJobStatus"] == "Completed"
    assert session_client(server, "logs", credentials).describe_log_groups()["logGroups"]
    s3, bucket = session_client(server, "s3", credentials), server.bucket()
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"body"


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_url_presigned_with_a_session_works_as_long_as_it(server, assumed, version):
    """The token travels in the query, in both forms of the signature."""
    bucket = server.bucket()
    s3 = session_client(server, "s3", assumed["Credentials"], config=Config(signature_version=version))
    server.client("s3").put_object(Bucket=bucket, Key="key", Body=b"body")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "key"})
    done = subprocess.run(["curl", "-s", url], capture_output=True, timeout=30)
    assert done.stdout == b"body"


def test_a_session_without_its_token_or_with_another_is_nobody(server, assumed):
    """In the words of each protocol."""
    credentials = assumed["Credentials"]
    other = server.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="me")["Credentials"]
    mixed = credentials | {"SessionToken": other["SessionToken"]}
    for service, call, code in (
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("sagemaker", "list_training_jobs", "UnrecognizedClientException"),
        ("s3", "list_buckets", "InvalidToken"),
    ):
        with pytest.raises(ClientError) as refused:
            getattr(session_client(server, service, mixed), call)()
        assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as refused:
        session_client(server, "sagemaker", credentials | {"SessionToken": None}).list_training_jobs()
    assert refused.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_session_outlives_a_restart(own_server):
    credentials = own_server.client("sts").get_session_token()["Credentials"]
    own_server.stop()
    own_server.start()
    identity = session_client(own_server, "sts", credentials).get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/clary"


def test_what_a_session_cannot_be_is_an_error_that_clients_read(server):
    sts = server.client("sts")
    with pytest.raises(ClientError, match="does not support Policy") as refused:
        sts.assume_role(RoleArn=ROLE, RoleSessionName="me", Policy="{}")
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError) as refused:
        sts.assume_role(RoleArn="arn:aws:iam::111111111111:role/other", RoleSessionName="me")
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    with pytest.raises(ClientError) as refused:
        sts.assume_role(RoleArn=ROLE, RoleSessionName="me", DurationSeconds=43_201)
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_the_role_check_of_sdk_v3_passes(server):
    """The calls that a ModelTrainer makes when it is built, and what it reads in the answers."""
    iam = server.client("iam")
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=ROLE, ActionNames=["ecr:GetAuthorizationToken", "s3:PutObject"]
    )
    results = [result for page in pages for result in page["EvaluationResults"]]
    assert {(result["EvalActionName"], result["EvalDecision"]) for result in results} == {
        ("ecr:GetAuthorizationToken", "allowed"), ("s3:PutObject", "allowed"),
    }  # fmt: skip
    role = iam.get_role(RoleName="test")["Role"]
    assert role["Arn"] == ROLE
    assert role["AssumeRolePolicyDocument"]["Statement"][0] == {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.simulate_principal_policy(PolicySourceArn="arn:aws:iam::111111111111:role/x", ActionNames=["s3:PutObject"])
