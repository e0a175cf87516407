"""The model validator: what it lets pass, what it says."""

import pytest

from clary.aws.errors import AwsError, ValidationException
from clary.aws.model import Patch, ServiceModel
from clary.aws.validation import VIOLATIONS_MAX, Validators

MODEL = ServiceModel("sagemaker")
VALIDATORS = Validators()
ROLE = "arn:aws:iam::123456789012:role/service-role/SageMakerRole"
GOOD = {
    "TrainingJobName": "job",
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 600},
}


def validate(params, operation="CreateTrainingJob"):
    return VALIDATORS.validate(MODEL.operation(operation).input_shape, params)


def message(params, operation="CreateTrainingJob"):
    with pytest.raises(ValidationException) as refused:
        validate(params, operation)
    return refused.value.message


def test_a_good_request_is_left_as_it_is():
    """Nothing is added, nothing is changed."""
    assert validate(GOOD) == GOOD


def test_members_that_the_model_does_not_know_are_dropped_at_every_depth():
    """So that an older model serves a newer client."""
    params = {
        **GOOD,
        "Unknown": {"a": 1},
        "ResourceConfig": {**GOOD["ResourceConfig"], "Newer": 1},
        "Tags": [{"Key": "k", "Value": "v", "Color": "red"}],
    }
    assert validate(params) == {**GOOD, "Tags": [{"Key": "k", "Value": "v"}]}


def test_a_null_counts_as_absent():
    """An optional member is dropped, a required one is missing."""
    assert validate({**GOOD, "Tags": None}) == GOOD
    assert message({**GOOD, "RoleArn": None}) == (
        "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"TrainingJobName": "bad_name!"},
            (
                "Value 'bad_name!' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression "
                "pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
            ),
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 0}},
            (
                "Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: "
                "Member must have value greater than or equal to 1"
            ),
        ),
        (
            {"RetryStrategy": {"MaximumRetryAttempts": 31}},
            (
                "Value '31' at 'retryStrategy.maximumRetryAttempts' failed to satisfy constraint: "
                "Member must have value less than or equal to 30"
            ),
        ),
        (
            {"InputDataConfig": []},
            "Value '[]' at 'inputDataConfig' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "Tape"}},
            (
                "Value 'Tape' at 'algorithmSpecification.trainingInputMode' failed to satisfy constraint: "
                "Member must satisfy enum value set: [Pipe, File, FastFile]"
            ),
        ),
        (
            {"Tags": [{"Key": "a", "Value": ""}, {"Key": "b"}]},
            "Value null at 'tags.2.member.value' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"HyperParameters": {"a": "two\nlines"}},
            (
                "Value '{a=two\nlines}' at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: "
                "[Member must have length less than or equal to 2500, Member must have length greater than or equal to 0, "
                "Member must satisfy regular expression pattern: .*, Member must not be null]"
            ),
        ),
        (
            {"Environment": {"1a": "x"}},
            (
                "Value '{1a=x}' at 'environment' failed to satisfy constraint: Map keys must satisfy constraint: "
                "[Member must have length less than or equal to 512, Member must have length greater than or equal to 0, "
                "Member must satisfy regular expression pattern: [a-zA-Z_][a-zA-Z0-9_]*, Member must not be null]"
            ),
        ),
        (
            {"VpcConfig": {"Subnets": ["subnet!"], "SecurityGroupIds": ["sg-1"]}},
            (
                "Value '[subnet!]' at 'vpcConfig.subnets' failed to satisfy constraint: Member must satisfy constraint: "
                "[Member must have length less than or equal to 32, Member must have length greater than or equal to 0, "
                "Member must satisfy regular expression pattern: [-0-9a-zA-Z]+, Member must not be null]"
            ),
        ),
    ],
)
def test_each_kind_of_violation_in_the_words_of_aws(change, text):
    """One violation, one item, the whole message."""
    assert message({**GOOD, **change}) == f"1 validation error detected: {text}"


def test_all_violations_stand_in_one_message():
    """Plural, joined by semicolons, without a full stop."""
    text = message({**GOOD, "TrainingJobName": "", "ResourceConfig": {"VolumeSizeInGB": -1}})
    assert text.startswith("3 validation errors detected: ")
    items = text.partition(": ")[2].split("; ")
    assert [item.split("'")[3] for item in items] == [
        "trainingJobName",
        "trainingJobName",
        "resourceConfig.volumeSizeInGB",
    ]
    assert not text.endswith(".")


def test_a_request_full_of_violations_gets_an_answer_of_bounded_length():
    """A small request cannot ask for an enormous answer."""
    text = message({**GOOD, "Tags": [{"Key": "", "Value": ""}] * 10_000})
    assert text.startswith(f"{VIOLATIONS_MAX} validation errors detected: ")
    assert len(text) < 100_000


