"""Instances that are killed in the middle of an upload: the job completes, and nothing unfinished stays in the bucket."""

import contextlib
import os
import signal

import pytest

from server import TERMINAL, described, new_name, wait

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


def killed_in_the_middle(server, bucket, name, what):
    """Whether the instance program was killed before its upload of that had ended. It is stopped first, so that nobody
    ends the upload between our look and its death.
    """
    sagemaker = server.client("sagemaker")

    def look():
        ended = described(sagemaker, name)["TrainingJobStatus"] in TERMINAL  # before: its uploads were all made by then
        begun = [key for key in unfinished(server, bucket) if key.endswith(what)]
        return begun, ended

    begun, _ = wait(look, until=any, why=server.log_text)
    if not begun:
        return False
    for lock in (server.home / "instances").glob(f"{name}-*/agent.lock"):
        agent = int(lock.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, signal.SIGSTOP)
            in_time = begun[0] in unfinished(server, bucket)
            os.kill(agent, signal.SIGKILL if in_time else signal.SIGCONT)
            return in_time
    return False


@pytest.mark.parametrize("what", ["model.tar.gz", "model/weights", "ckpt/step"])
def test_an_upload_that_is_killed_leaves_nothing(server, bucket, what):
    """kill -9 while parts are under way: the next instance program abandons them and uploads everything again."""
    output = {"CompressionType": "NONE"} if what == "model/weights" else {}
    for _ in range(3):
        name = new_name("upload")
        request = server.job(
            name,
            bucket,
            program=PROGRAM,
            OutputDataConfig=output,
            CheckpointConfig={"S3Uri": f"s3://{bucket}/{name}/ckpt/"},
        )
        server.client("sagemaker").create_training_job(**request)
        in_time = killed_in_the_middle(server, bucket, name, what)
        description = server.end(name)
        assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
        if in_time:
            break
    else:
        pytest.fail("it was never killed in the middle")

    assert unfinished(server, bucket) == []
    sizes = {
        entry["Key"]: entry["Size"]
        for prefix in (f"out/{name}/", f"{name}/")
        for entry in server.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    }
    assert sizes[f"{name}/ckpt/step"] == SIZE
    assert any(key.startswith(f"out/{name}/output/model") and size >= 0.9 * SIZE for key, size in sizes.items())
