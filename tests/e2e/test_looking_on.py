"""`clary jobs` and `clary watch` beside a real server, as somebody at a shell uses them."""

import contextlib
import os
import signal
import subprocess
import sys

from server import CLARY, new_name

pytest_plugins = ["server"]

PROGRAM = """
import time
for n in range(3):
    print(f"step {n} loss={1 / (n + 1):.2f}", flush=True)
    time.sleep(0.3)
"""
# What a shell has put into the background ignores Ctrl-C, and so would all that these tests start.
HEARING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
HEARING_CTRL_C = [sys.executable, "-c", HEARING]
METRICS = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]


def clary(home, *arguments, **environment):
    """The command with a shell's environment in which everything points elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    elsewhere = {"AWS_PROFILE": "none", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": "x"}
    elsewhere |= {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "AWS_REGION": "eu-west-1"}
    return subprocess.run(
        [*CLARY, *arguments, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=120,
        env=kept | elsewhere | environment,
    )


def job(server, bucket, program, *, definitions=()):
    name = new_name("looked-at")
    request = server.job(name, bucket, program=program)
    request["AlgorithmSpecification"]["MetricDefinitions"] = [*definitions]
    server.client("sagemaker").create_training_job(**request)
    return name


def test_a_job_is_followed_to_its_end(server):
    """Every status, every line with its host, the metrics and the artifact; then it is in the list."""
    bucket = server.bucket()
    name = job(server, bucket, PROGRAM, definitions=METRICS)
    said = clary(server.home, "watch", name)

    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert [line for line in lines if line.startswith("algo-1 | ")] == [
        "algo-1 | step 0 loss=1.00",
        "algo-1 | step 1 loss=0.50",
        "algo-1 | step 2 loss=0.33",
    ]
    statuses = [line.split()[1] for line in lines if line[2:3] == ":" and line[5:6] == ":"]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    artifact = server.end(name)["ModelArtifacts"]["S3ModelArtifacts"]
    assert lines[-3:] == [f"{name}: Completed", "loss = 0.33", artifact]

    listed = clary(server.home, "jobs", "--status", "Completed").stdout.splitlines()
    assert listed[0].split() == [
        "TrainingJobName",
        "TrainingJobStatus",
        "SecondaryStatus",
        "CreationTime",
        "StatusMessage",
    ]
    assert [name, "Completed", "Completed"] in [line.split()[:3] for line in listed]


def test_a_job_that_fails_ends_it_with_1(server):
    name = job(server, server.bucket(), "raise SystemExit(3)")
    said = clary(server.home, "watch", name)

    assert said.returncode == 1
    assert f"{name}: Failed: AlgorithmError: , exit code: 3" in said.stdout.splitlines()


@contextlib.contextmanager
def ended(process):
    """A process that is gone afterwards, whatever becomes of the test."""
    with process:
        try:
            yield
        finally:
            process.kill()


def test_ctrl_c_ends_the_watching_alone(server):
    """And the list tells how the job is."""
    name = job(
        server,
        server.bucket(),
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit()); print('here', flush=True); time.sleep(600)",
    )
    command = [*HEARING_CTRL_C, *CLARY, "watch", name, "--home", str(server.home)]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with ended(watcher):
        while watcher.stdout.readline() != "algo-1 | here\n":
            assert watcher.poll() is None
        watcher.send_signal(signal.SIGINT)
        watcher.stdout.read()
        watcher.wait()
    assert watcher.returncode == 130
    server.reach(name, "Training")  # a line may be seen before its status
    line = next(line for line in clary(server.home, "jobs").stdout.splitlines() if name in line)
    assert line.split()[1:3] == ["InProgress", "Training"]
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    assert server.end(name)["TrainingJobStatus"] == "Stopped"


def test_what_cannot_be_looked_at_is_told_in_a_line(server, tmp_path):
    """No such job, no such status, no server ever, no server now."""
    said = clary(server.home, "watch", "no-such-job")
    assert (said.returncode, said.stderr) == (1, "clary: Requested resource not found.\n")
    said = clary(server.home, "jobs", "--status", "Nonsense")
    assert said.returncode == 1
    assert "statusEquals" in said.stderr
    said = clary(tmp_path, "jobs")
    assert (said.returncode, said.stderr) == (
        1,
        f"clary: no server has run on {tmp_path} yet; start one with `clary serve`\n",
    )


def test_a_server_that_is_away_is_told(own_server):
    """It is named."""
    url = own_server.url
    own_server.stop()
    said = clary(own_server.home, "jobs")
    assert said.returncode == 1
    assert url in said.stderr
    assert said.stderr.endswith("is `clary serve` running?\n")
