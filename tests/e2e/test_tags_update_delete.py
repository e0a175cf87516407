"""Tags, UpdateTrainingJob and DeleteTrainingJob of a real server, through unmodified boto3."""

import base64
import contextlib
import json
import sqlite3

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from clary.base.home import Home
from server import new_name, serving, wait

pytest_plugins = ["server"]


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


@pytest.fixture(scope="module")
def ended(server, bucket):
    """The ARN of a job that has ended, for tests that only need one."""
    name = new_name("Ended")
    sagemaker = server.client("sagemaker")
    arn = sagemaker.create_training_job(**server.job(name, bucket, program="print('done')"))["TrainingJobArn"]
    server.end(name)
    return name, arn


def tags(**pairs):
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def refused(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def unreleased(server):
    """How many jobs the controller is not done with, which no operation tells."""
    with contextlib.closing(sqlite3.connect(f"file:{Home(server.home).database}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM training_job WHERE released = 0").fetchone()[0]


NOT_FOUND = ("ValidationException", "Requested resource not found.")

# Ends when it is told to: process 1 of a sandbox does not without a handler.
WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    time.sleep(0.1)
"""


def test_tags_are_added_listed_and_deleted_while_a_job_runs(server, bucket):
    """The calls of the recorded scenario boto3-tags, in its order."""
    name = new_name("tags")
    sagemaker = server.client("sagemaker")
    request = server.job(name, bucket, program=WAITS, Tags=tags(a="1"))
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]

    assert sagemaker.add_tags(ResourceArn=arn, Tags=tags(b="2", c=""))["Tags"] == tags(a="1", b="2", c="")
    server.reach(name, "Training")
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    assert [tag for page in pages for tag in page["Tags"]] == tags(a="1", b="2", c="")
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags(b="2", c="")

    sagemaker.stop_training_job(TrainingJobName=name)
    assert server.end(name)["TrainingJobStatus"] == "Stopped"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags(b="2", c="")


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ("arn:aws:sagemaker:us-east-1:000000000000:training-job/no-such-job", "ValidationException"),
        ("arn:aws:sagemaker:us-east-1:123456789012:training-job/no-such-job", "AccessDeniedException"),
        ("arn:aws:sagemaker:us-east-1:000000000000:endpoint/no-such-endpoint", "ValidationException"),
    ],
)
def test_tags_of_what_is_not_here_are_refused(server, resource, code):
    sagemaker = server.client("sagemaker")

    assert refused(sagemaker.list_tags, ResourceArn=resource)[0] == code
    assert refused(sagemaker.add_tags, ResourceArn=resource, Tags=tags(a="b"))[0] == code
    assert refused(sagemaker.delete_tags, ResourceArn=resource, TagKeys=["a"])[0] == code


def test_a_profiler_configuration_is_updated_while_a_job_runs(server, bucket):
    """As SDK v2 does to turn its profiler off."""
    name = new_name("update")
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(
        **server.job(name, bucket, program=WAITS, ProfilerConfig={"S3OutputPath": f"s3://{bucket}/profile"})
    )
    server.reach(name, "Training")

    answer = sagemaker.update_training_job(TrainingJobName=name, ProfilerConfig={"DisableProfiler": True})

    description = sagemaker.describe_training_job(TrainingJobName=name)
    assert answer["TrainingJobArn"] == description["TrainingJobArn"]
    assert description["ProfilerConfig"] == {"S3OutputPath": f"s3://{bucket}/profile", "DisableProfiler": True}
    assert refused(sagemaker.update_training_job, TrainingJobName=name) == (
        "ValidationException",
        "Invalid UpdateTrainingJobRequest, the request cannot be empty",
    )
    sagemaker.stop_training_job(TrainingJobName=name)
    server.end(name)


def test_a_running_job_is_in_use_and_boto3_has_the_exception_for_it(server, bucket):
    name = new_name("busy")
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**server.job(name, bucket, program=WAITS))
    server.reach(name, "Training")

    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="because the training job is in status InProgress"):
        sagemaker.delete_training_job(TrainingJobName=name)

    sagemaker.stop_training_job(TrainingJobName=name)
    server.end(name)


def test_a_deleted_job_leaves_its_name_its_logs_and_its_model(server, bucket):
    """Deleted at the first sight of its end, and made again at once: the second is a job of its own."""
    name = new_name("again")
    sagemaker = server.client("sagemaker")
    first = server.job(name, bucket, program="print('first'); open('/opt/ml/model/m', 'w').write('1')")
    sagemaker.create_training_job(**first)
    model = server.end(name)["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{bucket}/")

    sagemaker.delete_training_job(TrainingJobName=name)

    assert refused(sagemaker.describe_training_job, TrainingJobName=name) == NOT_FOUND
    assert refused(sagemaker.delete_training_job, TrainingJobName=name) == NOT_FOUND
    assert sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"] == []
    assert server.lines(name) == ["first"]
    assert server.client("s3").head_object(Bucket=bucket, Key=model)["ContentLength"] > 0
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="Matched expected service error code: ValidationException"):
        waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1})

    sagemaker.create_training_job(**server.job(name, bucket, program="print('second'); raise SystemExit(3)"))
    description = server.end(name)
    assert description["FailureReason"] == "AlgorithmError: , exit code: 3"
    assert sorted(server.lines(name)) == ["first", "second"]


def test_a_name_is_used_again_and_again(server, bucket):
    """No job is taken for another of its name, however fast they follow each other."""
    name = new_name("phoenix")
    sagemaker = server.client("sagemaker")
    for n in range(5):
        sagemaker.create_training_job(**server.job(name, bucket, program=f"print('run {n}'); raise SystemExit({n})"))
        description = server.end(name)
        assert description.get("FailureReason", "exit code: 0").endswith(f"exit code: {n}")
        sagemaker.delete_training_job(TrainingJobName=name)
    assert sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"] == []
    assert server.lines(name) == [f"run {n}" for n in range(5)]


def test_a_job_that_was_deleted_stays_deleted_when_the_server_dies():
    """And one that was not is there with its tags: both were durable when they were answered."""
    with serving() as server:
        bucket = server.bucket()
        gone, there = new_name("gone"), new_name("there")
        sagemaker = server.client("sagemaker")
        for name in (gone, there):
            arn = sagemaker.create_training_job(**server.job(name, bucket, program="pass"))["TrainingJobArn"]
            server.end(name)
        sagemaker.add_tags(ResourceArn=arn, Tags=tags(k="v"))
        sagemaker.delete_training_job(TrainingJobName=gone)

        server.kill()
        server.start()

        sagemaker = server.client("sagemaker")
        assert refused(sagemaker.describe_training_job, TrainingJobName=gone) == NOT_FOUND
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags(k="v")
        sagemaker.create_training_job(**server.job(gone, bucket, program="print('again')"))
        assert server.end(gone)["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize("point", ["store.written", "store.committed"])
def test_a_server_that_dies_in_a_delete_has_deleted_the_job_or_not(point):
    """Killed right before or right behind the commit; the caller, who got no answer, asks again and it is gone."""
    with serving() as server:
        bucket = server.bucket()
        name = new_name("torn")
        server.client("sagemaker").create_training_job(**server.job(name, bucket, program="pass"))
        server.end(name)
        wait(lambda: unreleased(server), until=lambda count: count == 0)  # else the crash would hit another write
        server.stop()
        server.start(CLARY_FAULT_CRASH=point)
        no_retries = Config(retries={"total_max_attempts": 1})
        with pytest.raises(Exception, match=r"(?i)connection"):
            server.client("sagemaker", config=no_retries).delete_training_job(TrainingJobName=name)
        server._gone()
        server.start()

        sagemaker = server.client("sagemaker")
        if point == "store.written":
            assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "Completed"
            sagemaker.delete_training_job(TrainingJobName=name)
        assert refused(sagemaker.describe_training_job, TrainingJobName=name) == NOT_FOUND


def test_jobs_are_listed_through_boto3_s_paginator(server, bucket):
    """The calls of the recorded scenario boto3-paginators; jobs that come meanwhile do not shift the pages."""
    sagemaker = server.client("sagemaker")
    group = new_name("pg")
    names = [f"{group}-{n}" for n in range(5)]
    for name in names:
        sagemaker.create_training_job(**server.job(name, bucket, program="pass"))

    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=group, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    seen = []
    for page in pages:
        seen += [summary["TrainingJobName"] for summary in page["TrainingJobSummaries"]]
        if len(seen) == 2:
            late = f"{group}-00"
            sagemaker.create_training_job(**server.job(late, bucket, program="pass"))
    assert seen == names

    newest = sagemaker.list_training_jobs(
        NameContains=group, MaxResults=2, SortBy="CreationTime", SortOrder="Descending"
    )
    assert [summary["TrainingJobName"] for summary in newest["TrainingJobSummaries"]] == [late, names[-1]]
    assert sagemaker.list_training_jobs(NameContains=group, StatusEquals="Failed")["TrainingJobSummaries"] == []
    first = sagemaker.describe_training_job(TrainingJobName=names[0])["CreationTime"]
    since = sagemaker.list_training_jobs(
        NameContains=group, CreationTimeAfter=first.timestamp() - 3600, CreationTimeBefore=first.timestamp() + 3600
    )
    assert len(since["TrainingJobSummaries"]) == 6
    for name in (*names, late):
        server.end(name)


def test_a_tampered_token_is_refused(server, ended):
    sagemaker = server.client("sagemaker")
    name, _ = ended
    for n in range(2):
        sagemaker.add_tags(ResourceArn=ended[1], Tags=tags(n=str(n)))
    token = base64.urlsafe_b64encode(json.dumps({"value": 0, "name": name}).encode()).decode()

    refusal = ("ValidationException", "The NextToken is not valid for this request.")
    assert refused(sagemaker.list_training_jobs, NextToken=token) == refusal
    assert refused(sagemaker.list_tags, ResourceArn=ended[1], NextToken=token) == refusal


def test_an_arn_in_the_letters_of_the_name_finds_the_job_too(server, ended):
    name, arn = ended
    sagemaker = server.client("sagemaker")
    assert arn.endswith(f"training-job/{name.lower()}")

    spelt = arn.replace(name.lower(), name)
    sagemaker.add_tags(ResourceArn=spelt, Tags=tags(spelt="yes"))

    assert {"Key": "spelt", "Value": "yes"} in sagemaker.list_tags(ResourceArn=arn)["Tags"]