def test_a_long_value_is_left_out():
    """What the caller sent by the megabyte is not sent back."""
    text = message({**GOOD, "TrainingJobName": "x" * 100_000})
    assert text.startswith("2 validation errors detected: Value at 'trainingJobName' failed")
    assert len(text) < 1000


def test_the_value_of_a_sensitive_shape_is_left_out():
    """A secret that breaks a rule does not come back in the error."""
    params = {"WorkforceName": "w", "OidcConfig": {"ClientSecret": "gehéim"}}
    text = message(params, "CreateWorkforce")
    assert "Value at 'oidcConfig.clientSecret' failed to satisfy constraint" in text
    assert "gehéim" not in text


@pytest.mark.parametrize(
    "change",
    [
        {"TrainingJobName": 1},
        {"TrainingJobName": ["a"]},
        {"TrainingJobName": {}},
        {"ResourceConfig": "x"},
        {"ResourceConfig": []},
        {"ResourceConfig": {"VolumeSizeInGB": "10"}},
        {"ResourceConfig": {"VolumeSizeInGB": True}},
        {"ResourceConfig": {"VolumeSizeInGB": 1.5}},
        {"ResourceConfig": {"VolumeSizeInGB": 2**31}},
        {"InputDataConfig": {"0": {}}},
        {"InputDataConfig": [1]},
        {"HyperParameters": []},
        {"HyperParameters": {"a": 1}},
        {"EnableNetworkIsolation": "true"},
        {"EnableNetworkIsolation": 1},
    ],
)
def test_a_wrong_json_type_is_a_serialization_exception(change):
    """Even beside violations: such a body cannot be read at all."""
    with pytest.raises(AwsError) as refused:
        validate({**GOOD, "RoleArn": "x", **change})
    assert refused.value.code == "SerializationException"


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000.5, 1_700_000_000.5),
        (1.7e9, 1_700_000_000.0),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000.5),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
    ],
)
def test_times_become_seconds(sent, seconds):
    """Any JSON number, or ISO 8601."""
    cleaned = validate({"CreationTimeAfter": sent}, "ListTrainingJobs")
    assert cleaned == {"CreationTimeAfter": seconds}
    assert type(cleaned["CreationTimeAfter"]) is float


@pytest.mark.parametrize("sent", ["yesterday", True, 1e20, -1e12, [], "2023-11-14T22:13:20Z trailing"])
def test_what_is_no_time_is_refused(sent):
    """A year that no client could show included."""
    with pytest.raises(AwsError) as refused:
        validate({"CreationTimeAfter": sent}, "ListTrainingJobs")
    assert refused.value.code == "SerializationException"


def test_a_whole_number_may_be_written_with_a_point_or_an_exponent():
    """1e1 is the integer 10."""
    params = {**GOOD, "ResourceConfig": {**GOOD["ResourceConfig"], "VolumeSizeInGB": 1e1}}
    assert type(validate(params)["ResourceConfig"]["VolumeSizeInGB"]) is int


def test_shapes_may_contain_themselves():
    """Search expressions nest; their paths count through the levels."""
    deep = {"SubExpressions": [{"SubExpressions": [{"Filters": [{"Name": ""}]}]}]}
    text = message({"Resource": "TrainingJob", "SearchExpression": deep}, "Search")
    path = "searchExpression.subExpressions.1.member.subExpressions.1.member.filters.1.member.name"
    assert f"Value '' at '{path}' failed" in text


def test_nesting_without_end_is_refused():
    """Deeper than we can go is the caller's fault, not ours."""
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"SubExpressions": [deep]}
    with pytest.raises(AwsError) as refused:
        validate({"Resource": "TrainingJob", "SearchExpression": deep}, "Search")
    assert refused.value.code == "SerializationException"


@pytest.mark.parametrize(
    ("config", "good"),
    [
        ({"TargetTracking": {}}, True),
        ({}, False),
        ({"Newer": {}}, False),
    ],
)
def test_a_union_has_exactly_one_member(config, good):
    """None, or one that we do not know, is a violation."""
    shape = MODEL.shape("ScalingPolicy")
    if good:
        assert VALIDATORS.validate(shape, config) == config
    else:
        with pytest.raises(ValidationException):
            VALIDATORS.validate(shape, config)


def test_a_null_in_a_list_or_map_is_a_violation():
    """An element that is missing is not simply skipped."""
    assert "tags.1.member" in message({**GOOD, "Tags": [None]})
    assert "'hyperParameters'" in message({**GOOD, "HyperParameters": {"a": None}})


def test_a_pattern_that_could_explode_is_not_tried_on_a_text_that_is_too_long():
    """Only its length is reported then."""
    model = ServiceModel(
        "sagemaker", (Patch(path=("shapes", "TrainingJobName", "pattern"), value=r"(?=a)(a*)*b", why="test"),)
    )
    with pytest.raises(ValidationException) as refused:
        Validators().validate(model.operation("DescribeTrainingJob").input_shape, {"TrainingJobName": "a" * 100_000})
    assert refused.value.message.startswith("1 validation error detected: ")
