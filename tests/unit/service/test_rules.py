"""Rules across members of CreateTrainingJob."""

import pytest

from clary.aws.errors import AwsError, ResourceLimitExceeded, ValidationException
from clary.compute.port import Capabilities
from clary.service.rules import check_kms_key, check_needed, check_request
from clary.service.shapes import to_request

CAN = Capabilities(instance_count_max=4, isolated_instance_count_max=1)


def params(**changes):
    return {
        "TrainingJobName": "j",
        "AlgorithmSpecification": {"TrainingImage": "clary/python", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::000000000000:role/r",
        "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    } | changes


def channel(name, uri="s3://b/p", mode=None, s3=(), **members):
    source = {"S3DataType": "S3Prefix", "S3Uri": uri} | dict(s3)
    mode = {} if mode is None else {"InputMode": mode}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}} | mode | members


AUGMENTED = {"S3DataType": "AugmentedManifestFile"}
DEBUG = {"S3OutputPath": "s3://b/debug"}
FILE_SYSTEM = {
    "FileSystemId": "fs-00000000000",
    "FileSystemAccessMode": "ro",
    "FileSystemType": "EFS",
    "DirectoryPath": "/d",
}


def check(**changes):
    given = params(**changes)
    check_needed(given)
    check_request(to_request(given, image_metrics=()), CAN)


def test_a_plain_request_obeys():
    check(InputDataConfig=[channel("train"), channel("validation")])


@pytest.mark.parametrize(
    "channels",
    [
        [channel("a", mode="Pipe", CompressionType="Gzip", RecordWrapperType="RecordIO", ShuffleConfig={"Seed": -1})],
        [channel("a", mode="Pipe", s3={"S3DataType": "ManifestFile"})],
        [channel("a", mode="Pipe", s3=AUGMENTED | {"AttributeNames": ["x-ref"]})],
        [channel("a", mode="Pipe"), channel("a_1", mode="Pipe"), channel("a_01"), channel("a_"), channel("b_0")],
        [channel("a", ShuffleConfig={"Seed": 1}, CompressionType="None", RecordWrapperType="None")],
    ],
)
def test_channels_that_obey(channels):
    """Each setting where it means something."""
    check(InputDataConfig=channels)


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        ([channel("a", CompressionType="Gzip")], "CompressionType Gzip is supported in the input mode Pipe only"),
        (
            [channel("a", RecordWrapperType="RecordIO")],
            "RecordWrapperType RecordIO is supported in the input mode Pipe",
        ),
        ([channel("a", mode="Pipe", s3=AUGMENTED)], "AttributeNames must be given for"),
        ([channel("a", mode="Pipe", s3={"AttributeNames": ["x"]})], "AttributeNames must be given for"),
        ([channel("a", s3=AUGMENTED | {"AttributeNames": ["x"]})], "in the input mode Pipe only, not in File"),
        ([channel("a", mode="Pipe"), channel("a_0")], "'a_0' cannot have this name"),
        ([channel("a", mode="Pipe"), channel("a_12")], "'a_12' cannot have this name"),
        (
            [channel("a", mode="Pipe") | {"DataSource": {"FileSystemDataSource": FILE_SYSTEM}}],
            "a FileSystemDataSource needs the input mode File, not Pipe",
        ),
    ],
)
def test_channels_that_make_no_sense(channels, text):
    """Said in words, with the channel's name."""
    with pytest.raises(ValidationException) as refused:
        check(InputDataConfig=channels)

    assert text in refused.value.message
    assert "Input channel 'a" in refused.value.message


