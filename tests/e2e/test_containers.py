"""What only training images have: how they are started, and what their programs find. Through unmodified boto3.

What they share with local environments: test_training_job.py and others, on each runtime.
"""

import os

import pytest

from container_images import changed_image, python_image, shell_image
from each_runtime import IN_CONTAINERS
from server import new_name

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", IN_CONTAINERS, indirect=True)

# An image's own CMD never runs: `train` stands in its place.
COMMAND = 'CMD ["the", "image\'s", "command"]'
ARGUMENTS = ["first", "two words", "$HOME"]


def with_entrypoint():
    return changed_image(shell_image(), ('ENTRYPOINT ["echo", "entry"]', COMMAND))


def with_train():
    return changed_image(shell_image(), (COMMAND,), (("/usr/bin/train", '#!/usr/bin/sh\necho "train with $#: $*"\n'),))


# The container contract's table: what the image has, what the request adds, and what is therefore run.
STARTS = {
    "an entrypoint gets train": (with_entrypoint, {}, "entry train"),
    "without an entrypoint train is on PATH": (with_train, {}, "train with 0: "),
    "ContainerEntrypoint drops train": (
        with_entrypoint,
        {"ContainerEntrypoint": ["echo", "mine", "two words"]},
        "mine two words",
    ),
    "ContainerEntrypoint alone drops the image's command": (with_train, {"ContainerEntrypoint": ["echo"]}, ""),
    "ContainerArguments replace train": (
        with_entrypoint,
        {"ContainerArguments": ARGUMENTS},
        "entry first two words $HOME",
    ),
    "ContainerArguments are a command without an entrypoint": (
        with_train,
        {"ContainerArguments": ["train", *ARGUMENTS]},
        "train with 3: first two words $HOME",
    ),
    "both": (
        with_entrypoint,
        {"ContainerEntrypoint": ["sh", "-c"], "ContainerArguments": ['echo "both $0"', "of them"]},
        "both of them",
    ),
}


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


@pytest.fixture(scope="module")
def started(server, bucket):
    """The names of jobs, one for each row of the table, side by side."""
    names = {}
    for row, (image, specification, _) in STARTS.items():
        names[row] = new_name("start")
        request = server.job(names[row], bucket)
        request["AlgorithmSpecification"] |= {"TrainingImage": image(), **specification}
        server.client("sagemaker").create_training_job(**request)
    return names


@pytest.mark.parametrize("row", STARTS)
def test_the_start_table(server, started, row):
    """The program and its arguments are Docker's, word for word."""
    description = server.end(started[row])

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    lines = server.lines(started[row])
    assert lines == ([STARTS[row][2]] if STARTS[row][2] else lines)
    assert not any("image's" in line for line in lines)


LOOKS_ROUND = """
import os, shutil, sys
print("user", os.getuid())
print("process", os.getpid())
print("terminal", os.ttyname(0), os.isatty(1), os.isatty(2))
print("shared memory", shutil.disk_usage("/dev/shm").total)
for name in ("NVIDIA_VISIBLE_DEVICES", "OF_THE_IMAGE", "OF_BOTH", "OF_THE_JOB", "AWS_REGION", "TRAINING_JOB_NAME"):
    print(name, os.environ.get(name))
os.umask(0o077)
os.makedirs("/opt/ml/model/deep")
open("/opt/ml/model/deep/weights", "w").write("mine alone")
open("/opt/ml/output/data/table", "w").write("1,2")
open("/tmp/scratch", "w").write("x")
try:
    open("/opt/ml/input/config/hyperparameters.json", "w")
except PermissionError:
    print("input is closed")
"""


@pytest.fixture(scope="module")
def looked(server, bucket):
    """The description of a job of an image with a USER and an environment of its own, and its lines by first words."""
    name = new_name("Looks")
    request = server.job(name, bucket, program=LOOKS_ROUND, Environment={"OF_THE_JOB": "a b=c", "OF_BOTH": "the job's"})
    request["AlgorithmSpecification"]["TrainingImage"] = changed_image(
        python_image(), ("USER ml", "ENV OF_THE_IMAGE=kept", "ENV OF_BOTH=theimages")
    )
    request["ResourceConfig"]["InstanceType"] = "ml.t3.medium"
    server.client("sagemaker").create_training_job(**request)
    description = server.end(name)
    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    return description, server.lines(name)


def test_the_user_of_the_image_runs_it_and_its_private_files_are_the_model(server, looked):
    """It may write where the contract says, and not change what it was given."""
    description, lines = looked

    assert {"user 1234", "process 1", "input is closed"} <= set(lines)
    assert server.model(description) == {"deep/weights": b"mine alone"}
    output = description["ModelArtifacts"]["S3ModelArtifacts"].replace("model.tar.gz", "output.tar.gz")
    assert server.files(output) == {"table": b"1,2"}


def test_a_terminal_is_attached_and_the_log_is_clean(looked):
    """No line of the log ends with the carriage return that terminals want."""
    assert "terminal /dev/pts/0 True True" in looked[1]
    assert not any("\r" in line or "#015" in line for line in looked[1])


def test_shared_memory_is_as_large_as_the_instance(looked):
    """Docker's 64 MB break the data loaders of frameworks."""
    [line] = [line for line in looked[1] if line.startswith("shared memory ")]
    assert int(line.split()[-1]) == min(4 << 30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def test_the_image_the_job_and_the_platform_make_the_environment(looked):
    """Each wins over the one before it."""
    description, lines = looked
    assert {
        "OF_THE_IMAGE kept",
        "OF_BOTH the job's",
        "OF_THE_JOB a b=c",
        "AWS_REGION us-east-1",
        "NVIDIA_VISIBLE_DEVICES void",
        f"TRAINING_JOB_NAME {description['TrainingJobName']}",
    } <= set(lines)


def test_an_algorithm_resource_may_name_an_image(server, bucket):
    """A job by the algorithm's name runs the algorithm's image."""
    algorithm, name = new_name("Algorithm"), new_name("by-algorithm")
    sagemaker = server.client("sagemaker")
    specification = {
        "TrainingImage": with_entrypoint(),
        "SupportedTrainingInstanceTypes": ["ml.m5.large"],
        "TrainingChannels": [
            {"Name": "code", "SupportedContentTypes": ["text/plain"], "SupportedInputModes": ["File"]}
        ],
    }
    sagemaker.create_algorithm(AlgorithmName=algorithm, TrainingSpecification=specification)
    request = server.job(name, bucket)
    request["AlgorithmSpecification"] = {"AlgorithmName": algorithm, "TrainingInputMode": "File"}
    sagemaker.create_training_job(**request)

    assert server.end(name)["TrainingJobStatus"] == "Completed"
    assert server.lines(name) == ["entry train"]
