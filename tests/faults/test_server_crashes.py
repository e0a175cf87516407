"""`kill -9` of the server at every point of a job's life: it reaches the same end, once, when the server is back."""

import io
import tarfile

import pytest

from server import new_name, serving, wait

pytest_plugins = ["server"]

STEPS = ["Starting", "Downloading", "Training", "Uploading", "Completed"]
STOPPED = ["Starting", "Downloading", "Training", "Stopping", "Stopped"]

# Says that it starts and ends, and takes long enough in between for the server to die and come back.
PROGRAM = """
import time
print("begin", flush=True)
time.sleep(1.5)
open("/opt/ml/model/m", "a").write("once")
print("end")
"""

# Ends when the test lets it.
HELD = """
import os, time
print("begin", flush=True)
while not os.path.exists("/opt/ml/go"):
    time.sleep(0.05)
open("/opt/ml/model/m", "a").write("once")
print("end")
"""

# Needs a second and a half to stop.
SLOW_TO_STOP = """
import signal, sys, time
def save(*_):
    time.sleep(1.5)
    open("/opt/ml/model/m", "a").write("once")
    print("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begin", flush=True)
while True:
    time.sleep(1)
"""


def submit(server, name, program):
    bucket = server.bucket()
    server.client("s3").put_object(Bucket=bucket, Key="in/data", Body=b"d" * 1000)
    request = server.job(name, bucket, program=program, channels=[("train", f"s3://{bucket}/in/", {})])
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "ends", "Regex": "(end)"}]
    server.client("sagemaker").create_training_job(**request)


def assert_same_end(server, name, steps):
    description = server.end(name)
    seen = [step["Status"] for step in description["SecondaryStatusTransitions"]]
    assert seen == steps, description
    assert server.lines(name) == ["begin", "end"], "the program ran once and no line was lost or repeated"
    bucket, _, key = description["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    body = server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        assert archive.extractfile("m").read() == b"once"
    instances = server.home / "instances"
    wait(lambda: [e.name for e in instances.iterdir()], until=lambda names: not any(name in n for n in names))


@pytest.mark.parametrize(
    ("status", "held_at"),
    [
        ("Starting", "instance.prepare"),
        ("Downloading", "instance.downloading"),
        ("Uploading", "instance.uploading"),
    ],
)
@pytest.mark.parametrize("goes_on", ["while the server is away", "after the server is back"])
def test_a_job_outlives_the_server_in(tmp_path, status, held_at, goes_on):
    """The instance is held in the status, the server killed there, and the instance let go before or after it is back."""
    held = tmp_path / "held"
    held.touch()
    with serving(CLARY_FAULT_HOLD=f"{held_at}:{held}") as server:
        name = new_name("crash")
        submit(server, name, PROGRAM)
        server.reach(name, status)

        server.kill()
        if goes_on == "while the server is away":
            held.unlink()
        server.start()
        held.unlink(missing_ok=True)

        assert_same_end(server, name, STEPS)


def test_a_job_outlives_the_server_in_training(own_server):
    name = new_name("crash")
    submit(own_server, name, HELD)
    own_server.reach(name, "Training")

    own_server.kill()
    own_server.start()
    own_server.let_go(name)

    assert_same_end(own_server, name, STEPS)


def test_a_job_outlives_the_server_in_stopping(own_server):
    name = new_name("crash")
    submit(own_server, name, SLOW_TO_STOP)
    own_server.reach(name, "Training")
    wait(lambda: own_server.lines(name), until=lambda lines: "begin" in lines)
    own_server.client("sagemaker").stop_training_job(TrainingJobName=name)

    own_server.kill()
    own_server.start()

    assert_same_end(own_server, name, STOPPED)


@pytest.mark.parametrize("point", ["controller.decided", "controller.committed", "controller.acted"])
def test_a_controller_that_dies_between_deciding_and_acting_loses_nothing(point):
    with serving() as server:
        server.stop()
        server.start(CLARY_FAULT_CRASH=point)
        name = new_name("crash")
        submit(server, name, PROGRAM)
        server.process.wait(60)
        server._gone()

        server.start()

        assert_same_end(server, name, STEPS)


def test_an_orderly_stop_of_the_server_leaves_the_job_running(own_server):
    name = new_name("stop")
    submit(own_server, name, HELD)
    own_server.reach(name, "Training")

    assert own_server.stop() == 0
    own_server.start()
    own_server.let_go(name)

    assert_same_end(own_server, name, STEPS)


def test_a_job_outlives_three_crashes(own_server):
    name = new_name("crash")
    submit(own_server, name, PROGRAM)
    for _ in range(3):
        own_server.kill()
        own_server.start()

    assert_same_end(own_server, name, STEPS)