def test_the_mode_of_the_job_is_that_of_its_channels():
    """Unless a channel has its own."""
    pipe = {"AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "Pipe"}}
    check(InputDataConfig=[channel("a", CompressionType="Gzip")], **pipe)
    with pytest.raises(ValidationException, match="cannot have this name"):
        check(InputDataConfig=[channel("a"), channel("a_0", mode="File")], **pipe)


@pytest.mark.parametrize("name", ["AlgorithmSpecification", "ResourceConfig"])
def test_what_an_ordinary_job_needs_is_asked_for(name):
    given = params()
    del given[name]

    with pytest.raises(ValidationException) as refused:
        check_needed(given)

    where = name[0].lower() + name[1:]
    assert refused.value.message == (
        f"1 validation error detected: Value null at '{where}' failed to satisfy constraint: Member must not be null"
    )


def of_types(*types, **more):
    groups = [{"InstanceType": name, "InstanceCount": 1, "InstanceGroupName": name} for name in types]
    return ({"InstanceGroups": groups} if len(types) > 1 else {"InstanceType": types[0], "InstanceCount": 1}) | more


@pytest.mark.parametrize("volume", [{}, {"VolumeSizeInGB": 0}])
@pytest.mark.parametrize(
    ("types", "needed"),
    [
        (("ml.m5.large",), True),
        (("ml.p3.2xlarge",), True),
        (("ml.unheard-of.large",), True),
        (("ml.g5.xlarge",), False),
        (("ml.p4d.24xlarge",), False),
        (("ml.g5.xlarge", "ml.trn1.2xlarge"), False),
        (("ml.g5.xlarge", "ml.c5.xlarge"), True),
    ],
)
def test_a_volume_is_needed_where_there_is_no_other_disk(types, needed, volume):
    """Types with an instance store may leave its size out, or say nought."""
    given = params(ResourceConfig=of_types(*types, **volume))
    if not needed:
        check(**given)
        return
    with pytest.raises(ValidationException, match=r"1 validation error detected: .*'resourceConfig\.volumeSizeInGB'"):
        check_needed(given)


def test_two_missing_members_are_counted():
    with pytest.raises(ValidationException, match="2 validation errors detected: "):
        check(ResourceConfig={"InstanceCount": 1})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"InputDataConfig": [channel("a"), channel("a")]}, "Channel names must be unique"),
        ({"InputDataConfig": [channel("..")]}, "cannot be the name of a channel"),
        ({"Environment": {"A": "b\0"}}, "'environment' must not hold a NUL"),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": "i",
                    "TrainingInputMode": "File",
                    "ContainerEntrypoint": ["a", "\0"],
                }
            },
            "'algorithmSpecification.containerEntrypoint' must not hold a NUL",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "ftp://b"}}, "Invalid S3 URI"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 2_419_201}},
            "at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: Member must have value less than or",
        ),
        (
            {"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 300}},
            "'profilerConfig.profilingIntervalInMilliseconds' failed to satisfy constraint: Member must satisfy enum value",
        ),
        (
            {"DebugHookConfig": DEBUG | {"LocalPath": "/opt/ml/model"}},
            "Invalid DebugHookConfig.LocalPath '/opt/ml/model'",
        ),
        ({"StoppingCondition": {"MaxWaitTimeInSeconds": 9}}, "Invalid MaxWaitTimeInSeconds. It is only supported when"),
        (
            {"ResourceConfig": {"InstanceType": "m", "InstanceCount": 0, "VolumeSizeInGB": 1}},
            "resourceConfig.instanceCount",
        ),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "must name a TrainingImage or an AlgorithmName"),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "i", "AlgorithmName": "a"}},
            "must not name both a TrainingImage and an AlgorithmName",
        ),
        (
            {
                "EnableNetworkIsolation": True,
                "ResourceConfig": {"InstanceType": "m", "InstanceCount": 2, "VolumeSizeInGB": 1},
            },
            "EnableNetworkIsolation",
        ),
        (
            {
                "EnableInterContainerTrafficEncryption": True,
                "ResourceConfig": {"InstanceType": "m", "InstanceCount": 2, "VolumeSizeInGB": 1},
            },
            "EnableInterContainerTrafficEncryption",
        ),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": "i",
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "m", "Regex": "(("}],
                }
            },
            "metric definition 'm'",
        ),
    ],
)
def test_a_broken_rule_is_refused_in_words(changes, text):
    with pytest.raises(ValidationException) as refused:
        check(**changes)

    assert text in refused.value.message


@pytest.mark.parametrize(("key", "asked"), [(None, []), ("", []), ("alias/mine", ["alias/mine"])])
def test_only_a_key_that_is_given_is_looked_for(key, asked):
    """No key, and the empty one that Describe gives back, leave encryption to the bucket."""
    found = []
    check_kms_key(key, found.append)
    assert found == asked


def test_a_key_that_cannot_encrypt_is_refused_in_the_words_of_kms():
    """At create, rather than when the job has trained."""

    def refuse(key_id):
        raise AwsError(code="DisabledException", message=f"{key_id} is disabled.")

    with pytest.raises(ValidationException, match="Invalid KmsKeyId 'alias/mine': alias/mine is disabled"):
        check_kms_key("alias/mine", refuse)


@pytest.mark.parametrize(
    "changes",
    [
        {"StoppingCondition": {"MaxRuntimeInSeconds": 2_419_200}},
        *({"ProfilerConfig": {"ProfilingIntervalInMilliseconds": ms}} for ms in (100, 200, 500, 1000, 5000, 60000)),
        {"ProfilerConfig": {"DisableProfiler": True}},
        {"DebugHookConfig": DEBUG},
        {"DebugHookConfig": DEBUG | {"LocalPath": "/opt/ml/output/tensors/"}},
        {"DebugHookConfig": DEBUG | {"LocalPath": "/mine"}},
    ],
)
def test_what_is_just_within_a_rule_passes(changes):
    check(**changes)


@pytest.mark.parametrize(
    "path",
    ["/", "/opt", "/opt/ml", "/opt/ml/", "/opt/ml/input", "/opt/ml/input/data/x", "/opt/ml/output", "/opt/ml/output/data",
     "/opt/ml/output/failure", "/opt/ml/x/../model", "//opt//ml/model/a", "/dev/shm"],
)  # fmt: skip
def test_tensors_are_not_kept_where_the_platform_has_something(path):
    with pytest.raises(ValidationException, match=r"Invalid DebugHookConfig\.LocalPath"):
        check(DebugHookConfig=DEBUG | {"LocalPath": path})


def test_more_instances_than_there_are_is_a_limit_not_a_mistake():
    with pytest.raises(
        ResourceLimitExceeded, match=r"The account-level service limit 'ml\.m5\.large for training job usage'"
    ):
        check(ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 5, "VolumeSizeInGB": 1})


def test_a_machine_on_which_nothing_can_run_says_so_at_create():
    request = to_request(params(), image_metrics=())

    with pytest.raises(ValidationException, match="user namespaces are off"):
        check_request(request, Capabilities(problem="user namespaces are off: sysctl …"))
