"""The structs of a request carry the API model's own names, member by member and shape by shape."""

import json
import typing

import botocore.session
import msgspec
import pytest
from botocore import xform_name

from clary.jobs.model import Tag, TrainingJob, TrainingJobRequest
from factories import make_job

_OURS = {"recorded"}
"""Fields that are no member of the API model."""


def _nested(annotation):
    """The struct in a type such as `tuple[Channel, ...]` or `RetryStrategy | None`."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _nested(part))), None)


def _walk(struct, shape, path):
    """(path, struct, shape) of the struct and all that are in it."""
    yield path, struct, shape
    members = {xform_name(member): nested for member, nested in shape.members.items()}
    for field in msgspec.structs.fields(struct):
        nested = _nested(field.type)
        if nested is not None:
            inner = members[field.name]
            while inner.type_name == "list":
                inner = inner.member
            yield from _walk(nested, inner, f"{path}.{field.encode_name}")


_MODEL = botocore.session.Session().get_service_model("sagemaker")
_REQUEST = _MODEL.shape_for("CreateTrainingJobRequest")
_SHAPES = [
    *_walk(TrainingJobRequest, _REQUEST, "CreateTrainingJob"),
    *_walk(Tag, _MODEL.shape_for("Tag"), "Tag"),
]


@pytest.mark.parametrize(("struct", "shape"), [case[1:] for case in _SHAPES], ids=[case[0] for case in _SHAPES])
def test_every_field_is_named_as_its_member(struct, shape):
    """The field is the member in botocore's snake case, and is encoded to the member's exact spelling."""
    members = {xform_name(member): member for member in shape.members}
    for field in msgspec.structs.fields(struct):
        if field.name not in _OURS:
            assert members.get(field.name) == field.encode_name, f"{struct.__name__}.{field.name}"


def test_every_shape_of_the_request_was_walked():
    """The walk reached the depths."""
    assert {struct.__name__ for _, struct, _ in _SHAPES} == {
        "TrainingJobRequest",
        "AlgorithmSpecification",
        "TrainingImageConfig",
        "TrainingRepositoryAuthConfig",
        "MetricDefinition",
        "OutputDataConfig",
        "ResourceConfig",
        "InstanceGroup",
        "StoppingCondition",
        "CheckpointConfig",
        "Channel",
        "DataSource",
        "S3DataSource",
        "FileSystemDataSource",
        "ShuffleConfig",
        "RetryStrategy",
        "Tag",
    }


def test_a_request_goes_through_the_structs_and_comes_out_unchanged():
    """As the wire has it: nothing renamed, nothing added, nothing lost."""
    wire = {
        "TrainingJobName": "job",
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
            "ContainerEntrypoint": ["python"],
            "ContainerArguments": ["-c", "pass"],
        },
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": "s3://b/p",
                        "S3DataDistributionType": "ShardedByS3Key",
                        "InstanceGroupNames": ["gpu"],
                    }
                },
                "ContentType": "text/csv",
                "CompressionType": "Gzip",
                "RecordWrapperType": "RecordIO",
                "InputMode": "Pipe",
                "ShuffleConfig": {"Seed": 1},
            }
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://b/o", "KmsKeyId": "k", "CompressionType": "NONE"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 2,
            "InstanceGroups": [{"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "InstanceGroupName": "gpu"}],
            "VolumeSizeInGB": 5,
            "KeepAlivePeriodInSeconds": 60,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 77},
        "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/checkpoints/"},
        "HyperParameters": {"a": "1"},
        "Environment": {"A": "b"},
        "RetryStrategy": {"MaximumRetryAttempts": 2},
        "EnableNetworkIsolation": True,
        "EnableInterContainerTrafficEncryption": True,
    }
    assert json.loads(msgspec.json.encode(msgspec.convert(wire, TrainingJobRequest))) == wire


def test_jobs_that_knew_no_instance_groups_are_still_read():
    """As earlier versions wrote them: one group of all hosts."""
    document = json.loads(msgspec.json.encode(make_job()))
    document["request"]["ResourceConfig"] = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 10}
    job = msgspec.json.decode(json.dumps(document), type=TrainingJob)

    [group] = job.request.resource_config.groups
    assert (group.instance_group_name, group.instance_type, group.instance_count) == (
        "homogeneousCluster",
        "ml.m5.large",
        2,
    )
    assert job.hosts == ("algo-1", "algo-2")


def test_a_job_is_kept_as_json_that_a_person_can_read():
    """The request in the API model's words, our own fields in ours."""
    document = json.loads(msgspec.json.encode(make_job()))
    assert document["request"]["ResourceConfig"]["VolumeSizeInGB"] == 10
    assert document["secondary_status_transitions"][0]["status"] == "Starting"
    assert msgspec.convert(document, TrainingJob) == make_job()
