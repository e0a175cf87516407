"""The protocols awsJson 1.1 and 1.0: the operation in `X-Amz-Target`, JSON in and out.

SageMaker, CloudWatch Logs and CloudWatch speak it. Results are encoded as they are: a handler answers with wire-true
builtins or Structs, so that no shape is walked on the hot path. Source: Smithy, AWS JSON protocols.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from clary.aws import refusals
from clary.aws.canonical import Request
from clary.aws.errors import AwsError
from clary.aws.model import Operation, ServiceModel
from clary.aws.query_compatible import query_error_headers
from clary.aws.wire import Answer

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class JsonRpc:
    """awsJson in one of its two versions, which differ in the content type alone."""

    protocol: refusals.Protocol = "json"

    def __init__(self, version: str) -> None:
        self._content_type = f"application/x-amz-json-{version}".encode()

    def operation_name(self, request: Request, headers: Mapping[bytes, bytes], model: ServiceModel) -> str:
        """What follows the service's prefix in `X-Amz-Target`."""
        target = headers.get(b"x-amz-target", b"").decode("latin-1")
        prefix, _, name = target.partition(".")
        if request.method != "POST" or request.raw_path != b"/" or not name or prefix != model.target_prefix:
            raise unknown_operation(target)
        return name

    def parse(self, request: Request, operation: Operation) -> dict[str, Any]:
        """The body as it is; an empty one is an object without members. Operations differ in nothing here."""
        del operation
        return parse_object(request.body or b"")

    def result(self, value: object | None, operation: Operation, model: ServiceModel, request_id: str) -> Answer:
        """The value as JSON, or an empty body; the request id travels as a header."""
        del operation, model, request_id
        return Answer(200, self._content_type, b"" if value is None else _encode(value))

    def error(self, error: AwsError, model: ServiceModel | None, request_id: str) -> Answer:
        """`__type` and the text. Source: Smithy, AWS JSON 1.1, operation error serialization."""
        del request_id
        name = error.code if model is None or not model.is_query_compatible else model.error_name(error.code)
        text = "message" if model is None else model.message_member(error.code)
        body = _encode({"__type": name, text: error.message})
        return Answer(error.http_status, self._content_type, body, query_error_headers(error, model))


VERSION_1_1 = JsonRpc("1.1")
VERSION_1_0 = JsonRpc("1.0")


def parse_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises `AwsError` (SerializationException) for anything else."""
    if not body:
        return {}
    try:
        params = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AwsError(code="SerializationException", message="The request body is not valid JSON.") from None
    if type(params) is not dict:
        raise AwsError(code="SerializationException", message="The request body must be a JSON object.")
    return params


def unknown_operation(target: str) -> AwsError:
    """The target names no operation of the service. Code inferred from sibling services."""
    return AwsError(code="UnknownOperationException", message=f"The operation '{target}' does not exist.")
