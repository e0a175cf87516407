"""Where checkpoints may be, and what the service makes of CheckpointConfig from create to Search."""

import asyncio
import json

import msgspec
import pytest

from clary.aws.errors import AwsError, ValidationException
from clary.base.clock import FixedClock
from clary.jobs.model import CheckpointConfig, TrainingJob
from clary.service.checkpoint_rules import check_checkpoints
from clary.service.data_checks import DataChecks
from clary.service.search import to_record
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.port import AccessDenied, Unreachable
from factories import make_job, make_program, make_request
from sagemaker_api import SageMaker, create_request, refusal

LOCAL = make_program(read_only_paths=("/home/me/venv", "/usr/lib/python3"))
CONTAINER = make_program(reference="mine/trainer:1")


def problem(path, program=LOCAL):
    """Why a LocalPath is refused; None if it is not."""
    try:
        check_checkpoints(CheckpointConfig(s3_uri="s3://b/c", local_path=path), program)
    except ValidationException as refused:
        return refused.message
    return None


@pytest.mark.parametrize(
    "path",
    [
        None,
        "/opt/ml/checkpoints",
        "/opt/ml/checkpoints/",
        "//opt/ml//checkpoints",
        "/opt/ml/code/ckpt",
        "/opt/ml/output/tensors",
        "/opt/ml/models",
        "/tmp/ckpt",
        "/home/me/ckpt",
        "/home/me/venv-2",
        "/ckpt",
        "/data/ä ü",
        "/...",
    ],
)
def test_most_places_are_free(path):
    assert problem(path) is None


def test_a_job_without_checkpoints_has_nothing_to_check():
    check_checkpoints(None, LOCAL)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("checkpoints", "an absolute path"),
        ("s3://b/c", "an absolute path"),
        ("/opt/ml/../../etc", "'.' or '..'"),
        ("/ckpt/.", "'.' or '..'"),
        ("/ckpt/a\0b", "control characters"),
        ("/ckpt/a\nb", "control characters"),
        ("/" + "x" * 256, "255 in each"),
        ("/" + "/".join(["x" * 100] * 11), "1024 bytes"),
        ("/", "something else there"),
        ("/opt", "something else there"),
        ("/opt/ml/", "something else there"),
        ("/opt/ml/input", "something else there"),
        ("/opt/ml/input/data/train/ckpt", "something else there"),
        ("/opt/ml/model", "something else there"),
        ("/opt//ml/model/ckpt", "something else there"),
        ("/opt/ml/output", "something else there"),
        ("/opt/ml/output/data/ckpt", "something else there"),
        ("/tmp/", "something else there"),
        ("/proc/self", "something else there"),
        ("/dev/shm", "something else there"),
    ],
)
@pytest.mark.parametrize("program", [LOCAL, CONTAINER], ids=["local environment", "container"])
def test_a_place_that_is_taken_is_refused(path, why, program):
    """And what is no path at all, whatever runs."""
    message = problem(path, program)
    assert message.startswith(f"Invalid CheckpointConfig.LocalPath '{path}': ")
    assert why in message


@pytest.mark.parametrize(
    "path", ["/usr/src/app/ckpt", "/etc/ckpt", "/bin/x", "/home/me/venv/ckpt", "/home/me", "/home"]
)
def test_a_local_environment_has_files_of_the_machine(path):
    """An image of its own may have its checkpoints there."""
    assert "local environment" in problem(path)
    assert problem(path, CONTAINER) is None


# --- from create to Search


def test_describe_shows_it_with_the_directory_that_it_has():
    """The default is filled in (inferred)."""
    sagemaker = SageMaker()
    given = {"S3Uri": "s3://b/c", "LocalPath": "/data/ckpt/"}
    sagemaker("CreateTrainingJob", **create_request("given", CheckpointConfig=given))
    sagemaker("CreateTrainingJob", **create_request("default", CheckpointConfig={"S3Uri": "s3://b/c"}))
    sagemaker("CreateTrainingJob", **create_request("none"))

    shown = [
        sagemaker("DescribeTrainingJob", TrainingJobName=name).get("CheckpointConfig")
        for name in ("given", "default", "none")
    ]
    assert shown == [given, {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/checkpoints"}, None]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/model"}, "Invalid CheckpointConfig.LocalPath '/opt/ml/model': "),
        ({"S3Uri": "s3://b/c*"}, "Unsupported S3 URI 's3://b/c*'"),
        ({"S3Uri": "s3://b/" + "é" * 500}, "too long for a session policy"),
        ({"S3Uri": "ftp://b/c"}, "'checkpointConfig.s3Uri' failed to satisfy constraint"),
        ({"LocalPath": "/ckpt"}, "'checkpointConfig.s3Uri' failed to satisfy constraint: Member must not be null"),
    ],
)
def test_a_config_that_cannot_work_is_refused(config, text):
    """At once, with the reason."""
    code, message = refusal(SageMaker(), "CreateTrainingJob", **create_request(CheckpointConfig=config))
    assert code == "ValidationException"
    assert text in message


def test_search_knows_it():
    """Both of its properties, whether or not the second was given."""
    job = make_job(request=make_request(checkpoint_config=CheckpointConfig(s3_uri="s3://b/c")))
    assert to_record(job)["CheckpointConfig"] == {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/checkpoints"}
    assert "CheckpointConfig" not in to_record(make_job())


def test_a_job_of_an_earlier_version_has_none():
    """Its document does not say so."""
    document = json.loads(msgspec.json.encode(make_job()))
    assert "CheckpointConfig" not in document["request"]
    assert msgspec.json.decode(json.dumps(document), type=TrainingJob).request.checkpoint_config is None


# --- is there a bucket


def checking(tmp_path, *faults, uri="s3://ckpt/some/prefix"):
    buckets = DirectoryStorage(tmp_path)
    buckets.create_bucket("models")
    buckets.create_bucket("ckpt")
    checks = DataChecks(FaultyStorage(buckets, faults), clock=FixedClock(), region="us-east-1")
    request = make_request(channels=(), checkpoint_config=CheckpointConfig(s3_uri=uri))
    asyncio.run(checks.check(request))


def test_an_empty_prefix_is_fine(tmp_path):
    """The first job of a line has nothing to restore."""
    checking(tmp_path)


def test_a_bucket_that_is_not_there_is_refused(tmp_path):
    """As that of the output is; so is one that the store will not speak of."""
    with pytest.raises(ValidationException, match='bucket "gone" of the CheckpointConfig S3Uri "s3://gone/p" does not'):
        checking(tmp_path, uri="s3://gone/p")
    with pytest.raises(ValidationException, match='bucket "ckpt" of the CheckpointConfig S3Uri'):
        checking(tmp_path, Fault(verb="bucket_exists", error=AccessDenied("no"), on_call=2))


def test_a_store_that_is_away_is_no_fault_of_the_caller(tmp_path):
    with pytest.raises(AwsError, match="does not answer") as away:
        checking(tmp_path, Fault(verb="bucket_exists", error=Unreachable("refused"), on_call=2))
    assert away.value.http_status == 503
