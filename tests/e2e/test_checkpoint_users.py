"""Checkpoints of an image whose user is nobody in particular: it can change what was restored, and leave what is its own."""

import pytest

import container_images
from checkpoint_jobs import objects
from each_runtime import IN_CONTAINERS
from server import new_name

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", IN_CONTAINERS, indirect=True)

PROGRAM = """
import os, pathlib
place = pathlib.Path(os.environ["PLACE"])
print("user", os.getuid())
(place / "in-place").open("r+").write("new")
(place / "d" / "old").unlink()
(place / "d" / "mine").write_text("x")
(place / "d" / "mine").chmod(0o600)
(place / "closed").mkdir(mode=0o700)
(place / "closed" / "mine").write_text("y")
"""


@pytest.mark.parametrize("place", ["/opt/ml/checkpoints", "/var/ckpt"])
def test_another_user_may_do_everything_with_its_checkpoints(server, place):
    """Also with files that it closes to others."""
    bucket, name = server.bucket(), new_name("user")
    for key in ("in-place", "d/old"):
        server.client("s3").put_object(Bucket=bucket, Key=f"c/{key}", Body=b"old")
    config = {"S3Uri": f"s3://{bucket}/c", "LocalPath": place}
    request = server.job(name, bucket, program=PROGRAM, CheckpointConfig=config, Environment={"PLACE": place})
    request["AlgorithmSpecification"]["TrainingImage"] = container_images.python_image(user="1234:1234")
    server.client("sagemaker").create_training_job(**request)
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Completed", (description.get("FailureReason"), server.lines(name))
    assert server.lines(name) == ["user 1234"]
    assert objects(server, bucket, "c") == {"in-place": b"new", "d/mine": b"x", "closed/mine": b"y"}
