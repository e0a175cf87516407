"""Jobs of several instance groups at CreateTrainingJob, and as they are described."""

import pytest

from clary.aws.errors import ResourceLimitExceeded, ValidationException
from clary.compute.port import Capabilities
from clary.service.members import refuse_unsupported
from clary.service.rules import check_needed, check_request
from clary.service.shapes import to_description, to_request
from factories import make_groups, make_job, make_request


def group(name, count=1, instance_type="ml.m5.large"):
    return {"InstanceType": instance_type, "InstanceCount": count, "InstanceGroupName": name}


def channel(name, *groups):
    named = {"InstanceGroupNames": list(groups)} if groups else {}
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/p", **named}},
    }


def check(*groups, channels=(), resources=(), limit=4, **changes):
    params = {
        "TrainingJobName": "j",
        "AlgorithmSpecification": {"TrainingImage": "clary/python", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
        "ResourceConfig": {"InstanceGroups": list(groups), "VolumeSizeInGB": 1} | dict(resources),
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "InputDataConfig": list(channels),
    } | changes
    check_needed(params)
    refuse_unsupported(params)
    request = to_request(params, image_metrics=())
    check_request(request, Capabilities(instance_count_max=limit, isolated_instance_count_max=1))
    return request


def test_groups_stand_in_for_type_and_count():
    request = check(group("a", 1), group("b", 3, "ml.c5.large"), channels=[channel("x", "a"), channel("y", "b", "a")])

    assert request.resource_config.all_instances_count == 4
    assert [g.instance_group_name for g in request.resource_config.groups] == ["a", "b"]


def test_a_file_system_comes_to_all_groups():
    """It cannot be assigned, and so does not count among the channels that are not."""
    efs = {"FileSystemId": "fs-01234567", "FileSystemType": "EFS", "FileSystemAccessMode": "ro", "DirectoryPath": "/"}
    mounted = {"ChannelName": "y", "DataSource": {"FileSystemDataSource": efs}}
    request = check(group("a"), group("b"), channels=[channel("x", "a"), mounted])

    assert [[each.is_for(name) for name in "ab"] for each in request.input_data_config] == [[True, False], [True, True]]


def test_no_groups_are_as_none_given():
    """An empty list asks for type and count, and allows them."""
    plain = {"InstanceType": "ml.m5.large", "InstanceCount": 2}

    assert check(resources=plain).resource_config.all_instances_count == 2
    with pytest.raises(ValidationException, match="2 validation errors detected: Value null at 'resourceConfig"):
        check()


def test_a_count_of_zero_beside_groups_changes_nothing():
    """Descriptions have it: a request may be made of one."""
    assert check(group("a"), resources={"InstanceCount": 0}).resource_config.all_instances_count == 1


@pytest.mark.parametrize(
    ("groups", "more", "text"),
    [
        (
            [group("a")],
            {"resources": {"InstanceCount": 1}},
            "InstanceType or InstanceCount cannot be specified with InstanceGroups",
        ),
        (
            [group("a")],
            {"resources": {"InstanceType": "ml.m5.large"}},
            "InstanceType or InstanceCount cannot be specified with InstanceGroups",
        ),
        (
            [group("a"), group("b", 0)],
            {},
            (
                "1 validation error detected: Value '0' at 'resourceConfig.instanceGroups.2.member.instanceCount' failed to "
                "satisfy constraint: Member must have value greater than or equal to 1"
            ),
        ),
        (
            [group("a"), group("a")],
            {},
            "Instance group names must be unique within a training job: a.",
        ),
        (
            [group("a"), group("b")],
            {"channels": [channel("x", "a"), channel("y"), channel("z")]},
            "Some channels have assigned instance groups: [x] while others not: [y, z]",
        ),
        (
            [group("a"), group("b")],
            {"channels": [channel("x", "b", "c")]},
            "Input channel 'x' is for instance groups that the job does not have: [c]; it has: [a, b].",
        ),
        (
            [],
            {
                "channels": [channel("x", "homogeneousCluster")],
                "resources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            },
            "Input channel 'x' is for instance groups that the job does not have: [homogeneousCluster]; it has: [].",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(groups, more, text):
    with pytest.raises(ValidationException) as refused:
        check(*groups, **more)

    assert refused.value.message == text


def test_the_volume_is_asked_for_with_groups_too():
    with pytest.raises(
        ValidationException, match=r"1 validation error detected: Value null at 'resourceConfig\.volumeSizeInGB'"
    ):
        check(group("a"), ResourceConfig={"InstanceGroups": [group("a")]})


@pytest.mark.parametrize(
    ("second_type", "limit"),
    [
        ("ml.m5.large", "ml.m5.large for training job usage"),
        ("ml.c5.large", "Number of instances across all training jobs"),
    ],
)
def test_the_limit_counts_the_instances_of_all_groups(second_type, limit):
    with pytest.raises(ResourceLimitExceeded) as refused:
        check(group("a", 3), group("b", 2, second_type))

    assert f"service limit '{limit}' is 4 Instances" in refused.value.message
    assert "a request delta of 5 Instances" in refused.value.message


@pytest.mark.parametrize("member", ["EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"])
def test_what_several_instances_cannot_have_two_groups_of_one_cannot_either(member):
    check(group("a"), **{member: True})
    with pytest.raises(ValidationException, match=f"{member} with more than one instance"):
        check(group("a"), group("b"), **{member: True})


def test_a_description_shows_the_groups_and_a_count_of_zero():
    """As on SageMaker: clients add up the groups' own counts."""
    resources = to_description(make_job(request=make_request(resource_config=make_groups(a=1, b=2))))["ResourceConfig"]

    assert resources == {
        "InstanceCount": 0,
        "InstanceGroups": (group("a"), group("b", 2, "ml.c5.xlarge")),
        "VolumeSizeInGB": 10,
    }
