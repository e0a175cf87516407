"""A real `clary serve` for tests, in a process of its own and on a home of its own. PYTEST_DONT_REWRITE

    pytest_plugins = ["server"]           # in a test module: gives `server` (one a module) and `own_server` (one a test)

Its jobs run in the sandbox; `each_runtime` tells how a module's tests run on a container engine, too.
`Server.client("sagemaker")` is an unmodified boto3 client. At the end nothing of the home may be left running: that is
asserted here, for every test that uses a server.
"""

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from pathlib import Path

import boto3
import pytest

from each_runtime import PROCESSES
from loop_volumes import detach_all

ROLE = "arn:aws:iam::000000000000:role/test"
CLARY = [sys.executable, "-m", "clary.cli.main"]
TERMINAL = {"Completed", "Failed", "Stopped"}
PATIENCE_S = 120


class Server:
    """`clary serve` on `home`; `faults` are CLARY_… variables for it and its children. Without one that says otherwise it uses no
    container engine. `user`: who it runs as, of `ordinary_user`."""

    def __init__(self, home, *, runtime=PROCESSES, user=None, **faults):
        self.home = Path(home)
        self.runtime = runtime
        self.user = user
        self.faults = faults
        self.process = None
        self.url = None
        self._exports = None
        self._sessions = {}

    def start(self, **faults):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
        self.log = self.home.with_name(self.home.name + ".log").open("ab")
        self.process = subprocess.Popen(
            [
                *(self.user.command if self.user else ()),
                *CLARY,
                "serve",
                "--home",
                str(self.home),
                "--listen",
                "127.0.0.1:0",
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment | {"CLARY_CONTAINER_ENGINE": self.runtime.engine} | self.faults | faults,
        )
        line = self.process.stdout.readline().decode()
        if not line.startswith("clary is ready on "):
            self.process.wait(30)
            raise AssertionError(f"no server: {line!r}\n{self.log_text()}")
        self.url = line.removeprefix("clary is ready on ").strip()
        self._exports = None
        return self

    def log_text(self):
        return self.home.with_name(self.home.name + ".log").read_text(errors="replace")

    def kill(self):
        """SIGKILL, as a crash."""
        self.process.kill()
        self._gone()

    def stop(self):
        """SIGTERM, as an operator; answers the exit code."""
        self.process.terminate()
        try:
            return self._gone()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self._gone()
            raise

    def _gone(self):
        code = self.process.wait(60)
        self.process.stdout.close()
        self.log.close()
        return code

    def running(self):
        return self.process is not None and self.process.poll() is None

    def environment(self, *arguments):
        """What `clary env` exports, as a dictionary."""
        said = subprocess.run(
            [*CLARY, "env", "--home", str(self.home), *arguments], check=True, capture_output=True, text=True
        ).stdout
        exports = [line.removeprefix("export ") for line in said.splitlines() if line.startswith("export ")]
        return {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in exports)}

    def client(self, service, **changes):
        if self._exports is None:
            self._exports = self.environment()
        exports = self._exports
        access_key = changes.pop("access_key", exports["AWS_ACCESS_KEY_ID"])
        secret_key = changes.pop("secret_key", exports["AWS_SECRET_ACCESS_KEY"])
        # A session reads the models of its services only once, which takes longer than what most tests do with them.
        if (access_key, secret_key) not in self._sessions:
            self._sessions[access_key, secret_key] = boto3.Session(
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                region_name=exports["AWS_DEFAULT_REGION"],
            )
        session = self._sessions[access_key, secret_key]
        return session.client(service, endpoint_url=exports["AWS_ENDPOINT_URL"], **changes)

    def bucket(self):
        """The name of a fresh bucket."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def job(self, name, bucket, *, program=None, channels=(), **changes):
        """A CreateTrainingJob request. `program` is the text of a Python program, which goes into a channel `code`."""
        request = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": self.runtime.image, "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        }
        channels = [*channels]
        if program is not None:
            key = f"code/{uuid.uuid4().hex}/train.py"
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=program.encode())
            channels.append(("code", f"s3://{bucket}/{key}", {}))
            entrypoint = [self.runtime.python, "/opt/ml/input/data/code/train.py"]
            request["AlgorithmSpecification"]["ContainerEntrypoint"] = entrypoint
        if channels:
            request["InputDataConfig"] = [
                {
                    "ChannelName": channel,
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, **more}},
                }
                for channel, uri, more in channels
            ]
        for member, value in changes.items():
            merged = isinstance(value, dict) and member in request
            request[member] = request[member] | value if merged else value
        return request

    def run(self, *request, **changes):
        """The description of a job at its end; the arguments are those of `job`."""
        job = self.job(*request, **changes)
        self.client("sagemaker").create_training_job(**job)
        return self.end(job["TrainingJobName"])

    def end(self, name, patience_s=PATIENCE_S):
        """The description of a job at its end."""
        sagemaker = self.client("sagemaker")
        return wait(
            lambda: described(sagemaker, name),
            until=lambda d: d["TrainingJobStatus"] in TERMINAL,
            patience_s=patience_s,
            why=self.log_text,
        )

    def reach(self, name, secondary_status):
        """The description of a job once it is in that secondary status."""
        sagemaker = self.client("sagemaker")
        return wait(
            lambda: described(sagemaker, name),
            until=lambda d: d["SecondaryStatus"] == secondary_status,
            why=self.log_text,
        )

    def files(self, uri):
        """The contents of the files in an archive in S3, by their names in it."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
            return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}

    def model(self, description):
        """The files of a job's model."""
        return self.files(description["ModelArtifacts"]["S3ModelArtifacts"])

    def let_go(self, name):
        """Let programs go on that wait for /opt/ml/go: those of the job's present instances."""
        for files in (self.home / "instances").glob(f"{name}-*/volume/opt_ml"):
            (files / "go").touch()

    def lines(self, name, host="algo-1"):
        """The messages that a host logged, all of them, in order."""
        logs = self.client("logs")
        group = "/aws/sagemaker/TrainingJobs"
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/{host}-")["logStreams"]
        messages = []
        for stream in streams:
            token = {}
            while True:
                page = logs.get_log_events(
                    logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True, **token
                )
                if not page["events"]:
                    break
                messages += [event["message"] for event in page["events"]]
                token = {"nextToken": page["nextForwardToken"]}
        return messages


