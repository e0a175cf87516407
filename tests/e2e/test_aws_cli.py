"""The AWS CLI, unmodified, with only `clary env` sourced."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server import CLARY, new_name

pytest_plugins = ["server"]

PROGRAM = "import time; print('from the cli', flush=True); time.sleep(600)"


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
