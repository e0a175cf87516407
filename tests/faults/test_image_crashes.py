"""Kill the instance program once the image is there, before that is noted: the job goes on with the same image.

With a real container engine and a registry of our own; S3 is a directory.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import clary
from clary.jobs.failure import FailureKind
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import Phase, ProgramEnd, Snapshot, StorageGrant
from clary.runtimes import choice
from clary.runtimes.docker.engine import find_engine
from clary.storage.directory import DirectoryStorage
from container_images import client, shell_image
from factories import make_program
from image_registry import ImageRegistry
from unit.instance.scenes import make_task

pytestmark = pytest.mark.docker


class Instance:
    """One instance whose program is an image, and its agents."""

    def __init__(self, root: Path, reference: str, **changes) -> None:
        engine = find_engine("auto", os.environ)
        changes.setdefault("program", make_program(reference=reference))
        name = f"image-crash-{os.getpid()}"  # containers are known by it, on the whole machine
        self.task = make_task(name, channels=(), container_engine=engine, **changes)
        self.root = root
        self.files = InstanceFiles(root / self.task.instance_name)
        self.files.root.mkdir(mode=0o700)
        self.files.task.write_bytes(msgspec.json.encode(self.task))
        keys = {"access_key_id": "A", "secret_access_key": "S", "session_token": "", "expiration": 1 << 50}
        grant = StorageGrant(access="write", bucket="models", prefix="", **keys)
        self.files.grants.write_bytes(msgspec.json.encode([grant]))
        DirectoryStorage(root / "s3").create_bucket("models")

    def run(self, **faults: str) -> int:
        agent = Path(__file__).with_name("instance_agent.py")
        options = ("--directory", self.files.root, "--logs", self.root / "logs")
        done = subprocess.run(
            [sys.executable, agent, self.root / "s3", "120", *options],
            env={**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1]), **faults},
            timeout=120,
        )
        return done.returncode

    @property
    def snapshot(self) -> Snapshot:
        return msgspec.json.decode(self.files.snapshot.read_bytes(), type=Snapshot)


@pytest.fixture
def instance(tmp_path):
    """Makes an instance; nothing is left of its program in the end."""
    made = []

    def make(reference, **changes):
        made.append(Instance(tmp_path, reference, **changes))
        return made[-1]

    yield make
    for each in made:
        choice.release(each.files.program)


def test_killed_once_the_image_is_there(instance):
    """The program runs once, in the image, and the report names it."""
    image = shell_image()
    i = instance(image, container_entrypoint=("sh", "-c", "echo x >> /opt/ml/model/starts"))
    assert i.run(CLARY_FAULT_CRASH="image.provided") == -signal.SIGKILL
    assert i.run() == 0

    end = i.snapshot
    assert (end.phase, end.failure, end.program_end) == (Phase.FINISHED, None, ProgramEnd(exit_code=0))
    with contextlib.closing(client()) as engine:
        assert end.image == engine.inspect_image(image)["Id"]
    assert (i.files.opt_ml / "model/starts").read_text() == "x\n"


def test_an_image_that_is_not_to_be_had_fails_the_job(instance):
    """Its name and the cure stand in the reason; nothing is started."""
    with ImageRegistry() as registry:
        i = instance(f"{registry.host}/me/tool:1")
        assert i.run() == 0

    failure = i.snapshot.failure
    assert failure.kind is FailureKind.CLIENT_ERROR
    assert failure.reason.startswith(f"ClientError: The training image '{registry.host}/me/tool:1' cannot be pulled: ")
    assert "Check the spelling" in failure.reason


def test_the_task_names_who_logs_in(instance, tmp_path):
    """The helper runs beside the instance program."""
    helper = tmp_path / "helper"
    helper.write_text("""#!/bin/sh\necho '{"Username": "me", "Secret": "secret"}'\n""")
    helper.chmod(0o755)
    with ImageRegistry(login=("me", "secret")) as registry:
        digest = registry.push("me/tool", layers=(os.urandom(16),))
        reference = f"{registry.host}/me/tool"
        i = instance(reference, program=make_program(reference=reference, credential_helper=(str(helper),)))
        assert i.run() == 0
        with contextlib.closing(client()) as engine:
            engine.remove_image(f"{reference}:latest", force=True)

    end = i.snapshot
    assert end.image == f"{reference}@{digest}"
    assert end.program_end.exit_code  # there is no program in it
