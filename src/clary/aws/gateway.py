"""The front door: an ASGI application that answers every AWS service on one listener.

`app` makes one `Gateway` and serves it. A request's service is in the credential scope of its signature: S3 is handed,
stream and all, to the S3 gate; every other service goes through `Chain`. Whatever happens there, the caller gets a
well-formed answer of its protocol, and nothing of our insides. `GET /_clary/health` needs no signature.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from clary.aws import sigv2
from clary.aws.body import Disconnected, Receive
from clary.aws.canonical import headers_by_name
from clary.aws.chain import Chain, Exchange
from clary.aws.claim import service_of
from clary.aws.errors import AwsError
from clary.aws.handlers import RequestContext, Service
from clary.aws.query_xml import QUERY_XML
from clary.aws.refusals import Refused
from clary.aws.rpc_cbor import RPC_CBOR
from clary.aws.sigv4 import Credential, CredentialLookup
from clary.aws.throttle import Throttle
from clary.aws.wire import Answer
from clary.base.clock import Clock
from clary.base.telemetry import Seldom, get_logger

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH_PATH = "/_clary/health"  # no bucket can have that name
BODY_LIMIT_BYTES = 1 << 20

_logger = get_logger("aws")


class Gateway:
    """The application. Scopes other than HTTP are none of its business and end at once."""

    def __init__(
        self,
        *,
        services: Iterable[Service],
        credentials: CredentialLookup,
        clock: Clock,
        account_id: str,
        region: str,
        s3: ASGIApp | None = None,
        body_limit_bytes: int = BODY_LIMIT_BYTES,
        throttle: Throttle | None = None,
    ) -> None:
        """Raises ValueError when a handler's operation is not in the service model."""
        self._chain = Chain(
            services=services,
            credentials=credentials,
            clock=clock,
            account_id=account_id,
            region=region,
            body_limit_bytes=body_limit_bytes,
            throttle=throttle or Throttle({}, burst=1),
        )
        self._account_id = account_id
        self._region = region
        self._s3 = s3
        self._seldom = Seldom(_logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request_id = _request_id()
        if scope["path"] == HEALTH_PATH and scope["method"] in {"GET", "HEAD"}:
            await _send(send, Answer(200, b"application/json", b'{"status":"ok"}'), request_id)
            return
        headers = headers_by_name(scope["headers"])
        service_name = _service_name(scope["query_string"], headers)
        service = self._chain.service(service_name, scope["path"])
        wire = self._chain.wire(service_name, service, headers, scope["query_string"])
        # A request that is unsigned and looks like no other protocol is anonymous S3: the gate says what comes of it.
        anonymous = service_name is None and wire not in {QUERY_XML, RPC_CBOR} and b"x-amz-target" not in headers
        if self._s3 is not None and (service_name == "s3" or anonymous):
            with contextlib.suppress(asyncio.CancelledError):  # the server stops and has waited long enough
                await self._s3(scope, receive, send)
            return
        exchange = Exchange(
            request_id=request_id,
            scope=scope,
            headers=headers,
            receive=receive,
            service_name=service_name,
            service=service,
            wire=wire,
        )
        try:
            answer = await self._answer(exchange)
        except Disconnected:
            return
        except asyncio.CancelledError:  # the server stops and has waited long enough
            error = AwsError(
                code="ServiceUnavailable", message="The server is stopping. Please try again.", http_status=503
            )
            answer = _failed(exchange, error)
        await _send(send, answer, request_id)

    async def call(self, service: str, operation: str, params: dict[str, Any], caller: Credential) -> object | None:
        """What an operation answers to `caller`, for whom the console asks. As `Chain.call`."""
        context = RequestContext(
            request_id=_request_id(), account_id=self._account_id, region=self._region, caller=caller
        )
        return await self._chain.call(service, operation, params, context)

    async def _answer(self, exchange: Exchange) -> Answer:
        try:
            return await self._chain.answer(exchange)
        except Disconnected:
            raise
        except AwsError as error:
            failure = error
        except Refused as refused:
            cause = refused.cause.name
            self._seldom.info("signature refused", key=cause, request_id=exchange.request_id, cause=cause)
            failure = refused.as_error(exchange.wire.protocol)
        except Exception:  # noqa: BLE001
            # Whatever a handler lets through ends here: the operator gets the traceback, the caller the request id.
            _logger.error("request failed", request_id=exchange.request_id, **_named(exchange))  # noqa: TRY400
            failure = AwsError(
                code="InternalFailure",
                message="The request processing has failed because of an unknown error, exception or failure.",
                http_status=500,
            )
        return _failed(exchange, failure)


def _failed(exchange: Exchange, error: AwsError) -> Answer:
    model = None if exchange.service is None else exchange.service.model
    return exchange.wire.error(error, model, exchange.request_id)


def _request_id() -> str:
    """A UUID, version 4. It tells requests apart and keeps no secret, so it need not cost a system call."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _service_name(query: bytes, headers: dict[bytes, bytes]) -> str | None:
    authorization = headers.get(b"authorization")
    found = service_of(query, authorization)
    if found is None and (sigv2.is_presigned(query) or (authorization or b"").startswith(b"AWS ")):
        return "s3"  # only S3 ever had Signature Version 2 in these forms
    return found


def _named(exchange: Exchange) -> dict[str, object]:
    target = exchange.headers.get(b"x-amz-target", b"").decode("latin-1")
    return {"service": exchange.service_name, "target": target or exchange.scope["path"]}


async def _send(send: Send, answer: Answer, request_id: str) -> None:
    headers = [
        (b"x-amzn-requestid", request_id.encode()),
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    if answer.http_status in {408, 413, 503}:
        headers.append((b"connection", b"close"))  # the rest of the body must not be taken for the next request
    await send({"type": "http.response.start", "status": answer.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
