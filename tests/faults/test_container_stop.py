"""A training image that does not heed SIGTERM: SIGKILL after the grace, and what it has saved by then is the model.

The instance program with a shorter grace than 120 s and a directory for S3. What SIGTERM does to one that heeds it:
tests/e2e/test_training_job.py.
"""

import io
import os
import signal
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import msgspec
import pytest

import clary
from clary.base.clock import Instant, SystemClock
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import Snapshot, StopReason, StorageGrant, Wishes
from clary.logs.files import FileLogStore
from clary.runtimes import choice
from clary.runtimes.docker.engine import find_engine
from clary.storage.directory import DirectoryStorage
from container_images import client, shell_image
from factories import make_program
from server import wait
from unit.instance.scenes import LOG_GROUP, make_task

pytestmark = pytest.mark.docker

# Saves what it can when it is told to end, and goes on.
STUBBORN = "trap 'echo told; echo late >/opt/ml/model/late' TERM; echo begin; while true; do sleep 0.1; done"

GRACE_S = 8
"""Long enough for the shell to save on a busy machine, too."""


@pytest.fixture
def instance(tmp_path):
    """The files of an instance."""
    task = make_task(
        f"stubborn-{uuid.uuid4().hex[:8]}",  # containers are known by it, on the whole machine
        channels=(),
        container_engine=find_engine("auto", os.environ),
        program=make_program(reference=shell_image()),
        container_entrypoint=("sh", "-c", STUBBORN),
    )
    files = InstanceFiles(tmp_path / task.instance_name)
    files.root.mkdir(mode=0o700)
    files.task.write_bytes(msgspec.json.encode(task))
    keys = {"access_key_id": "A", "secret_access_key": "S", "session_token": "", "expiration": Instant(1 << 50)}
    grant = StorageGrant(access="write", bucket="models", prefix="", **keys)
    files.grants.write_bytes(msgspec.json.encode([grant]))
    yield files
    choice.release(files.program)
    with client() as engine:
        label = {"label": f"clary.directory={files.program}"}
        assert engine.containers(all=True, filters=label) == []


def test_the_grace_ends_with_sigkill_and_keeps_the_model(instance, tmp_path):
    """SIGTERM comes at once, and SIGKILL not before the grace is over."""
    buckets = DirectoryStorage(tmp_path / "s3")
    buckets.create_bucket("models")
    agent = Path(__file__).with_name("instance_agent.py")
    options = ("--directory", instance.root, "--logs", tmp_path / "logs")
    started = subprocess.Popen(
        [sys.executable, agent, tmp_path / "s3", str(GRACE_S), *options],
        env={**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1])},
    )
    try:
        wait(lambda: instance.output.exists() and instance.output.read_bytes(), until=lambda said: said == b"begin\n")
        instance.wishes.write_bytes(msgspec.json.encode(Wishes(stop=StopReason.STOP_TRAINING_JOB)))
        started.send_signal(signal.SIGUSR1)
        assert started.wait(60) == 0
    finally:
        started.kill()
        started.wait()

    end = msgspec.json.decode(instance.snapshot.read_bytes(), type=Snapshot)
    assert (end.stop_reason, end.program_end.exit_code) == (StopReason.STOP_TRAINING_JOB, 137)
    assert end.ended_at - end.stopping_at >= GRACE_S * 1000
    assert end.failure is None
    page = FileLogStore(tmp_path / "logs", SystemClock()).read(LOG_GROUP, end.log_stream, from_head=True)
    assert [event.message for event in page.events] == ["begin", "told"]
    _, _, key = end.s3_model_artifacts.removeprefix("s3://").partition("/")
    with tarfile.open(fileobj=io.BytesIO(bytes(buckets.get("models", key)))) as tar:
        assert [entry.name for entry in tar if entry.isfile()] == ["late"]
