"""The structs of an algorithm carry the API model's own names, member by member and shape by shape."""

import json
import typing

import botocore.session
import msgspec
import pytest
from botocore import xform_name

from clary.jobs.algorithm import AlgorithmRequest, AlgorithmStatus, ParameterType

_MODEL = botocore.session.Session().get_service_model("sagemaker")


def _nested(annotation):
    """The struct in a type such as `tuple[ChannelSpecification, ...] | None`."""
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


_SHAPES = list(_walk(AlgorithmRequest, _MODEL.shape_for("CreateAlgorithmInput"), "CreateAlgorithm"))


@pytest.mark.parametrize(("struct", "shape"), [case[1:] for case in _SHAPES], ids=[case[0] for case in _SHAPES])
def test_every_field_is_named_as_its_member(struct, shape):
    """The field is the member in botocore's snake case, is encoded to the member's exact spelling, and is required
    exactly if the member is."""
    members = {xform_name(member): member for member in shape.members}
    for field in msgspec.structs.fields(struct):
        assert members.get(field.name) == field.encode_name, f"{struct.__name__}.{field.name}"
        assert field.required == (field.encode_name in shape.required_members), f"{struct.__name__}.{field.name}"


def test_every_shape_was_walked():
    """The walk reached the depths."""
    assert {struct.__name__ for _, struct, _ in _SHAPES} == {
        "AlgorithmRequest",
        "TrainingSpecification",
        "HyperParameterSpecification",
        "ParameterRange",
        "IntegerParameterRangeSpecification",
        "ContinuousParameterRangeSpecification",
        "CategoricalParameterRangeSpecification",
        "ChannelSpecification",
        "MetricDefinition",
        "HyperParameterTuningJobObjective",
    }


@pytest.mark.parametrize("enum", [AlgorithmStatus, ParameterType])
def test_the_enums_are_those_of_the_model(enum):
    """Value by value."""
    assert [member.value for member in enum] == _MODEL.shape_for(enum.__name__).enum


def test_a_request_goes_through_the_structs_and_comes_out_unchanged():
    """As the wire has it: nothing renamed, nothing added, nothing lost; an empty list stays one, a false stays one."""
    number = {"MinValue": "1", "MaxValue": "9"}
    wire = {
        "AlgorithmName": "algorithm",
        "AlgorithmDescription": "words",
        "TrainingSpecification": {
            "TrainingImage": "image",
            "TrainingImageDigest": "sha256:" + "0" * 64,
            "SupportedHyperParameters": [
                {
                    "Name": "a",
                    "Description": "d",
                    "Type": "Integer",
                    "Range": {"IntegerParameterRangeSpecification": number},
                    "IsTunable": True,
                    "IsRequired": False,
                    "DefaultValue": "5",
                },
                {
                    "Name": "b",
                    "Type": "Continuous",
                    "Range": {"ContinuousParameterRangeSpecification": number},
                },
                {
                    "Name": "c",
                    "Type": "Categorical",
                    "Range": {"CategoricalParameterRangeSpecification": {"Values": ["x"]}},
                },
            ],
            "SupportedTrainingInstanceTypes": ["ml.m5.large"],
            "SupportsDistributedTraining": False,
            "MetricDefinitions": [],
            "TrainingChannels": [
                {
                    "Name": "train",
                    "Description": "d",
                    "IsRequired": True,
                    "SupportedContentTypes": [],
                    "SupportedCompressionTypes": ["None"],
                    "SupportedInputModes": ["File"],
                }
            ],
            "SupportedTuningJobObjectiveMetrics": [{"Type": "Maximize", "MetricName": "m"}],
        },
        "InferenceSpecification": {"Containers": [{"Image": "i"}], "SupportedContentTypes": ["text/csv"]},
        "CertifyForMarketplace": False,
    }
    assert json.loads(msgspec.json.encode(msgspec.convert(wire, AlgorithmRequest))) == wire
