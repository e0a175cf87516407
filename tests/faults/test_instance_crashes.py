"""Kill the instance program at each of its points in turn, start it again: the job ends as if nothing had happened.

With the real sandbox and a real log store; S3 is a directory. What happens to the training program itself is the
runtime's own suite.
"""

import os
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

import clary
import clary.instance.lifecycle
from clary.base import faults
from clary.base.clock import Instant, SystemClock
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import CheckpointConfig, MetricDefinition
from clary.jobs.task import Phase, ProgramEnd, Snapshot, StopReason, StorageGrant, Wishes
from clary.logs.files import FileLogStore
from clary.logs.metric_files import FileMetricSeries
from clary.logs.metric_series import TRAINING_JOBS, Metric, merged
from clary.runtimes.process import ProcessRuntime
from clary.runtimes.python_paths import python_environment_paths
from clary.storage.directory import DirectoryStorage
from factories import make_channel, make_program
from unit.instance.scenes import LOG_GROUP, make_task

pytestmark = pytest.mark.sandbox

POINTS = sorted(point for point in faults.POINTS if point.startswith("instance."))

QUICK = """
import os, pathlib
open("/opt/ml/model/starts", "a").write("x")
print(open("/opt/ml/input/data/train/a.csv").read(), end="")
for n in range(2000):
    print(f"line {n} loss={n / 8}", flush=n % 100 == 0)
pathlib.Path("/opt/ml/output/data/eval").write_text("good")
pathlib.Path("/opt/ml/checkpoints/old").unlink()
pathlib.Path("/opt/ml/checkpoints/new").write_text("x")
print("no newline at the end", end="")
"""

PATIENT = """
import pathlib, signal, sys, time
def stop(*_):
    print("stopped", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
open("/opt/ml/model/starts", "a").write("x")
print("started", flush=True)
while True:
    time.sleep(0.01)
"""


class Job:
    """One instance, its agents, and what they leave behind."""

    def __init__(self, root: Path, script: str, **changes) -> None:
        self.root = root
        program = make_program(
            entrypoint=(f"{sys.prefix}/bin/python", "-I", "-c"),
            read_only_paths=tuple(python_environment_paths(Path(sys.prefix))),
        )
        self.task = make_task(
            channels=(make_channel("train"), make_channel("test")),
            program=program,
            container_arguments=(script,),
            checkpoint_config=CheckpointConfig(s3_uri="s3://models/ckpt"),
            metric_definitions=(MetricDefinition(name="loss", regex="loss=([0-9.]+)"),),
            **changes,
        )
        self.files = InstanceFiles(root / self.task.instance_name)
        self.files.root.mkdir(mode=0o700)
        self.files.task.write_bytes(msgspec.json.encode(self.task))
        keys = {"access_key_id": "A", "secret_access_key": "S", "session_token": "", "expiration": Instant(1 << 50)}
        grants = [
            StorageGrant(access="read", bucket="data", prefix="", **keys),
            StorageGrant(access="write", bucket="models", prefix="", **keys),
            StorageGrant(access="sync", bucket="models", prefix="ckpt/", **keys),
        ]
        self.files.grants.write_bytes(msgspec.json.encode(grants))
        self.buckets = DirectoryStorage(root / "s3")
        for bucket in ("data", "models"):
            self.buckets.create_bucket(bucket)
        self.buckets.put("data", "train/a.csv", b"1,2\n")
        self.buckets.put("models", "ckpt/old", b"x")
        self.buckets.put("models", "ckpt/kept", b"x")
        self.buckets.put("data", "test/b/c.csv", b"3\n")
        self.logs = FileLogStore(root / "logs", SystemClock())

    def start(self, *, grace_s: float = 120.0, **faults: str) -> subprocess.Popen:
        agent = Path(__file__).with_name("instance_agent.py")
        options = ("--directory", self.files.root, "--logs", self.root / "logs")
        return subprocess.Popen(
            [sys.executable, agent, self.root / "s3", str(grace_s), *options],
            env={**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1]), **faults},
        )

    def run(self, **start) -> int:
        return self.start(**start).wait(timeout=60)

    def crash(self, point: str, **start) -> None:
        assert self.run(CLARY_FAULT_CRASH=point, **start) == -signal.SIGKILL

    def wish(self, agent: subprocess.Popen | None = None, **wishes) -> None:
        self.files.wishes.write_bytes(msgspec.json.encode(Wishes(**wishes)))
        if agent is not None:
            agent.send_signal(signal.SIGUSR1)

    @property
    def snapshot(self) -> Snapshot:
        return msgspec.json.decode(self.files.snapshot.read_bytes(), type=Snapshot)

    def lines(self) -> list[str]:
        streams = self.logs.streams(LOG_GROUP, prefix="job/").streams
        assert [stream.name for stream in streams] == [self.snapshot.log_stream]
        page = self.logs.read(LOG_GROUP, self.snapshot.log_stream, from_head=True)
        assert len(page.events) < 10_000
        return [event.message for event in page.events]

    def artifact(self, name: str) -> dict[str, bytes]:
        with tarfile.open(fileobj=BytesIO(bytes(self.buckets.get("models", f"out/job/output/{name}")))) as tar:
            return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}

    def said(self, text: str) -> None:
        """Wait until the program has printed it."""
        self.until(lambda: self.files.output.exists() and text in self.files.output.read_text())

    def until(self, condition) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.files.agent_log.read_text()
            time.sleep(0.005)  # another process works; there is nothing to wait on


