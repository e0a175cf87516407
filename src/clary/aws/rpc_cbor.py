"""The protocol Smithy RPC v2 CBOR: service and operation in the path, CBOR in and out. CloudWatch speaks it.

Handlers see what they would see of JSON, and answer the same; times get their tag from the output shape. Source: Smithy,
RPC v2 CBOR protocol.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from clary.aws import refusals
from clary.aws.canonical import Request
from clary.aws.cbor import BadCbor, decode, encode, encode_texts
from clary.aws.errors import AwsError
from clary.aws.json_rpc import unknown_operation
from clary.aws.model import Operation, ServiceModel
from clary.aws.query_compatible import query_error_headers
from clary.aws.wire import Answer

HEADER = (b"smithy-protocol", b"rpc-v2-cbor")
"""What every request and every answer of this protocol says."""

_CONTENT_TYPE = b"application/cbor"


class RpcCbor:
    """RPC v2 CBOR."""

    protocol: refusals.Protocol = "json"

    def operation_name(self, request: Request, headers: Mapping[bytes, bytes], model: ServiceModel) -> str:
        """What the path says: `/service/<target prefix>/operation/<name>`, wherever the service is mounted."""
        del headers
        path = request.raw_path.decode("latin-1")
        *_, first, service, second, name = ["", "", "", *path.split("/")]
        if (
            not name
            or request.method != "POST"
            or (first, service, second) != ("service", model.target_prefix, "operation")
        ):
            raise unknown_operation(path)
        return name

    def parse(self, request: Request, operation: Operation) -> dict[str, Any]:
        """The map that the body holds; an empty body is an empty one."""
        del operation
        try:
            params = decode(request.body) if request.body else {}
        except BadCbor as error:
            raise _unreadable(f"The request body is not valid CBOR: {error}.") from None
        if type(params) is not dict:
            raise _unreadable("The request body must be a CBOR map.")
        return params

    def result(self, value: object | None, operation: Operation, model: ServiceModel, request_id: str) -> Answer:
        """The answer along the output shape; an operation without output has an empty body."""
        del model, request_id
        shape = operation.output_shape
        body = b"" if shape is None else encode(msgspec.to_builtins(value or {}), shape)
        return Answer(200, _CONTENT_TYPE, body, (HEADER,))

    def error(self, error: AwsError, model: ServiceModel | None, request_id: str) -> Answer:
        """`__type` and the text."""
        del request_id
        name = error.code if model is None else model.error_name(error.code)
        text = "message" if model is None else model.message_member(error.code)
        body = encode_texts({"__type": name, text: error.message})
        return Answer(error.http_status, _CONTENT_TYPE, body, (HEADER, *query_error_headers(error, model)))


RPC_CBOR = RpcCbor()


def _unreadable(message: str) -> AwsError:
    return AwsError(code="SerializationException", message=message)
