"""`python -m clary.instance` itself, with the embedded S3 store and the real sandbox: what it composes fits together."""

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

import clary
from clary.base.clock import Instant, SystemClock
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import DataSource, MetricDefinition, S3DataSource
from clary.jobs.task import Phase, ProgramEnd, Snapshot, StorageGrant
from clary.logs.files import FileLogStore
from clary.runtimes.process import ProcessRuntime
from factories import make_channel, make_program
from unit.instance.scenes import make_task

pytest_plugins = ["weed"]
pytestmark = pytest.mark.sandbox

SCRIPT = """
cat /opt/ml/input/data/train/x.csv
echo "loss=0.5"
cp /opt/ml/input/data/train/x.csv /opt/ml/model/copy
echo evaluated > /opt/ml/output/data/eval
"""


class Program:
    """One instance on the embedded store."""

    def __init__(self, root: Path, store, bucket: str, *, secret: str | None = None) -> None:
        source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/in/train")
        self.task = make_task(
            channels=(make_channel("train", data_source=DataSource(s3_data_source=source)),),
            program=make_program(entrypoint=("/bin/sh", "-ec")),
            container_arguments=(SCRIPT,),
            metric_definitions=(MetricDefinition(name="loss", regex="loss=(.*)"),),
            s3_output_prefix=f"s3://{bucket}/out/job/output",
            s3_endpoint_url=store.endpoint_url,
        )
        self.root = root
        self.files = InstanceFiles(root / self.task.instance_name)
        self.files.root.mkdir(mode=0o700)
        self.files.task.write_bytes(msgspec.json.encode(self.task))
        grants = [
            StorageGrant(
                access=access,
                bucket=bucket,
                prefix=prefix,
                access_key_id=store.access_key_id,
                secret_access_key=secret or store.secret_access_key,
                session_token="",
                expiration=Instant(SystemClock().now() + 3_600_000),
            )
            for access, prefix in (("read", "in/train"), ("write", "out/job/output/"))
        ]
        self.files.grants.write_bytes(msgspec.json.encode(grants))

    def run(self) -> Snapshot:
        options = ("--directory", self.files.root, "--logs", self.root / "logs", "--hints", self.root / "none")
        environment = {**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1])}
        subprocess.run([sys.executable, "-m", "clary.instance", *options], env=environment, check=True, timeout=60)
        return msgspec.json.decode(self.files.snapshot.read_bytes(), type=Snapshot)

    def close(self) -> None:
        ProcessRuntime().kill(self.files.program)


@pytest.fixture
def program(tmp_path, weed_store, weed_bucket):
    made = []

    def make(**what):
        made.append(Program(tmp_path, weed_store, weed_bucket, **what))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_data_come_from_s3_and_artifacts_go_there(program, weed_store, weed_bucket, tmp_path):
    """From the object to the sandboxed program, its log and metrics, and back."""
    client = weed_store.client()
    client.put_object(Bucket=weed_bucket, Key="in/train/x.csv", Body=b"1,2\n")
    end = program().run()

    assert (end.phase, end.failure, end.program_end) == (Phase.FINISHED, None, ProgramEnd(exit_code=0))
    assert end.s3_model_artifacts == f"s3://{weed_bucket}/out/job/output/model.tar.gz"
    body = client.get_object(Bucket=weed_bucket, Key="out/job/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=BytesIO(body)) as tar:
        assert tar.extractfile("copy").read() == b"1,2\n"
    client.head_object(Bucket=weed_bucket, Key="out/job/output/output.tar.gz")
    assert [(metric.metric_name, metric.value) for metric in end.metrics] == [("loss", 0.5)]
    logs = FileLogStore(tmp_path / "logs", SystemClock())
    events = logs.read("/aws/sagemaker/TrainingJobs", end.log_stream, from_head=True).events
    assert [event.message for event in events] == ["1,2", "loss=0.5"]


def test_credentials_that_the_store_refuses_fail_the_job(program, weed_store, weed_bucket):
    """With S3's own code in the reason."""
    weed_store.client().put_object(Bucket=weed_bucket, Key="in/train/x.csv", Body=b"1,2\n")
    end = program(secret="wrong").run()

    assert end.failure.reason.startswith("ClientError: Data download failed:")
    assert "(403)" in end.failure.reason
    assert end.program_end == ProgramEnd(exit_code=None)