@pytest.fixture
def job(tmp_path):
    jobs = []

    def make(script, **changes):
        jobs.append(Job(tmp_path, script, **changes))
        return jobs[-1]

    yield make
    for each in jobs:
        ProcessRuntime().kill(each.files.program)


def check_quick(job: Job) -> None:
    end = job.snapshot
    assert (end.phase, end.failure, end.lost) == (Phase.FINISHED, None, False), job.files.agent_log.read_text()
    assert end.program_end == ProgramEnd(exit_code=0)
    assert job.lines() == ["1,2", *(f"line {n} loss={n / 8}" for n in range(2000)), "no newline at the end"]
    assert job.artifact("model.tar.gz") == {"starts": b"x"}
    assert job.artifact("output.tar.gz") == {"eval": b"good"}
    assert job.buckets.uploads("models") == 0
    assert [info.key for info in job.buckets.list_objects("models", "ckpt/")] == ["ckpt/kept", "ckpt/new"]
    assert end.s3_model_artifacts == "s3://models/out/job/output/model.tar.gz"
    assert [(metric.metric_name, metric.value) for metric in end.metrics] == [("loss", 1999 / 8)]
    loss = Metric(namespace=TRAINING_JOBS, name="loss", dimensions=(("TrainingJobName", "job"),))
    whole = merged(FileMetricSeries(job.root / "logs").points("job", loss, start=0, end=1 << 40))
    assert (whole.count, whole.total, whole.last) == (2000, sum(n / 8 for n in range(2000)), 1999 / 8)
    assert end.ready_at <= end.staged_at <= end.ended_at <= end.finished_at


def test_the_points_are_the_ones_that_are_walked():
    """Each step has its point."""
    before = ["prepare", "downloading", "staged", "restored", "standing_by", "training", "stopping", "ended"]
    after = ["synced", "uploading", "uploaded", "finished"]
    assert sorted(f"instance.{name}" for name in before + after) == POINTS


def test_an_undisturbed_job(job):
    """What the others are compared with."""
    j = job(QUICK)

    assert j.run() == 0
    check_quick(j)


@pytest.mark.parametrize("point", ["logs.series.written", "logs.append.written"])
def test_killed_while_lines_and_their_metrics_are_stored(job, point):
    """Between a value and its line, and after both, again and again: each is there once in the end."""
    j = job(QUICK)
    j.crash(point)
    codes = {j.run(CLARY_FAULT_CRASH=point) for _ in range(3)}  # with the lines on disk, a later one may reach the end
    assert codes <= {0, -signal.SIGKILL}
    assert j.run() == 0

    check_quick(j)


@pytest.mark.parametrize("point", sorted({*POINTS} - {"instance.stopping", "instance.standing_by"}))
def test_killed_once(job, point):
    """The program ran once, each line is there once, the artifacts are whole, and no moment that was told has moved."""
    j = job(QUICK)
    j.crash(point)
    before = j.snapshot if j.files.snapshot.exists() else None
    assert j.run() == 0

    check_quick(j)
    if before is not None:
        after = j.snapshot
        assert after.sequence > before.sequence
        for moment in ("ready_at", "staged_at", "ended_at", "finished_at", "log_stream", "program_end"):
            assert getattr(before, moment) in {None, getattr(after, moment)}


def test_killed_while_it_awaits_its_peers(job):
    """The next instance program waits on, and its program starts once."""
    j = job(QUICK, host="algo-2", hosts=("algo-1", "algo-2"))
    j.crash("instance.standing_by")
    agent = j.start()
    j.until(lambda: j.snapshot.standing_by_at is not None)
    assert j.snapshot.phase is Phase.DOWNLOADING
    j.wish(agent, start=True)
    assert agent.wait(timeout=60) == 0

    assert (j.snapshot.phase, j.snapshot.program_end) == (Phase.FINISHED, ProgramEnd(exit_code=0))
    assert len(j.lines()) == 2002


