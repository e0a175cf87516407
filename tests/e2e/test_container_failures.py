"""FailureReasons that only training images can have, through unmodified boto3.

Those of every program (its exit code, a signal, no `train`): test_training_job.py, on each runtime; a full volume:
test_volumes.py.
"""

import os

import pytest

from container_images import client
from each_runtime import IN_CONTAINERS
from image_registry import ImageRegistry
from server import new_name

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", IN_CONTAINERS, indirect=True)

SMALLEST = "ml.t3.medium"
SMALLEST_BYTES = 4 << 30

# Memory that is only asked for is not used: this writes to all of it.
TAKES_ALL_ITS_MEMORY = """
print("begin", flush=True)
held = [b"x" * (64 << 20) for _ in range(80)]
print("never said")
"""


@pytest.fixture
def registry():
    """A registry; what was pulled from it is removed at the end."""
    with ImageRegistry() as registry:
        yield registry
    with client() as engine:
        for image in engine.images(all=True, filters={"label": f"test={registry.host}"}):
            engine.remove_image(image["Id"], force=True)


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


def end_of(server, bucket, image):
    """The description of a job of that image at its end."""
    name = new_name("image")
    request = server.job(name, bucket)
    request["AlgorithmSpecification"]["TrainingImage"] = image
    server.client("sagemaker").create_training_job(**request)
    return server.end(name)


def test_who_takes_more_memory_than_the_instance_type_has_is_told_so(server, bucket):
    """Also if the machine has more; its log says how far it came."""
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < 2 * SMALLEST_BYTES:
        pytest.skip(f"this machine has less memory than twice that of {SMALLEST}")
    name = new_name("greedy")
    request = server.job(name, bucket, program=TAKES_ALL_ITS_MEMORY)
    request["ResourceConfig"]["InstanceType"] = SMALLEST
    server.client("sagemaker").create_training_job(**request)

    description = server.end(name)

    assert description["FailureReason"] == (
        "ClientError: Please use an instance type with more memory, or reduce the size of job data processed on an "
        "instance., exit code: 137"
    )
    assert server.lines(name) == ["begin"]


def test_an_image_that_cannot_be_had_is_named_with_what_to_do(server, bucket, registry):
    """The registry does not know it."""
    image = f"{registry.host}/nobody/made-this:1"

    description = end_of(server, bucket, image)

    reason = description["FailureReason"]
    assert reason.startswith(f"ClientError: The training image '{image}' cannot be pulled: ")
    assert "Check the spelling" in reason
    assert [step["Status"] for step in description["SecondaryStatusTransitions"]][-1] == "Failed"
    assert "ModelArtifacts" not in description


def test_an_image_for_another_processor_is_named_with_what_to_do(server, bucket, registry):
    """It is pulled, and not started."""
    registry.push("me/tool", layers=(os.urandom(16),), architecture="s390x")
    image = f"{registry.host}/me/tool:latest"

    reason = end_of(server, bucket, image)["FailureReason"]

    assert reason.startswith(
        f"ClientError: The training image '{image}' is built for linux/s390x, and this machine is "
    )
    assert "docker build --platform" in reason


def test_an_entrypoint_that_is_no_program_of_the_image(server, bucket):
    """The log says what was sought, in Docker's words."""
    name = new_name("misspelt")
    request = server.job(name, bucket)
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["pyhton", "train.py"]
    server.client("sagemaker").create_training_job(**request)

    assert server.end(name)["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert server.lines(name) == ['exec: "pyhton": executable file not found in $PATH']
