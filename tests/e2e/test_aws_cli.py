"""The AWS CLI, unmodified, with only `clary env` sourced."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server import CLARY, new_name, wait

pytest_plugins = ["server"]

# As process 1 it hears of a SIGTERM only through a handler; without one the stop would take two minutes.
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('from the cli', flush=True)
time.sleep(600)
"""


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


def test_a_job_from_create_to_stop(server, aws, tmp_path):
    bucket, name = new_name("cli"), new_name("cli")
    (tmp_path / "data.csv").write_text("1,2\n")
    aws("s3", "mb", f"s3://{bucket}")
    aws("s3", "cp", str(tmp_path / "data.csv"), f"s3://{bucket}/in/data.csv")
    request = server.job(name, bucket, program=PROGRAM, channels=[("train", f"s3://{bucket}/in/", {})])

    created = json.loads(aws("sagemaker", "create-training-job", "--cli-input-json", json.dumps(request)))
    assert created["TrainingJobArn"].endswith(f"training-job/{name}")
    server.reach(name, "Training")
    described = json.loads(aws("sagemaker", "describe-training-job", "--training-job-name", name))
    assert described["SecondaryStatus"] == "Training"
    wait(lambda: server.lines(name), until=bool)
    aws("sagemaker", "stop-training-job", "--training-job-name", name)
    assert server.end(name)["TrainingJobStatus"] == "Stopped"

    listed = json.loads(aws("sagemaker", "list-training-jobs", "--name-contains", name))
    assert [summary["TrainingJobName"] for summary in listed["TrainingJobSummaries"]] == [name]
    streams = aws(
        "logs",
        "describe-log-streams",
        "--log-group-name",
        "/aws/sagemaker/TrainingJobs",
        "--log-stream-name-prefix",
        f"{name}/",
    )
    assert len(json.loads(streams)["logStreams"]) == 1
    refused = aws("sagemaker", "stop-training-job", "--training-job-name", name, succeeds=False)
    assert "The request was rejected because the training job is in status Stopped." in refused
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", name)


METRICS = "[print(f'loss={1 / n};', flush=True) for n in (1, 2, 4)]"
NAMESPACE = "/aws/sagemaker/TrainingJobs"


def _until_now():
    """The last ten minutes, in two of the forms that people write and the CLI turns into what the protocol wants."""
    now = datetime.now(UTC) + timedelta(seconds=1)
    return "--start-time", (now - timedelta(minutes=10)).isoformat(), "--end-time", f"{now:%Y-%m-%dT%H:%M:%SZ}"


def test_logs_metrics_tags_and_search_of_a_job(server, aws):
    """What a user looks at around a job, in the CLI's own words and time formats."""
    bucket, name = server.bucket(), new_name("cli")
    request = server.job(name, bucket, program=METRICS, Tags=[{"Key": "run", "Value": name}])
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    arn = json.loads(aws("sagemaker", "create-training-job", "--cli-input-json", json.dumps(request)))["TrainingJobArn"]
    server.end(name)

    group = ("--log-group-name", NAMESPACE)
    stream = aws("logs", "describe-log-streams", *group, "--log-stream-name-prefix", f"{name}/", "--query",
                 "logStreams[0].logStreamName", "--output", "text").strip()  # fmt: skip
    lines = json.loads(aws("logs", "get-log-events", *group, "--log-stream-name", stream, "--start-from-head"))
    assert [event["message"] for event in lines["events"]] == ["loss=1.0;", "loss=0.5;", "loss=0.25;"]

    metric = ("--namespace", NAMESPACE, "--metric-name", "loss", "--dimensions", f"Name=TrainingJobName,Value={name}")
    what = ("--period", "3600", "--statistics", "Minimum", "SampleCount")
    points = wait(  # a value that was just logged may be counted a moment later
        lambda: json.loads(aws("cloudwatch", "get-metric-statistics", *metric, *_until_now(), *what))["Datapoints"],
        until=lambda points: sum(point["SampleCount"] for point in points) == 3,
    )
    assert min(point["Minimum"] for point in points) == 0.25
    listed = json.loads(aws("cloudwatch", "list-metrics", *metric))["Metrics"]
    assert [found["MetricName"] for found in listed] == ["loss"]

    tags = json.loads(aws("sagemaker", "list-tags", "--resource-arn", arn))["Tags"]
    assert tags == [{"Key": "run", "Value": name}]
    expression = {"Filters": [{"Name": "Tags.run", "Operator": "Equals", "Value": name}]}
    query = ("--resource", "TrainingJob", "--search-expression", json.dumps(expression))
    found = json.loads(aws("sagemaker", "search", *query))["Results"]
    assert [result["TrainingJob"]["TrainingJobName"] for result in found] == [name]

    missing = aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", f"{name}-none",
                  succeeds=False)  # fmt: skip
    assert "Matched expected service error code: ValidationException" in missing
