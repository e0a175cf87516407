"""The table of CreateTrainingJob's members against the API model, and the refusals that it causes."""

import botocore.session
import pytest

from clary.aws.errors import ValidationException
from clary.service.members import ECHOED, MEMBERS, Effect, refuse_unsupported


def leaves(shape, path=()):
    """Every leaf member of the request, as the table writes paths; a map or a list of scalars is a leaf."""
    for name, member in shape.members.items():
        here, inner = (*path, name), member
        if member.type_name == "list" and member.member.type_name == "structure":
            here, inner = (*path, f"{name}[]"), member.member
        if inner.type_name == "structure":
            yield from leaves(inner, here)
        else:
            yield ".".join(here)


def create_training_job():
    return botocore.session.Session().get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape


def covers(row, path):
    plain = row.path.replace("[]", "")
    leaf = path.replace("[]", "")
    return leaf == plain or leaf.startswith(plain + ".")


def minimal():
    return {
        "TrainingJobName": "j",
        "AlgorithmSpecification": {"TrainingImage": "clary/python", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }


def test_every_member_of_the_model_is_covered_by_a_row():
    missing = [leaf for leaf in leaves(create_training_job()) if not any(covers(row, leaf) for row in MEMBERS)]

    assert missing == []


def test_every_row_names_a_member_of_the_model():
    known = list(leaves(create_training_job()))
    # Channels, groups and rules are lists of structures: the table names the list itself where it speaks for all of it.
    assert [row.path for row in MEMBERS if not any(covers(row, leaf) for leaf in known)] == []


def test_every_row_says_why():
    assert all(row.why and row.path for row in MEMBERS)
    assert len({row.path for row in MEMBERS}) == len(MEMBERS)


def test_what_is_echoed_is_a_member_that_does_not_act():
    for name in ECHOED:
        rows = [row for row in MEMBERS if row.path.split(".")[0] == name]
        assert rows
        assert all(row.effect is not Effect.ACTS for row in rows)


def test_a_plain_request_passes():
    refuse_unsupported(minimal())


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://b/c"}}, "tensorBoardOutputConfig"),
        ({"EnableManagedSpotTraining": True}, "enableManagedSpotTraining"),
        ({"VpcConfig": {"SecurityGroupIds": ["sg"], "Subnets": ["s"]}}, "vpcConfig"),
        ({"RemoteDebugConfig": {"EnableRemoteDebug": True}}, "remoteDebugConfig.enableRemoteDebug"),
        (
            {
                "InputDataConfig": [
                    {"ChannelName": "a", "DataSource": {}},
                    {"ChannelName": "b", "DataSource": {"DatasetSource": {"DatasetArn": "arn"}}},
                ]
            },
            "inputDataConfig.2.member.dataSource.datasetSource",
        ),
    ],
)
def test_a_member_that_would_be_ignored_is_refused_by_name(change, where):
    with pytest.raises(ValidationException) as refused:
        refuse_unsupported(minimal() | change)

    assert f"'{where}' is not supported: " in refused.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"EnableManagedSpotTraining": False},
        {"RemoteDebugConfig": {"EnableRemoteDebug": False}},
        {"DebugRuleConfigurations": []},
        {"DebugHookConfig": {"S3OutputPath": "s3://b/", "CollectionConfigurations": []}},
        {"ProfilerConfig": {"DisableProfiler": True}},
        {"OutputDataConfig": {"S3OutputPath": "s3://b/o", "KmsKeyId": "", "CompressionType": "GZIP"}},
        {"InputDataConfig": [{"ChannelName": "a", "CompressionType": "None", "RecordWrapperType": "None"}]},
        {"InputDataConfig": [{"ChannelName": "a", "InputMode": "Pipe", "ShuffleConfig": {"Seed": 1}}]},
    ],
)
def test_a_value_that_changes_nothing_passes(change):
    refuse_unsupported(minimal() | change)


def test_all_refusals_stand_in_one_message():
    with pytest.raises(ValidationException) as refused:
        refuse_unsupported(
            minimal() | {"TensorBoardOutputConfig": {"S3OutputPath": "s3://b"}, "EnableManagedSpotTraining": True}
        )

    assert "tensorBoardOutputConfig" in refused.value.message
    assert "enableManagedSpotTraining" in refused.value.message
