"""Rules across members of CreateAlgorithm."""

import msgspec
import pytest

from clary.aws.errors import ValidationException
from clary.jobs.algorithm import TrainingSpecification
from clary.service.algorithm_rules import check_input_modes, check_specification

DIGEST = "sha256:" + "a" * 64


def channel(name="train", **changes):
    return {"Name": name, "SupportedContentTypes": [], "SupportedInputModes": ["File"]} | changes


def specification(**changes):
    wire = {
        "TrainingImage": "clary/python",
        "SupportedTrainingInstanceTypes": ["ml.m5.large"],
        "TrainingChannels": [channel()],
    }
    return msgspec.convert(wire | changes, TrainingSpecification)


def parameter(kind="Integer", name="h", **changes):
    return {"Name": name, "Type": kind} | changes


def bounds(kind, low, high):
    return {f"{kind}ParameterRangeSpecification": {"MinValue": low, "MaxValue": high}}


CATEGORIES = {"CategoricalParameterRangeSpecification": {"Values": ["a", "b"]}}


@pytest.mark.parametrize(
    "given",
    [
        parameter(),
        parameter(IsRequired=True),
        parameter(DefaultValue="1"),
        parameter(DefaultValue="1", IsRequired=False),
        parameter(Range=bounds("Integer", "-3", "3"), DefaultValue="3", IsTunable=True),
        parameter("Continuous", Range=bounds("Continuous", "1e-5", "0.5"), DefaultValue="0.1", IsTunable=True),
        parameter("Continuous", Range=bounds("Continuous", "1", "1")),
        parameter("Categorical", Range=CATEGORIES, DefaultValue="b", IsTunable=True),
        parameter("Categorical"),
        parameter("FreeText", DefaultValue="", IsTunable=False),
    ],
)
def test_a_sound_hyperparameter_passes(given):
    check_specification(specification(SupportedHyperParameters=[given]))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (parameter(DefaultValue="1", IsRequired=True), "hyperparameter 'h' has a default value and cannot be required"),
        (parameter(DefaultValue="x"), "the default value 'x' of hyperparameter 'h' must be an integer"),
        (
            parameter(DefaultValue="4", Range=bounds("Integer", "1", "3")),
            "the default value '4' of hyperparameter 'h' must be an integer between 1 and 3",
        ),
        (
            parameter("Categorical", DefaultValue="c", Range=CATEGORIES),
            "the default value 'c' of hyperparameter 'h' must be one of [a, b]",
        ),
        (
            parameter(Range=bounds("Integer", "1", "2.5")),
            "hyperparameter 'h' has a range from '1' to '2.5', which are not both integers",
        ),
        (
            parameter("Continuous", Range=bounds("Continuous", "low", "1")),
            "hyperparameter 'h' has a range from 'low' to '1', which are not both numbers",
        ),
        (
            parameter(Range=bounds("Integer", "3", "1")),
            "hyperparameter 'h' has a range whose MinValue 3 is greater than its MaxValue 1",
        ),
        (
            parameter(Range=bounds("Continuous", "1", "3")),
            "hyperparameter 'h' is of type Integer and needs a IntegerParameterRangeSpecification as its only range",
        ),
        (parameter(Range={}), "needs a IntegerParameterRangeSpecification"),
        (parameter(Range=bounds("Integer", "1", "3") | CATEGORIES), "as its only range"),
        (parameter("FreeText", Range=CATEGORIES), "hyperparameter 'h' is of type FreeText and cannot have a range"),
        (parameter("FreeText", IsTunable=True), "hyperparameter 'h' is tunable and needs a range"),
        (parameter(IsTunable=True), "hyperparameter 'h' is tunable and needs a range"),
    ],
)
def test_an_unsound_hyperparameter_is_refused_by_name(given, text):
    with pytest.raises(ValidationException) as refused:
        check_specification(specification(SupportedHyperParameters=[parameter(name="other"), given]))

    assert refused.value.message.startswith("Invalid TrainingSpecification: ")
    assert text in refused.value.message


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"SupportedHyperParameters": [parameter(), parameter(), parameter()]},
            "hyperparameter 'h' is there more than once",
        ),
        ({"TrainingChannels": [channel("a"), channel("a")]}, "channel 'a' is there more than once"),
        ({"TrainingChannels": [channel("..")]}, "'..' cannot be the name of a channel"),
        ({"TrainingChannels": [channel(SupportedInputModes=[])]}, "must support at least one input mode"),
        ({"SupportedTrainingInstanceTypes": []}, "must name at least one instance type"),
        ({"MetricDefinitions": [{"Name": "m", "Regex": "(("}]}, "the regular expression of metric 'm' is invalid"),
        (
            {"SupportedTuningJobObjectiveMetrics": [{"Type": "Maximize", "MetricName": "m"}]},
            "the objective metric 'm' has no metric definition",
        ),
        (
            {"TrainingImage": f"i@{DIGEST}", "TrainingImageDigest": "sha256:" + "b" * 64},
            "TrainingImage and TrainingImageDigest name different digests",
        ),
    ],
)
def test_a_broken_rule_is_refused_in_words(changes, text):
    with pytest.raises(ValidationException) as refused:
        check_specification(specification(**changes))

    assert refused.value.message.count(text) == 1


def test_all_that_is_wrong_stands_in_one_message():
    with pytest.raises(ValidationException) as refused:
        check_specification(
            specification(
                SupportedTrainingInstanceTypes=[],
                SupportedHyperParameters=[parameter(name="x", DefaultValue="y"), parameter(name="z", IsTunable=True)],
            )
        )

    assert refused.value.message.count("; ") == 2


def test_an_objective_metric_with_a_definition_passes():
    check_specification(
        specification(
            MetricDefinitions=[{"Name": "m", "Regex": "m=(.*)"}],
            SupportedTuningJobObjectiveMetrics=[{"Type": "Maximize", "MetricName": "m"}],
        )
    )


def test_the_digest_pins_the_image_once():
    assert specification(TrainingImageDigest=DIGEST.upper()).pinned_image == f"clary/python@{DIGEST}"
    both = specification(TrainingImage=f"i@{DIGEST}", TrainingImageDigest=DIGEST)
    check_specification(both)
    assert both.pinned_image == f"i@{DIGEST}"
    assert specification().pinned_image == "clary/python"


def test_fast_file_is_refused_as_if_the_enum_lacked_it():
    """Observed of CreateAlgorithm, though the model's enum has it."""
    with pytest.raises(ValidationException) as refused:
        check_input_modes(
            specification(TrainingChannels=[channel("a"), channel("b", SupportedInputModes=["File", "FastFile"])])
        )

    assert refused.value.message.startswith(
        "1 validation error detected: Value '[File, FastFile]' at "
        "'trainingSpecification.trainingChannels.2.member.supportedInputModes' failed to satisfy constraint: "
    )


def test_file_and_pipe_are_input_modes():
    check_input_modes(specification(TrainingChannels=[channel(SupportedInputModes=["Pipe", "File"])]))
