"""Whatever is killed while a training image runs as a container: the same end, the program run once, every line once.

The instance program at each of its points, with a directory for S3; the server, the instance program and the container of
a real `clary serve`. What the engine's own end does: test_engine_crashes.
"""

import contextlib
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

import clary
import clary.runtimes.docker.runtime
from clary.base import faults
from clary.base.clock import SystemClock
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import Phase, ProgramEnd, Snapshot, StorageGrant
from clary.logs.files import FileLogStore
from clary.runtimes import choice
from clary.runtimes.docker.engine import find_engine
from clary.storage.directory import DirectoryStorage
from container_images import client, shell_image
from factories import make_program
from server import new_name, serving, wait
from unit.instance.scenes import LOG_GROUP, make_task

pytestmark = pytest.mark.docker

# Those that an instance without channels and checkpoints passes, in their order.
POINTS = (
    *("instance.prepare", "instance.staged", "container.marked", "container.created", "container.started"),
    *("instance.training", "instance.ended", "instance.uploading", "instance.uploaded", "instance.finished"),
)

QUICK = """
echo x >>/opt/ml/model/starts
n=0
while [ $n -lt 500 ]; do echo "line $n"; n=$((n + 1)); done
echo "no newline at the end\\c"
exit 3
"""
QUICK_LINES = [*(f"line {n}" for n in range(500)), "no newline at the end"]

# Long enough for several crashes, and silent only from line 150 until the test lets it go on.
TALKING = """
echo x >>/opt/ml/model/starts
n=0
while [ $n -lt 150 ]; do echo "line $n"; n=$((n + 1)); sleep 0.02; done
while [ ! -e /opt/ml/go ]; do sleep 0.05; done
while [ $n -lt 200 ]; do echo "line $n"; n=$((n + 1)); sleep 0.02; done
"""
TALKING_LINES = [f"line {n}" for n in range(200)]

# Ends when it is told, but not when it is asked.
PATIENT = """
trap '' TERM
echo x >>/opt/ml/model/starts
echo begin
while [ ! -e /opt/ml/model/go ]; do sleep 0.05; done
"""

numbers = itertools.count()


def one_line(script: str) -> str:
    """The API takes no line breaks in an entrypoint."""
    return script.strip().replace("\n", "; ")


class Instance:
    """One instance whose program is a container, and its agents."""

    def __init__(self, root: Path, script: str) -> None:
        self.root = root
        name = f"container-crash-{os.getpid()}-{next(numbers)}"  # containers are known by it, on the whole machine
        self.task = make_task(
            name,
            channels=(),
            container_engine=find_engine("auto", os.environ),
            program=make_program(reference=shell_image()),
            container_entrypoint=("sh", "-c", one_line(script)),
        )
        self.files = InstanceFiles(root / self.task.instance_name)
        self.files.root.mkdir(mode=0o700)
        self.files.task.write_bytes(msgspec.json.encode(self.task))
        keys = {"access_key_id": "A", "secret_access_key": "S", "session_token": "", "expiration": 1 << 50}
        grant = StorageGrant(access="write", bucket="models", prefix="", **keys)
        self.files.grants.write_bytes(msgspec.json.encode([grant]))
        self.buckets = DirectoryStorage(root / "s3")
        self.buckets.create_bucket("models")

    def run(self, **environment: str) -> int:
        agent = Path(__file__).with_name("instance_agent.py")
        options = ("--directory", self.files.root, "--logs", self.root / "logs")
        done = subprocess.run(
            [sys.executable, agent, self.root / "s3", "120", *options],
            env={**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1]), **environment},
            timeout=120,
        )
        return done.returncode

    def crash(self, point: str) -> None:
        assert self.run(CLARY_FAULT_CRASH=point) == -signal.SIGKILL

    def check(self) -> None:
        """It has come to the end of an undisturbed one."""
        end = msgspec.json.decode(self.files.snapshot.read_bytes(), type=Snapshot)
        said = self.files.agent_log.read_text()
        assert (end.phase, end.failure, end.lost) == (Phase.FINISHED, None, False), said
        assert end.program_end == ProgramEnd(exit_code=3)
        logs = FileLogStore(self.root / "logs", SystemClock())
        page = logs.read(LOG_GROUP, end.log_stream, from_head=True)
        assert [event.message for event in page.events] == QUICK_LINES
        assert (self.files.opt_ml / "model/starts").read_text() == "x\n"
        key = f"out/{self.task.training_job_name}/output/model.tar.gz"
        assert unpacked(bytes(self.buckets.get("models", key))) == {"starts": b"x\n"}


@pytest.fixture
def instance(tmp_path):
    made = Instance(tmp_path, QUICK)
    yield made
    choice.release(made.files.program)
    assert not containers(made.files.root), "its container is gone"


@contextlib.contextmanager
def on_engine(**settings):
    """As `serving`, with the engine: a test that failed leaves no container either."""
    instances = None
    try:
        with serving(CLARY_CONTAINER_ENGINE="auto", **settings) as running:
            instances = running.home / "instances"
            yield running
    finally:
        if instances is not None:
            with contextlib.closing(client()) as engine:
                for container in containers(instances).values():
                    engine.remove_container(container, force=True)
                for network in networks(instances):
                    engine.remove_network(network)


@pytest.fixture(scope="module")
def server():
    """A server with the engine, whose instance programs may be killed."""
    with on_engine() as running:
        yield running


