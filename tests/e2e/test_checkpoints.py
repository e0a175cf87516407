"""Checkpoints through unmodified boto3 clients, on each runtime: restored, followed, kept over stops, failures and losses."""

import json

import pytest
from botocore.exceptions import ClientError

from checkpoint_jobs import objects, steps_of, training
from each_runtime import EACH_RUNTIME
from server import new_name, wait

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


def test_a_stopped_job_is_gone_on_with(server, bucket):
    """Objects follow the directory while it runs; a second job begins where the first was stopped, and ends the work."""
    first, second, prefix = new_name("first"), new_name("second"), new_name("ckpt")
    training(server, bucket, first, prefix, 1000)
    begun = wait(lambda: objects(server, bucket, prefix), until=lambda found: len(steps_of(found)) >= 2)
    assert not any(name.endswith("sagemaker-ignore") for name in begun)
    wait(lambda: objects(server, bucket, prefix), until=lambda found: steps_of(begun)[0] not in steps_of(found))
    server.client("sagemaker").stop_training_job(TrainingJobName=first)
    assert server.end(first)["TrainingJobStatus"] == "Stopped"

    left = objects(server, bucket, prefix)
    steps = steps_of(left)
    last = steps[-1]
    assert left == {"deep/stopped": b"in the window"} | {f"step-{n}": str(n).encode() for n in steps}
    assert steps == list(range(last - 5, last + 1))
    assert f"step {last}" in server.lines(first)

    training(server, bucket, second, prefix, last + 4)
    description = server.end(second)
    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert description["CheckpointConfig"] == {"S3Uri": f"s3://{bucket}/{prefix}", "LocalPath": "/opt/ml/checkpoints"}
    lines = server.lines(second)
    assert lines[0] == f"restored {steps}"
    assert [line for line in lines if line.startswith("step")] == [f"step {last + n}" for n in (1, 2, 3)]
    assert steps_of(objects(server, bucket, prefix)) == list(range(last - 2, last + 4))


LOOKING = """
import json, os, pathlib
place = pathlib.Path(json.load(open("/opt/ml/input/config/checkpointconfig.json"))["LocalPath"])
print("config", open("/opt/ml/input/config/checkpointconfig.json").read())
print("found", sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()))
print("manifest", json.dumps(open("/opt/ml/input/data/checkpoints-manifest").read()))
(place / "d").mkdir(exist_ok=True)
(place / "d" / "old").write_text("changed")
(place / "d" / "new").write_text("n")
(place / "gone").unlink()
os.symlink("/etc/passwd", place / "out")
os.symlink("d/new", place / "latest")
"""


@pytest.mark.parametrize("local_path", ["/opt/ml/checkpoints/", "/opt/ml/my/deep ckpt", "/var/ckpt"])
def test_a_directory_anywhere_is_restored_and_followed(server, bucket, local_path):
    """What the prefix holds and no more; changed, deleted, and linked to."""
    name, prefix = new_name("place"), new_name("ckpt")
    s3 = server.client("s3")
    keys = ("d/old", "gone", "kept", "x.sagemaker-uploaded", "y.sagemaker-ignore")
    for key in (*(f"{prefix}/{key}" for key in keys), f"{prefix}-2/no"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"old")
    training(
        server,
        bucket,
        name,
        prefix,
        0,
        LOOKING,
        CheckpointConfig={"LocalPath": local_path},
        EnableNetworkIsolation=True,
    )
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    lines = server.lines(name)
    assert lines[0] == f"config {json.dumps({'LocalPath': local_path}, separators=(',', ':'))}"
    assert lines[1] == "found ['d/old', 'gone', 'kept']"
    uris = "".join(f"s3://{bucket}/{prefix}/{key}\n" for key in ("d/old", "gone", "kept"))
    assert json.loads(lines[2].removeprefix("manifest ")) == f"{prefix}\n{uris}"
    assert objects(server, bucket, prefix) == {
        "d/old": b"changed",
        "d/new": b"n",
        "kept": b"old",
        "latest": b"n",
        "x.sagemaker-uploaded": b"old",
        "y.sagemaker-ignore": b"old",
    }


HOSTS = """
import json, pathlib
place, me = pathlib.Path("/opt/ml/checkpoints"), json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_host"]
print("found", sorted(p.name for p in place.iterdir()))
(place / me).write_text(me)
"""


def test_all_hosts_restore_all_and_sync_to_one_prefix(server, bucket):
    """A file that all hosts had stays, though each of them has only its own besides."""
    name, prefix = new_name("hosts"), new_name("ckpt")
    server.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/old", Body=b"o")
    training(server, bucket, name, prefix, 0, HOSTS, ResourceConfig={"InstanceCount": 2})
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    for host in ("algo-1", "algo-2"):
        assert server.lines(name, host) == ["found ['old']"]
    assert objects(server, bucket, prefix) == {"old": b"o", "algo-1": b"algo-1", "algo-2": b"algo-2"}


def test_a_failed_job_leaves_its_checkpoints(server, bucket):
    """And fails for its own reason."""
    name, prefix = new_name("fails"), new_name("ckpt")
    program = "open('/opt/ml/checkpoints/a', 'w').write('x'); raise SystemExit(3)"
    training(server, bucket, name, prefix, 0, program)

    assert server.end(name)["FailureReason"] == "AlgorithmError: , exit code: 3"
    assert objects(server, bucket, prefix) == {"a": b"x"}


def test_a_job_whose_bucket_is_gone_fails_with_the_reason(server):
    """Its training was not for nothing: it could end."""
    bucket, other, name = server.bucket(), server.bucket(), new_name("no-bucket")
    program = """
import os, time
print("ready", flush=True)
while not os.path.exists("/opt/ml/checkpoints/go"):
    time.sleep(0.05)
open("/opt/ml/checkpoints/a", "w").write("x")
"""
    request = server.job(name, bucket, program=program, CheckpointConfig={"S3Uri": f"s3://{other}/c"})
    server.client("sagemaker").create_training_job(**request)
    wait(lambda: server.lines(name), until=lambda lines: "ready" in lines)
    server.client("s3").delete_bucket(Bucket=other)
    (server.home / "instances" / f"{name}-a1-algo-1" / "volume" / "opt_ml" / "checkpoints" / "go").touch()

    description = server.end(name)
    assert description["TrainingJobStatus"] == "Failed"
    assert description["FailureReason"].startswith("ClientError: Checkpoint upload failed:NoSuchBucket (404)")
    assert description["ModelArtifacts"]["S3ModelArtifacts"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"S3Uri": "s3://there-is-no-such-bucket/c"}, "of the CheckpointConfig S3Uri"),
        ({"LocalPath": "/opt/ml/model/ckpt"}, "Invalid CheckpointConfig.LocalPath"),
        ({"LocalPath": "ckpt"}, "it must be an absolute path"),
    ],
)
def test_what_cannot_work_is_refused_at_once(server, bucket, config, text):
    with pytest.raises(ClientError, match=text) as refused:
        training(server, bucket, new_name(), "c", 0, CheckpointConfig=config)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
