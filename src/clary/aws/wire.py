"""What the gateway needs of a protocol: `json_rpc`, `query_xml`, `rpc_cbor` and `rest_json` each offer a `Wire`."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from clary.aws import refusals
from clary.aws.canonical import Request
from clary.aws.errors import AwsError
from clary.aws.model import Operation, ServiceModel


class Answer(NamedTuple):
    """An HTTP answer, before the headers that every answer has; `headers` are those of its protocol."""

    http_status: int
    content_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Wire(Protocol):
    """One protocol of one request."""

    protocol: refusals.Protocol
    """The column of `refusals.CODES` that this protocol speaks."""

    def operation_name(self, request: Request, headers: Mapping[bytes, bytes], model: ServiceModel) -> str:
        """The name of the operation. Raises `AwsError` when the request names none of this service."""
        ...

    def parse(self, request: Request, operation: Operation) -> dict[str, Any]:
        """The parameters as builtins, not yet validated. Raises `AwsError` when the body cannot be read."""
        ...

    def result(self, value: object | None, operation: Operation, model: ServiceModel, request_id: str) -> Answer:
        """The answer of a handler on the wire."""
        ...

    def error(self, error: AwsError, model: ServiceModel | None, request_id: str) -> Answer:
        """An error on the wire; the model, where one is known, says what its text is called."""
        ...