@pytest.fixture
def own_server():
    """A server with the engine that this test may kill, whose instances can be deleted: they are no mounts."""
    with on_engine(CLARY_VOLUMES="off") as running:
        yield running


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}


def containers(below: Path) -> dict[str, str]:
    """The ids of the containers of the instances below a directory, by the directory of each."""
    with contextlib.closing(client()) as engine:
        found = engine.containers(all=True, filters={"label": "clary.directory"})
    labelled = {container["Labels"]["clary.directory"]: container["Id"] for container in found}
    return {where: name for where, name in labelled.items() if Path(where).is_relative_to(below)}


def networks(instances: Path) -> list[str]:
    with contextlib.closing(client()) as engine:
        return [found["Name"] for found in engine.networks(filters={"label": f"clary.directory={instances}"})]


def submit(server, script: str) -> str:
    name = new_name("container")
    request = server.job(name, server.bucket())
    request["AlgorithmSpecification"] |= {
        "TrainingImage": shell_image(),
        "ContainerEntrypoint": ["sh", "-c", one_line(script)],
    }
    server.client("sagemaker").create_training_job(**request)
    server.reach(name, "Training")
    return name


def assert_completed(server, name: str, lines: list[str]) -> None:
    """The program ran once, and no line was lost or repeated."""
    description = server.end(name)
    assert description["TrainingJobStatus"] == "Completed", description
    assert server.lines(name) == lines
    bucket, _, key = description["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    body = server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert unpacked(body)["starts"] == b"x\n"


def files_of(server, name: str) -> InstanceFiles:
    (root,) = (server.home / "instances").glob(f"{name}-*")
    return InstanceFiles(root)


def kill_agent(files: InstanceFiles) -> None:
    """SIGKILL for the instance program, as a crash."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(files.lock.read_text()), signal.SIGKILL)


def test_the_points_are_the_ones_that_are_walked():
    """Before and after each of the engine's acts."""
    assert {point for point in faults.POINTS if point.startswith("container.")} < set(POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_the_instance_program_killed_once(instance, point):
    """At each point there is one program, and its end is that of an undisturbed one."""
    instance.crash(point)
    assert instance.run() == 0

    instance.check()


def test_the_instance_program_killed_at_every_point_in_one_life(instance):
    """One crash after the other, and still the same end."""
    for point in POINTS:
        instance.crash(point)
    assert instance.run() == 0

    instance.check()


def test_a_program_is_listened_to_whatever_becomes_of_the_instance_program(server):
    """What it prints while nobody listens is there too, once."""
    name = submit(server, TALKING)
    files = files_of(server, name)
    for seen in (20, 70, 120):
        wait(lambda: files.output.exists() and files.output.read_text().count("\n"), until=lambda n: n > seen)  # noqa: B023
        kill_agent(files)
    server.let_go(name)

    assert_completed(server, name, TALKING_LINES)


def test_a_container_outlives_the_server(own_server):
    """The server dies while the job is Training; the job ends as if it had not."""
    name = submit(own_server, TALKING)

    own_server.kill()
    own_server.start()
    own_server.let_go(name)

    assert_completed(own_server, name, TALKING_LINES)


def test_a_container_outlives_the_server_and_the_instance_program(own_server):
    """It ends while both are away, and what it left is found."""
    name = submit(own_server, TALKING)
    files = files_of(own_server, name)
    (container,) = containers(files.root).values()

    own_server.kill()
    kill_agent(files)
    own_server.let_go(name)
    with contextlib.closing(client()) as engine:
        assert engine.wait(container, timeout=60)["StatusCode"] == 0
    own_server.start()

    assert_completed(own_server, name, TALKING_LINES)


def test_a_container_that_somebody_removes_ends_its_job(server):
    """`docker rm -f` kills before it removes: either that is seen, or nothing at all, and then no exit code is made up."""
    name = submit(server, PATIENT)
    files = files_of(server, name)
    with contextlib.closing(client()) as engine:
        engine.remove_container(*containers(files.root).values(), force=True)
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Failed"
    assert description["FailureReason"] in {
        "AlgorithmError: , exit code: 137",
        "InternalServerError: The training program was lost.",
    }
    assert server.lines(name) == ["begin"]


def test_what_belongs_to_no_instance_is_removed(own_server):
    """Somebody deletes jobs and instances by hand while the server is down: container and network follow at its start."""
    name = submit(own_server, PATIENT)
    instances = own_server.home / "instances"
    files = files_of(own_server, name)
    own_server.kill()
    kill_agent(files)
    shutil.rmtree(files.root)
    for database in own_server.home.glob("*.db*"):
        database.unlink()
    assert (len(containers(instances)), len(networks(instances))) == (1, 1)
    own_server.start()

    wait(lambda: (containers(instances), networks(instances)), until=lambda left: left == ({}, []))
    assert "orphaned container removed" in own_server.log_text()


def test_an_instance_that_was_deleted_is_made_anew(own_server):
    """Its job goes on with a new program, not with the old one, whose model nobody would find."""
    name = submit(own_server, PATIENT)
    files = files_of(own_server, name)
    (old,) = containers(files.root).values()
    own_server.kill()
    kill_agent(files)
    shutil.rmtree(files.root)
    own_server.start()
    wait((files.opt_ml / "model/starts").exists, until=bool, why=own_server.log_text)
    (new,) = containers(files.root).values()
    (files.opt_ml / "model/go").touch()

    assert new != old
    assert own_server.end(name)["TrainingJobStatus"] == "Completed"
