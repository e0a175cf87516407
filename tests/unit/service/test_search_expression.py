"""SearchExpressions of requests: what is understood, what is refused, and that the names are the API model's."""

import pytest

from clary.aws.errors import ValidationException
from clary.aws.model import ServiceModel
from clary.jobs.search import Both, Either, Kind, OneElement
from clary.service.search_expression import parse
from clary.service.search_properties import MEMBERS, TABLE, resolve, resolve_list

KINDS = {
    "string": Kind.TEXT,
    "integer": Kind.NUMBER,
    "long": Kind.NUMBER,
    "float": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "timestamp": Kind.TIME,
}


def leaves(shape, name=""):
    """The properties of a shape, as the table has them."""
    if shape.type_name == "structure":
        for member, below in shape.members.items():
            yield from leaves(below, f"{name}.{member}" if name else member)
    elif shape.type_name == "list":
        yield from leaves(shape.member, name + "[]")
    elif shape.type_name == "map":
        yield name + ".*", KINDS[shape.value.type_name]
    else:
        yield name, KINDS[shape.type_name]


def test_the_table_of_properties_is_the_model_of_a_training_job():
    """Name by name and kind by kind; tags and hyperparameters are families of their own."""
    shape = ServiceModel("sagemaker").shape("TrainingJob")
    modelled = {(name, kind) for name, kind in leaves(shape) if not name.startswith(("Tags[]", "HyperParameters."))}
    assert {(name, kind) for kind, names in TABLE.items() for name in names.split()} == modelled
    assert set(shape.members) == MEMBERS


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("TrainingJobName", ("TrainingJobName",), Kind.TEXT),
        ("ResourceConfig.InstanceCount", ("ResourceConfig", "InstanceCount"), Kind.NUMBER),
        ("InputDataConfig.ChannelName", ("InputDataConfig", "ChannelName"), Kind.TEXT),
        ("HyperParameters.a.b", ("HyperParameters", "a.b"), Kind.HYPER_PARAMETER),
        ("Metrics.train:acc", ("Metrics", "train:acc"), Kind.NUMBER),
        ("Tags.Key", ("Tags", "Key"), Kind.TEXT),
        ("Tags", ("Tags",), Kind.GROUP),
        ("VpcConfig", ("VpcConfig",), Kind.GROUP),
        ("Environment.X", ("Environment", "X"), Kind.TEXT),
        ("ProfilerConfig.ProfilingParameters.x", ("ProfilerConfig", "ProfilingParameters", "x"), Kind.TEXT),
    ],
)
def test_a_name_leads_to_a_property(name, path, kind):
    """What is named freely may have dots."""
    found = resolve(name)
    assert (found.name, found.path, found.kind) == (name, path, kind)


@pytest.mark.parametrize(
    "name", ["Nothing", "trainingJobName", "ResourceConfig.Nothing", "Tags.", "Metrics.", ".", "TrainingJobName.x"]
)
def test_an_unknown_name_is_refused(name):
    """By name."""
    with pytest.raises(ValidationException) as refusal:
        resolve(name)
    assert name in refusal.value.message


@pytest.mark.parametrize("name", ["TrainingJobName", "ResourceConfig", "Tags", "HyperParameters", "Nothing"])
def test_a_nested_property_is_a_list_of_structures(name):
    """Nothing else."""
    with pytest.raises(ValidationException):
        resolve_list(name)
    assert resolve_list("AlgorithmSpecification.MetricDefinitions") == ("AlgorithmSpecification", "MetricDefinitions")


def filters(count, **more):
    return {"Filters": [{"Name": "TrainingJobName", "Value": "x", **more}] * count}


def test_an_expression_keeps_its_shape():
    """And is the default."""
    parsed = parse(
        {
            "Filters": filters(1)["Filters"],
            "NestedFilters": [
                {
                    "NestedPropertyName": "InputDataConfig",
                    "Filters": [{"Name": "InputDataConfig.ChannelName", "Value": "train"}],
                }
            ],
            "SubExpressions": [filters(2) | {"Operator": "Or"}],
        }
    )
    assert isinstance(parsed, Both)
    assert isinstance(parsed.parts[1], OneElement)
    assert isinstance(parsed.parts[2], Either)
    assert [len(parsed.parts), len(parsed.parts[2].parts)] == [3, 2]


def nested(filter_name):
    return {"NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": [{"Name": filter_name}]}]}


def deep(levels):
    expression = filters(1)
    for _ in range(levels):
        expression = {"SubExpressions": [expression]}
    return expression


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({}, "must have at least one"),
        ({"SubExpressions": [{}]}, "must have at least one"),
        (filters(2, Operator="Contains"), ": 'CONTAINS' operator usage limit of 1 exceeded.$"),
        (
            {"SubExpressions": [filters(1, Operator="Contains")], **filters(1, Operator="Contains")},
            ": 'CONTAINS' operator usage limit of 1 exceeded.$",
        ),
        ({"SubExpressions": [filters(20), filters(20), filters(8)]}, "50; this one has 51"),
        (deep(50), "50; this one has 51"),
        (deep(5000), "50; this one has 5001"),
        (nested("ChannelName"), "Unknown property name"),
        (nested("TrainingJobName"), "beginning with 'InputDataConfig.'"),
        (nested("InputDataConfig"), "beginning with 'InputDataConfig.'"),
        (filters(1, Operator="LessThan"), "not supported for the text property"),
    ],
)
def test_an_expression_that_breaks_a_rule_is_refused(expression, message):
    """With a ValidationException that says which."""
    with pytest.raises(ValidationException, match=message):
        parse(expression)


def test_fifty_elements_are_not_too_many():
    """Filters, nested filters and subexpressions, all told."""
    parse({"SubExpressions": [filters(20), filters(20), filters(7)]})
    parse(deep(49))