def test_killed_at_every_point_in_one_life(job):
    """One crash after the other, two at each point, and still the same end."""
    j = job(QUICK)
    points = ("prepare", "downloading", "staged", "restored", "training", "ended", "synced", "uploading", "uploaded")
    for point in points:
        for _ in range(2):
            j.crash(f"instance.{point}")
    assert j.run() == 0

    check_quick(j)


def test_killed_while_lines_are_stored(job):
    """A crash between the lines and their note loses none and doubles none."""
    j = job(QUICK)
    crashes = 0
    while (code := j.run(CLARY_FAULT_CRASH="logs.append.written")) != 0:
        assert code == -signal.SIGKILL
        crashes += 1

    assert crashes >= 1
    check_quick(j)


def test_killed_while_the_program_is_being_stopped(job):
    """It still ends as stopped, with what it said and its model."""
    j = job(PATIENT)
    agent = j.start(CLARY_FAULT_CRASH="instance.stopping")
    j.said("started")
    j.wish(agent, stop=StopReason.STOP_TRAINING_JOB)
    assert agent.wait(timeout=30) == -signal.SIGKILL
    assert j.run() == 0

    end = j.snapshot
    assert (end.stop_reason, end.program_end, end.failure) == (
        StopReason.STOP_TRAINING_JOB,
        ProgramEnd(exit_code=7),
        None,
    )
    assert end.stopping_at <= end.ended_at
    assert j.lines() == ["started", "stopped"]
    assert j.artifact("model.tar.gz") == {"starts": b"x"}


def test_a_stop_takes_effect_at_once(job):
    """From the wish to the end of the job, with a program that listens, long before the grace is over."""
    j = job(PATIENT)
    agent = j.start()
    j.said("started")
    time.sleep(0.5)  # long enough for the watching to have become lazy
    asked_at = SystemClock().now()
    j.wish(agent, stop=StopReason.STOP_TRAINING_JOB)
    assert agent.wait(timeout=60) == 0

    assert asked_at <= j.snapshot.stopping_at <= j.snapshot.finished_at < asked_at + 30_000


def test_a_program_that_does_not_listen_is_killed(job):
    """After the grace, and the job ends like any other."""
    j = job("import time\nprint('started', flush=True)\ntime.sleep(1000)")
    agent = j.start(grace_s=1.0)
    j.said("started")
    j.wish(agent, stop=StopReason.STOP_TRAINING_JOB)
    assert agent.wait(timeout=60) == 0

    end = j.snapshot
    assert (end.stop_reason, end.program_end.exit_code) == (StopReason.STOP_TRAINING_JOB, 137)
    assert end.ended_at - end.stopping_at >= 1000
    assert j.lines() == ["started"]


def test_the_program_outlives_a_shutdown_and_a_crash(job):
    """SIGTERM to the instance program is no stop, SIGKILL neither; there is one program all the time."""
    j = job(PATIENT)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        agent = j.start()
        j.said("started")
        j.until(lambda: j.files.lock.read_text() == f"{agent.pid}\n")  # noqa: B023  it is called at once
        agent.send_signal(number)
        assert agent.wait(timeout=30) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    agent = j.start()
    j.wish(stop=StopReason.STOP_TRAINING_JOB)
    assert agent.wait(timeout=30) == 0

    assert j.snapshot.program_end == ProgramEnd(exit_code=7)
    assert j.lines() == ["started", "stopped"]
    assert j.artifact("model.tar.gz") == {"starts": b"x"}


def test_two_instance_programs_do_not_work_on_one_instance(job):
    """The second one goes away, and says so by its exit code."""
    j = job(PATIENT)
    first = j.start()
    j.said("started")
    assert j.files.lock.read_text() == f"{first.pid}\n"
    assert j.run() == 75
    j.wish(first, stop=StopReason.STOP_TRAINING_JOB)
    assert first.wait(timeout=30) == 0


def test_a_chatty_program_does_not_fill_the_disk_twice(job):
    """What is stored in the log is taken out of the raw output, whose length stays."""
    line = "x" * 99
    j = job(f"for n in range(200_000): print({line!r})")
    assert j.run() == 0

    raw = j.files.output.stat()
    assert raw.st_size == 20_000_000
    assert raw.st_blocks * 512 < 6_000_000
    assert j.logs.streams(LOG_GROUP).streams[0].stored_bytes > 20_000_000


def test_a_task_that_cannot_be_read_ends_the_instance(job):
    """The controller hears of it, and does not start the program for ever."""
    j = job(QUICK)
    j.files.task.write_text("{}")
    assert j.run() == 1

    assert (j.snapshot.phase, j.snapshot.failure.kind) == (Phase.FINISHED, "InternalServerError")
