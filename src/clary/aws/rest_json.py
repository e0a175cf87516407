"""The protocol restJson 1 as far as SageMaker's metrics service needs it: a method, a path, JSON in and out.

Operations whose members travel in the path, the query or headers are beyond it: `check_model` refuses a service that has
them at start. Source: Smithy, AWS restJson1.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from clary.aws import refusals
from clary.aws.canonical import Request
from clary.aws.errors import AwsError
from clary.aws.json_rpc import parse_object, unknown_operation
from clary.aws.model import Operation, ServiceModel
from clary.aws.wire import Answer

_CONTENT_TYPE = b"application/json"
_encode = msgspec.json.Encoder().encode


class RestJson:
    """restJson1."""

    protocol: refusals.Protocol = "json"

    def operation_name(self, request: Request, headers: Mapping[bytes, bytes], model: ServiceModel) -> str:
        """The operation of that method and path."""
        del headers
        path = request.raw_path.decode("latin-1")
        name = model.routes.get((request.method, path))
        if name is None:
            raise unknown_operation(f"{request.method} {path}")
        return name

    def parse(self, request: Request, operation: Operation) -> dict[str, Any]:
        """The body as it is."""
        del operation
        return parse_object(request.body or b"")

    def result(self, value: object | None, operation: Operation, model: ServiceModel, request_id: str) -> Answer:
        """The value as JSON; without one, an empty object."""
        del operation, model, request_id
        return Answer(200, _CONTENT_TYPE, _encode({} if value is None else value))

    def error(self, error: AwsError, model: ServiceModel | None, request_id: str) -> Answer:
        """The code in a header, the text in the body."""
        del request_id
        text = "message" if model is None else model.message_member(error.code)
        header = (b"x-amzn-errortype", error.code.encode())
        return Answer(error.http_status, _CONTENT_TYPE, _encode({text: error.message}), (header,))


REST_JSON = RestJson()


def check_model(model: ServiceModel, operations: Iterable[str]) -> None:
    """Raises ValueError for an operation that this protocol's code does not cover."""
    routed = set(model.routes.values())
    for name in operations:
        operation = model.operation(name)
        if operation is None or name not in routed:
            raise ValueError(f"{model.service} {name} has no fixed path")
        for shape in (operation.input_shape, operation.output_shape):
            if shape is not None and (
                "payload" in shape.serialization
                or any("location" in member.serialization for member in shape.members.values())
            ):
                raise ValueError(f"{model.service} {name} has members outside the body")
