"""Instances that are killed in the middle of an upload: the job completes, and nothing unfinished stays in the bucket."""

import contextlib
import os
import signal

import pytest

from server import new_name, wait

pytest_plugins = ["server"]

SIZE = 200_000_000
PROGRAM = f"""
import os
block = os.urandom(1_000_000)
for place in ("model/weights", "checkpoints/step"):
    with open(f"/opt/ml/{{place}}", "wb") as file:
        for n in range({SIZE} // len(block)):
            file.write(n.to_bytes(8, "big") + block[8:])
"""


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


def unfinished(server, bucket):
    """The keys of unfinished uploads."""
    return [upload["Key"] for upload in server.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@pytest.mark.parametrize("what", ["model.tar.gz", "model/weights", "ckpt/step"])
def test_an_upload_that_is_killed_leaves_nothing(server, bucket, what):
    """kill -9 while parts are under way: the next instance program abandons them and uploads everything again."""
    name = new_name("upload")
    output = {"CompressionType": "NONE"} if what == "model/weights" else {}
    request = server.job(
        name,
        bucket,
        program=PROGRAM,
        OutputDataConfig=output,
        CheckpointConfig={"S3Uri": f"s3://{bucket}/{name}/ckpt/"},
    )
    server.client("sagemaker").create_training_job(**request)
    begun = wait(
        lambda: [key for key in unfinished(server, bucket) if key.endswith(what)], until=bool, why=server.log_text
    )
    for lock in (server.home / "instances").glob(f"{name}-*/agent.lock"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(lock.read_text()), signal.SIGKILL)
    left = unfinished(server, bucket)
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert begun[0] in left, "it was killed in the middle"
    assert unfinished(server, bucket) == []
    sizes = {
        entry["Key"]: entry["Size"]
        for prefix in (f"out/{name}/", f"{name}/")
        for entry in server.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    }
    assert sizes[f"{name}/ckpt/step"] == SIZE
    assert any(key.startswith(f"out/{name}/output/model") and size >= 0.9 * SIZE for key, size in sizes.items())