def described(sagemaker, name):
    return sagemaker.describe_training_job(TrainingJobName=name)


def wait(look, *, until, patience_s=PATIENCE_S, why=lambda: ""):
    """Look again and again until the condition holds; the bound only ends a test that would hang."""
    deadline = time.monotonic() + patience_s
    while True:
        seen = look()
        if until(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"still {seen!r}\n{why()}")
        time.sleep(0.03)  # other processes work: there is nothing to wait on but their visible state


def new_name(prefix="job"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def left_of(home):
    """Command lines of processes that have to do with this home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(home) in command and "pytest" not in command:
                    found.append(f"{entry.name}: {command[:300]}")
    return found


@contextlib.contextmanager
def serving(*, runtime=PROCESSES, user=None, **faults):
    """A server, started; stopped and its traces checked at the end."""
    root = Path(tempfile.mkdtemp(prefix="clary-test-"))
    if user is not None:
        os.chown(root, user.id, -1)
        faults["HOME"] = str(root)
    server = Server(root / "home", runtime=runtime, user=user, **faults)
    try:
        yield server.start()
        # It removes what an ended job leaves, after everybody has seen that the job has ended.
        wait(lambda: runtime.left(root), until=lambda left: not left, patience_s=30, why=server.log_text)
    finally:
        try:
            if server.running():
                assert server.stop() == 0, server.log_text()
            wait(lambda: left_of(root), until=lambda left: not left, patience_s=30)
        finally:
            for line in left_of(root):  # a failed assertion must not leave what it found
                with contextlib.suppress(OSError):
                    os.kill(int(line.partition(":")[0]), signal.SIGKILL)
            runtime.remove(root)
            detach_all(root)
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def server(request):
    """One server for the tests of a module, for each runtime that it names by `each_runtime`."""
    with serving(runtime=getattr(request, "param", PROCESSES)) as running:
        yield running


@pytest.fixture
def own_server():
    """A server that this test may kill."""
    with serving() as running:
        yield running
