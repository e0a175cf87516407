"""Requests generated from the model's own shapes: good ones pass and survive the wire, one broken rule is named."""

import json
import re

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, StringShape, StructureShape
from botocore.model import ServiceModel as BotocoreModel
from botocore.serialize import JSONSerializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.aws.errors import ValidationException
from clary.aws.json_rpc import parse_object
from clary.aws.model import ServiceModel
from clary.aws.patterns import compile_pattern
from clary.aws.validation import Validators

OPERATIONS = [
    ("sagemaker", "CreateTrainingJob"),
    ("sagemaker", "ListTrainingJobs"),
    ("logs", "DescribeLogStreams"),
    ("logs", "GetLogEvents"),
]
MODELS = {name: ServiceModel(name) for name in ("sagemaker", "logs")}
JUDGES = {name: BotocoreModel(Loader().load_service_model(name, "service-2"), name) for name in MODELS}
VALIDATORS = {name: Validators() for name in MODELS}
LENIENT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

# Texts that obey most patterns at once; what obeys the others is drawn from the pattern.
SAMPLES = [
    "a", "1", "a-b", "s3://bucket/key", "https://host/path", "/opt/ml/input", "us-east-1a",
    "arn:aws:iam::123456789012:role/service-role/Name", "arn:aws:lambda:us-east-1:123456789012:function:name",
]  # fmt: skip


def texts(shape):
    if shape.enum:
        return st.sampled_from(shape.enum)
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 40)
    pattern = shape.metadata.get("pattern")
    drawn = st.text(
        st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=low, max_size=max(low, min(high, 40))
    )
    if pattern is None:
        return drawn
    matches = compile_pattern(pattern).matches
    good = [
        text for text in [*SAMPLES, "a" * max(low, 1), "x" * high if high < 300 else "xx"] if low <= len(text) <= high
    ]
    good = [text for text in good if matches(text)]
    if good:
        return st.sampled_from(good)
    regex = re.compile(pattern, re.ASCII)
    return st.from_regex(regex, fullmatch=True).filter(lambda text: low <= len(text) <= high and matches(text))


def values(shape, depth=0):
    if isinstance(shape, StructureShape):
        return structures(shape, depth)
    if isinstance(shape, ListShape):
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 3)
        return st.lists(values(shape.member, depth + 1), min_size=low, max_size=max(low, min(high, 2)))
    if isinstance(shape, MapShape):
        return st.dictionaries(
            values(shape.key), values(shape.value, depth + 1), max_size=min(2, shape.metadata.get("max", 2))
        )
    if isinstance(shape, StringShape):
        return texts(shape)
    if shape.type_name == "boolean":
        return st.booleans()
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 2**31 - 1)
    if shape.type_name in {"integer", "long"}:
        return st.integers(int(low), int(high))
    if shape.type_name == "timestamp":
        return st.integers(0, 4_000_000_000)
    return st.floats(low, high, allow_nan=False)


