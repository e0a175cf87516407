"""What happens to a request of a service with operations: `Chain.answer` is the list of steps, in order.

The gateway calls it once the request is neither for S3 nor for itself. A step raises `AwsError` or `Refused` for what
the caller did wrong and `Disconnected` when he has gone; the gateway turns those into bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from clary.aws import json_rpc, rest_json, rpc_cbor, sigv4
from clary.aws.body import WHOLE, Receive, read_body
from clary.aws.canonical import Request
from clary.aws.claim import read_claim
from clary.aws.errors import AwsError, ThrottlingException
from clary.aws.handlers import Handler, RequestContext, Service
from clary.aws.model import Operation, ServiceModel
from clary.aws.query_xml import QUERY_XML
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import CredentialLookup, SigningKeys
from clary.aws.throttle import Throttle
from clary.aws.validation import Validators
from clary.aws.wire import Answer, Wire
from clary.base.clock import Clock


class ServedService:
    """A service, its model and its compiled validators."""

    def __init__(self, service: Service) -> None:
        """Raises ValueError for a handler whose operation the model does not know."""
        self.name = service.name
        self.model = ServiceModel(service.name)
        self.handlers: Mapping[str, Handler] = dict(service.handlers)
        self.validators = Validators()
        unknown = self.handlers.keys() - self.model.operation_names()
        if unknown:
            raise ValueError(f"{service.name} has no operation {', '.join(sorted(unknown))}")
        self.is_rest = self.model.protocols == ("rest-json",)
        if self.is_rest:
            rest_json.check_model(self.model, self.handlers)


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request before its body is read. `service_name` is that of the signature's scope, None if it is unsigned;
    `service` is the one that answers it, None if none of ours does.
    """

    request_id: str
    scope: Mapping[str, Any]
    headers: dict[bytes, bytes]
    receive: Receive
    service_name: str | None
    service: ServedService | None
    wire: Wire

    def request(self, body: bytes | None = None) -> Request:
        """The request as the signature sees it."""
        scope = self.scope
        return Request(
            method=scope["method"],
            raw_path=scope.get("raw_path") or scope["path"].encode(),
            query=scope["query_string"],
            headers=scope["headers"],
            body=body,
        )


