"""awsJson: target, body, answer."""

import json

import msgspec
import pytest

from clary.aws.canonical import Request
from clary.aws.errors import AwsError, ResourceInUse, ValidationException
from clary.aws.json_rpc import VERSION_1_0, VERSION_1_1, parse_object
from clary.aws.model import ServiceModel


@pytest.fixture(scope="module")
def model():
    return ServiceModel("sagemaker")


def request(method="POST", raw_path=b"/"):
    return Request(method=method, raw_path=raw_path, query=b"", headers=[], body=b"")


def test_the_operation_is_in_the_target(model):
    """The service's prefix, a dot, the name."""
    headers = {b"x-amz-target": b"SageMaker.CreateTrainingJob"}
    assert VERSION_1_1.operation_name(request(), headers, model) == "CreateTrainingJob"


@pytest.mark.parametrize(
    "target", [b"", b"SageMaker", b"SageMaker.", b"sagemaker.X", b"Logs_20140328.GetLogEvents", b"\xff.\xff"]
)
def test_any_other_target_is_an_unknown_operation(model, target):
    """Nothing is guessed."""
    with pytest.raises(AwsError) as refused:
        VERSION_1_1.operation_name(request(), {b"x-amz-target": target}, model)
    assert refused.value.code == "UnknownOperationException"


@pytest.mark.parametrize("sent", [request(method="GET"), request(raw_path=b"/elsewhere")])
def test_operations_are_posted_to_the_root(model, sent):
    """Source: service model, http trait of every operation."""
    with pytest.raises(AwsError) as refused:
        VERSION_1_1.operation_name(sent, {b"x-amz-target": b"SageMaker.CreateTrainingJob"}, model)
    assert refused.value.code == "UnknownOperationException"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"1", b'"text"', b"\xff", b'{"a":1}x', b"[" * 100_000, b"{'a':1}"]
)
def test_a_body_that_holds_no_object_is_refused(body):
    """Malformed, or JSON of another kind, or nested without end."""
    with pytest.raises(AwsError) as refused:
        parse_object(body)
    assert refused.value.code == "SerializationException"


def test_an_empty_body_is_an_empty_object():
    """Operations without parameters may send nothing."""
    assert parse_object(b"") == {}
    assert parse_object(b'{"a":1.5}') == {"a": 1.5}


def test_results_are_encoded_as_they_are(model):
    """Builtins and Structs alike; None is an empty body."""

    class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
        TrainingJobArn: str
        Missing: str | None = None

    operation = model.operation("CreateTrainingJob")
    answer = VERSION_1_1.result(Answer(TrainingJobArn="arn"), operation, model, "id")
    assert answer == (200, b"application/x-amz-json-1.1", b'{"TrainingJobArn":"arn"}', ())
    assert VERSION_1_0.result(None, operation, model, "id") == (200, b"application/x-amz-json-1.0", b"", ())


def test_the_text_of_an_error_is_called_as_the_model_says(model):
    """`Message` for a modelled error, `message` for a generic one."""
    body = json.loads(VERSION_1_1.error(ResourceInUse("taken"), model, "id").body)
    assert body == {"__type": "ResourceInUse", "Message": "taken"}
    answer = VERSION_1_1.error(ValidationException("bad"), model, "id")
    assert (answer.http_status, json.loads(answer.body)) == (400, {"__type": "ValidationException", "message": "bad"})
    assert json.loads(VERSION_1_1.error(ValidationException("bad"), None, "id").body)["message"] == "bad"