def structures(shape, depth):
    members = {name: values(member, depth + 1) for name, member in shape.members.items()}
    if shape.metadata.get("union"):
        return st.one_of([st.fixed_dictionaries({name: member}) for name, member in members.items()])
    required = {name: members[name] for name in shape.required_members}
    optional = {name: member for name, member in members.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


REQUESTS = {(service, name): values(MODELS[service].operation(name).input_shape) for service, name in OPERATIONS}


@pytest.mark.parametrize("key", OPERATIONS, ids="-".join)
@LENIENT
@given(data=st.data())
def test_what_the_model_allows_passes_and_survives_the_wire(key, data):
    """botocore serialises it, we parse and validate it, and it is the same."""
    service, name = key
    params = data.draw(REQUESTS[key])
    serialized = JSONSerializer().serialize_to_request(params, JUDGES[service].operation_model(name))
    received = parse_object(serialized["body"])
    assert VALIDATORS[service].validate(MODELS[service].operation(name).input_shape, received) == params


def places(shape, value, path=()):
    """Every (path on the wire, shape, container, key) at which a value stands."""
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            if name in value:
                here = (*path, name[:1].lower() + name[1:])
                yield here, member, value, name
                yield from places(member, value[name], here)
    elif isinstance(shape, ListShape) and isinstance(shape.member, StructureShape):
        for position, item in enumerate(value):
            yield from places(shape.member, item, (*path, f"{position + 1}.member"))


def breaks(shape, value):
    """Values of the right type that break exactly one rule of the shape, with the words that must be said."""
    rules = shape.metadata
    if isinstance(shape, StructureShape):
        return
    if isinstance(shape, StringShape):
        if shape.enum:
            yield "no such value", "Member must satisfy enum value set"
            return
        if rules.get("max", 10_000) < 10_000:
            yield "x" * (rules["max"] + 1), f"Member must have length less than or equal to {rules['max']}"
        if rules.get("min", 0) > 0:
            yield "", f"Member must have length greater than or equal to {rules['min']}"
        if rules.get("pattern") and not compile_pattern(rules["pattern"]).matches("\n\n"):
            yield "\n\n", "Member must satisfy regular expression pattern"
    elif isinstance(shape, ListShape):
        if "max" in rules and value:
            yield value[:1] * (rules["max"] + 1), f"Member must have length less than or equal to {rules['max']}"
        if rules.get("min", 0) > 0:
            yield [], f"Member must have length greater than or equal to {rules['min']}"
    elif isinstance(shape, MapShape):
        if shape.value.metadata.get("max", 10_000) < 10_000:
            yield {**value, "a": "x" * (shape.value.metadata["max"] + 1)}, "Map value must satisfy constraint"
        if shape.key.metadata.get("max", 10_000) < 10_000:
            yield {**value, "a" * (shape.key.metadata["max"] + 1): "x"}, "Map keys must satisfy constraint"
    elif shape.type_name in {"integer", "long", "float", "double"}:
        if "max" in rules and rules["max"] < 2**31 - 1:
            yield rules["max"] + 1, f"Member must have value less than or equal to {rules['max']}"
        if "min" in rules:
            yield rules["min"] - 1, f"Member must have value greater than or equal to {rules['min']}"


@pytest.mark.parametrize("key", OPERATIONS, ids="-".join)
@LENIENT
@given(data=st.data())
def test_one_broken_rule_is_named_with_its_path(key, data):
    """Take a good request, break one rule in one place: the message says which rule, and where."""
    service, name = key
    shape = MODELS[service].operation(name).input_shape
    params = json.loads(json.dumps(data.draw(REQUESTS[key])))
    candidates = [
        (path, container, member, bad, words)
        for path, inner, container, member in places(shape, params)
        for bad, words in breaks(inner, container[member])
    ]
    if not candidates:
        return
    path, container, member, bad, words = data.draw(st.sampled_from(candidates))
    container[member] = bad
    with pytest.raises(ValidationException) as refused:
        VALIDATORS[service].validate(shape, params)
    assert f"at '{'.'.join(path)}' failed to satisfy constraint: " in refused.value.message
    assert words in refused.value.message


@pytest.mark.parametrize("key", OPERATIONS, ids="-".join)
@LENIENT
@given(data=st.data())
def test_a_missing_required_member_is_named_with_its_path(key, data):
    """Take a good request, remove one required member: nothing else is reported."""
    service, name = key
    shape = MODELS[service].operation(name).input_shape
    params = json.loads(json.dumps(data.draw(REQUESTS[key])))
    candidates = [(("",), shape, {"": params}, ""), *list(places(shape, params))]
    found = [
        (path, container[member], required)
        for path, inner, container, member in candidates
        if isinstance(inner, StructureShape)
        for required in inner.required_members
    ]
    if not found:
        return
    path, structure, required = data.draw(st.sampled_from(found))
    del structure[required]
    full = ".".join([*path, required[:1].lower() + required[1:]]).lstrip(".")
    with pytest.raises(ValidationException) as refused:
        VALIDATORS[service].validate(shape, params)
    assert refused.value.message == (
        f"1 validation error detected: Value null at '{full}' failed to satisfy constraint: Member must not be null"
    )