class Chain:
    """The steps, for the services given."""

    def __init__(
        self,
        *,
        services: Iterable[Service],
        credentials: CredentialLookup,
        clock: Clock,
        account_id: str,
        region: str,
        body_limit_bytes: int,
        throttle: Throttle,
    ) -> None:
        """Raises ValueError for a handler whose operation the model does not know. Reads the models: tens of ms each."""
        served = [ServedService(service) for service in services]
        self._services = {service.model.signing_name: service for service in served if not service.is_rest}
        self._rest = {
            (service.model.signing_name, path): service
            for service in served
            if service.is_rest
            for _, path in service.model.routes
        }
        self._credentials = credentials
        self._clock = clock
        self._account_id = account_id
        self._region = region
        self._body_limit_bytes = body_limit_bytes
        self._throttle = throttle
        self._signing_keys = SigningKeys()

    async def answer(self, exchange: Exchange) -> Answer:
        """Take a request through every step. Raises `AwsError`, `Refused`, `Disconnected` and what a handler lets through."""
        service = self._find_service(exchange)
        is_whole = WHOLE in exchange.scope.get("extensions", ())
        body = await read_body(exchange.receive, exchange.headers, self._body_limit_bytes, is_whole=is_whole)
        request = exchange.request(body)
        now = self._clock.now()
        verified = sigv4.verify(
            request,
            claim=read_claim(request, exchange.headers),
            credentials=self._credentials,
            now=now,
            signing_keys=self._signing_keys,
        )
        if verified.claim.service != exchange.service_name:  # two readings of a crafted header must not both count
            raise Refused(
                Cause.WRONG_SCOPE, f"Credential should be scoped to correct service: '{exchange.service_name}'."
            )
        operation, handler = self._find_operation(exchange, request, service)
        if not self._throttle.take(operation.service, operation.name, now):
            raise ThrottlingException("Rate exceeded")
        params = exchange.wire.parse(request, operation)
        params = _validated(params, operation, service)
        context = RequestContext(
            request_id=exchange.request_id,
            account_id=self._account_id,
            region=self._region,
            caller=verified.credential,
        )
        value = await handler(context, params)
        return exchange.wire.result(value, operation, service.model, exchange.request_id)

    async def call(
        self, service_name: str, operation_name: str, params: dict[str, Any], context: RequestContext
    ) -> object | None:
        """What an operation answers to a part of this server that asks for a user: the parameters obey the model as on the
        wire; nothing is signed or throttled. Raises `AwsError`, and KeyError for an operation that is not served.
        """
        service = self._services[service_name]
        operation = service.model.operation(operation_name)
        if operation is None:
            raise KeyError(operation_name)
        return await service.handlers[operation_name](context, _validated(params, operation, service))

    def service(self, service_name: str | None, path: str) -> ServedService | None:
        """Who answers a request that is signed for that service; services may share a name and differ in their paths."""
        name = service_name or ""
        return self._rest.get((name, path)) or self._services.get(name)

    def wire(
        self, service_name: str | None, service: ServedService | None, headers: Mapping[bytes, bytes], query: bytes
    ) -> Wire:
        """The protocol to answer in: what the request looks like, unless its service does not speak that."""
        form = headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded") or b"Action=" in query
        looks = "json" if b"x-amz-target" in headers else "query" if form else None
        name, value = rpc_cbor.HEADER
        if headers.get(name) == value:
            looks = "smithy-rpc-v2-cbor"
        if service is not None and looks not in service.model.protocols:
            looks = service.model.protocols[0]
        if looks == "query" or service_name == "s3":  # S3's clients read XML
            return QUERY_XML
        if looks == "smithy-rpc-v2-cbor":
            return rpc_cbor.RPC_CBOR
        if looks == "rest-json":
            return rest_json.REST_JSON
        is_1_0 = headers.get(b"content-type", b"").startswith(b"application/x-amz-json-1.0")
        return json_rpc.VERSION_1_0 if is_1_0 else json_rpc.VERSION_1_1

    def _find_service(self, exchange: Exchange) -> ServedService:
        if exchange.service_name is None:
            read_claim(exchange.request())  # raises what is wrong with it, mostly that it is missing
            raise Refused(Cause.MALFORMED, "The credential scope names no service.")
        if exchange.service is None:
            raise _unsupported(f"the service '{exchange.service_name}'")
        return exchange.service

    def _find_operation(
        self, exchange: Exchange, request: Request, service: ServedService
    ) -> tuple[Operation, Handler]:
        self._check_target(exchange, service)
        name = exchange.wire.operation_name(request, exchange.headers, service.model)
        operation = service.model.operation(name)
        if operation is None:
            raise json_rpc.unknown_operation(name)
        handler = service.handlers.get(name)
        if handler is None:
            raise _unsupported(f"{service.model.title} {name}")
        return operation, handler

    def _check_target(self, exchange: Exchange, service: ServedService) -> None:
        """A signature made for one service must not open another."""
        prefix = exchange.headers.get(b"x-amz-target", b"").decode("latin-1").partition(".")[0]
        if prefix in {"", service.model.target_prefix}:
            return
        for name, other in self._services.items():
            if prefix == other.model.target_prefix:
                raise Refused(Cause.WRONG_SCOPE, f"Credential should be scoped to correct service: '{name}'.")


def _validated(params: dict[str, Any], operation: Operation, service: ServedService) -> dict[str, Any]:
    return {} if operation.input_shape is None else service.validators.validate(operation.input_shape, params)


def _unsupported(what: str) -> AwsError:
    return AwsError(code="UnsupportedOperationException", message=f"Clary does not implement {what}.")
