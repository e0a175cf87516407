"""Kill the instance program while it keeps checkpoints, at each of its points: S3 ends as the directory does.

With the real sandbox; S3 is a directory.
"""

import contextlib
import signal

import pytest

import clary.storage.mirror  # noqa: F401 - declares its points
from clary.base import faults
from clary.jobs.task import Phase, ProgramEnd, StopReason
from clary.runtimes.process import ProcessRuntime
from clary.storage.port import NoSuchKey
from faults.test_instance_crashes import Job

pytestmark = pytest.mark.sandbox

POINTS = sorted(point for point in faults.POINTS if point.startswith("mirror."))

# Keeps the newest two of its checkpoints, each written under another name first, until it is told to stop; then one more.
PROGRAM = """
import os, pathlib, signal, sys, time
place = pathlib.Path("/opt/ml/checkpoints")
def save(name):
    half = place / f"{name}.sagemaker-ignore"
    half.write_text(name)
    half.rename(place / name)
def stop(*_):
    save("last")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(place / "old").unlink()
n = 0
while True:
    save(f"step-{n}")
    if n > 1:
        (place / f"step-{n - 2}").unlink()
    n += 1
    print("saved", n, flush=True)
    time.sleep(0.7)
"""


@pytest.fixture
def job(tmp_path):
    """One instance of that program."""
    made = Job(tmp_path, PROGRAM)
    yield made
    ProcessRuntime().kill(made.files.program)


def checkpoints(job):
    """What is in S3, by path."""
    found = {}
    for info in job.buckets.list_objects("models", "ckpt/"):
        with contextlib.suppress(NoSuchKey):  # it was just being deleted
            found[info.key.removeprefix("ckpt/")] = bytes(job.buckets.get("models", info.key))
    return found


def local(job):
    """What the program has left, by path, but for a file that it was just writing."""
    files = (job.files.opt_ml / "checkpoints").iterdir()
    return {path.name: path.read_bytes() for path in files if path.suffix != ".sagemaker-ignore"}


def check(job):
    """The end of a job that was stopped."""
    end = job.snapshot
    assert (end.phase, end.failure, end.stop_reason) == (Phase.FINISHED, None, StopReason.STOP_TRAINING_JOB)
    assert end.program_end == ProgramEnd(exit_code=0)
    assert checkpoints(job) == local(job)
    assert {"kept", "last"} < set(local(job))
    assert "old" not in local(job)
    assert job.buckets.uploads("models") == 0


def stop(job, agent):
    """Tell an instance program that has begun to listen, and wait for its end."""
    job.until(lambda: job.files.lock.read_text() == f"{agent.pid}\n")
    job.wish(agent, stop=StopReason.STOP_TRAINING_JOB)
    assert agent.wait(timeout=30) == 0


def test_all_points_are_walked():
    assert POINTS == ["mirror.deleted", "mirror.noted", "mirror.uploaded"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_again_and_again_while_the_program_runs(job, point):
    """Each new one knows what is there, and nothing is left that nobody would delete."""
    for _ in range(3):
        job.crash(point)
    agent = job.start()
    job.until(lambda: "old" not in checkpoints(job) and any(name.startswith("step") for name in checkpoints(job)))
    stop(job, agent)

    check(job)


@pytest.mark.parametrize("point", [*POINTS, "instance.synced"])
def test_killed_after_the_program_has_ended(job, point):
    """What it saved in the stop window is there all the same."""
    agent = job.start()
    job.said("saved 1\n")
    agent.send_signal(signal.SIGKILL)
    agent.wait(timeout=30)
    job.wish(stop=StopReason.STOP_TRAINING_JOB)
    job.crash(point)
    assert job.run() == 0

    check(job)


def test_a_lost_record_is_made_anew(job):
    """From what is in S3; an object whose file went meanwhile may be another host's, and stays."""
    job.crash("mirror.deleted")
    job.files.synced.unlink()
    agent = job.start()
    job.until(lambda: any(name.startswith("step") for name in checkpoints(job)))
    stop(job, agent)

    assert job.snapshot.failure is None
    assert local(job).items() <= checkpoints(job).items()
