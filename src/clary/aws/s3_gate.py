"""The gate for S3: proves who the caller is, then lets the request through to the store under our own signature.

The gateway hands over every request whose signature is for S3. The store knows none of Clary's callers, and they none of
its keys; whoever is proved here may do everything there. Bodies pass as streams in both directions, in constant memory.

The store goes on checking what it can: a payload hash given by the caller is signed again, so that an altered body is
refused there; checksums, conditions and ranges are its business alone. The gate smooths where the store differs from
S3: buckets made twice, aws-chunked uploads, the old presigned form, X-Amz-Expected-Bucket-Owner, and troubles with KMS
keys (`s3_encryption`).
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from clary.aws import sigv2, sigv4
from clary.aws.aws_chunked import Seed
from clary.aws.body import Disconnected, Receive
from clary.aws.canonical import Request, headers_by_name, query_pairs
from clary.aws.errors import AwsError
from clary.aws.refusals import Cause, Refused
from clary.aws.s3_body import Incoming, UploadBody, upload_body
from clary.aws.s3_encryption import KEY_ID, Encryption, FindKey
from clary.aws.sigv4 import UNSIGNED_PAYLOAD, Credential, CredentialLookup, SigningKeys
from clary.base.clock import Clock
from clary.base.telemetry import Seldom, get_logger

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]

_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"transfer-encoding",
    b"upgrade",
}  # fmt: skip
# Headers of the caller's own proof and of his own connection; what of the body the store must know, `s3_body` says.
_NOT_FORWARDED = _HOP_BY_HOP | {
    b"accept-encoding", b"authorization", b"content-length", b"date", b"expect", b"forwarded", b"host",
    b"x-amz-content-sha256", b"x-amz-date", b"x-amz-decoded-content-length", b"x-amz-expected-bucket-owner",
    b"x-amz-security-token", b"x-amz-source-expected-bucket-owner", b"x-amz-trailer",
}  # fmt: skip
# The last two are the store's inner names for what it keeps beside an object.
_NOT_FORWARDED_PREFIXES = (b"x-forwarded-", b"amz-sdk-", b"seaweed-", b"x-seaweedfs-")
_NOT_RETURNED = _HOP_BY_HOP | {b"date", b"server"}
_PROOF_PARAMETERS = {
    b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Date", b"X-Amz-Expires", b"X-Amz-SignedHeaders", b"X-Amz-Signature",
    b"X-Amz-Security-Token", b"x-amz-security-token", b"X-Amz-Content-Sha256", b"AWSAccessKeyId", b"Signature", b"Expires",
}  # fmt: skip
_NAMES_ONE_BUCKET = b".localhost"
_READ_BYTES = 256 * 1024

_logger = get_logger("aws", part="s3_gate")


class S3Gate:
    """An ASGI application for S3 alone. `start` and `close` open and close its connections to the store.

    `credential` is the store's, `callers` finds those of our callers, `region` is the store's region, `find_key` knows the
    keys of KMS.
    """

    def __init__(
        self,
        upstream_url: str,
        credential: Credential,
        *,
        callers: CredentialLookup,
        clock: Clock,
        region: str,
        find_key: FindKey,
    ) -> None:
        self._upstream_url = upstream_url.rstrip("/")
        self._upstream_host = urlsplit(upstream_url).netloc.encode()
        self._credential = credential
        self._callers = callers
        self._clock = clock
        self._region = region
        self._signing_keys = SigningKeys()
        self._session: aiohttp.ClientSession | None = None
        self._encryption = Encryption(find_key)
        self._seldom = Seldom(_logger)

    async def start(self) -> None:
        """Open the session. To be called in the event loop that serves."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            # A long upload or a slow reader is no fault; only a store that does not take the connection or is silent is.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=300),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            read_bufsize=_READ_BYTES,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the session; requests under way end with an error."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Scopes other than HTTP end at once."""
        if scope["type"] != "http":
            return
        asked, incoming, answer = _Asked(scope), Incoming(receive), _Answer(scope, send)
        try:
            failure = await self._pass(asked, incoming, answer)
            if failure is not None:
                await answer.error(failure, keep_alive=await incoming.settle(asked.headers))
        except Disconnected:
            return

    async def _pass(self, asked: "_Asked", incoming: Incoming, answer: "_Answer") -> AwsError | None:
        """Let the request through; what the caller is to be told if that was not possible. Raises `Disconnected`."""
        body = None
        try:
            caller, payload_hash, seed = self._prove(asked.request)
            _check_owner(asked, caller)
            asked.kms_key = self._encryption.key_of(asked.headers)
            body = upload_body(incoming, asked.headers, payload_hash=payload_hash, seed=seed)
            async with self._forward(asked, payload_hash, body) as response:
                await self._relay(asked, response, incoming, answer, body)
        except Refused as refused:
            cause = refused.cause.name
            self._seldom.info("signature refused", key=cause, request_id=answer.request_id, cause=cause)
            return refused.as_error("s3")
        except AwsError as error:
            return error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            fault = None if body is None else body.fault
            if isinstance(fault, Disconnected):
                raise fault from None
            if fault is not None:
                return fault
            self._seldom.warning("store unreachable", key="", request_id=answer.request_id, reason=repr(error))
            # Clients try again on this code, and by then the store has been started anew.
            return AwsError(
                code="ServiceUnavailable", message="The store is not available. Please try again.", http_status=503
            )
        return None

    async def _relay(
        self,
        asked: "_Asked",
        response: aiohttp.ClientResponse,
        incoming: Incoming,
        answer: "_Answer",
        body: UploadBody | None,
    ) -> None:
        """Pass the store's answer on, put right where it is not S3's."""
        if response.status < 400:
            if asked.sets_default_encryption():
                await self._encryption.complete_default(asked.path.rstrip(b"/"), self._ask)
            await _stream(response, incoming, answer)
            return
        document = await response.read()  # an error is a short document
        keep_alive = True
        if body is not None and not incoming.ended:
            response.close()  # stops the upload, so that nobody but us reads what the caller still sends
            await response.wait_for_close()
            keep_alive = await incoming.settle(asked.headers)
        if response.status == 409 and self._region == "us-east-1" and asked.creates_bucket():
            # The caller's own bucket: no error in this one region. Source: S3 API, CreateBucket.
            if b"<Code>BucketAlreadyOwnedByYou</Code>" in document:
                await answer.whole(200, [(b"location", asked.path)], b"", keep_alive=True)
                return
        elif response.status == 400 and body is not None and body.framed and b"<Code>IncompleteBody</Code>" in document:
            # The body was complete, or we had not ended it: what the store calls incomplete is a wrong checksum.
            raise AwsError(
                code="BadDigest", message="The checksum you specified did not match the calculated checksum."
            )
        elif response.status == 500:
            await self._encryption.explain(
                asked.request.method, asked.path, asked.query, headers_by_name(asked.forwarded_headers()), self._ask
            )
        await answer.whole(response.status, _returned(response), document, keep_alive=keep_alive)

    def _prove(self, request: Request) -> tuple[Credential, str, Seed | None]:
        """Who asks, the proved hash or marker of the body, and what signed chunks are chained to. Raises `Refused`."""
        now = self._clock.now()
        if sigv2.is_presigned(request.query):
            return self._prove_old(request), UNSIGNED_PAYLOAD, None
        claim = sigv4.read_claim(request)
        if claim.service != "s3":
            raise Refused(Cause.WRONG_SCOPE, f"The service '{claim.service}' is wrong; expecting 's3'")
        proved = sigv4.verify(request, credentials=self._callers, now=now, signing_keys=self._signing_keys, claim=claim)
        seed = Seed(
            signing_key=proved.signing_key, amz_date=claim.amz_date, scope=claim.scope, signature=claim.signature
        )
        return proved.credential, proved.payload_hash, None if claim.expires_seconds is not None else seed

    def _forward(
        self, asked: "_Asked", payload_hash: str, body: UploadBody | None
    ) -> "contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]":
        if self._session is None:
            raise RuntimeError("the gate has not been started")
        headers = [*asked.forwarded_headers(), (b"host", self._upstream_host)]
        if body is not None:
            payload_hash = body.payload_hash
            headers += body.headers.items()
        headers += sigv4.sign(
            Request(method=asked.request.method, raw_path=asked.path, query=asked.query, headers=headers),
            credential=self._credential,
            region=self._region,
            service="s3",
            now=self._clock.now(),
            signing_keys=self._signing_keys,
            payload_hash=payload_hash,
        )
        target = self._upstream_url.encode() + asked.path + (b"?" + asked.query if asked.query else b"")
        return self._session.request(
            asked.request.method,
            URL(target.decode("latin-1"), encoded=True),
            headers=CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers),
            data=body,
            allow_redirects=False,
        )

    async def _ask(self, method: str, path: bytes, query: bytes, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """The store's answer to a request of our own."""
        if self._session is None:
            raise RuntimeError("the gate has not been started")
        headers = [(b"host", self._upstream_host), (b"content-type", b"application/xml")]
        headers += sigv4.sign(
            Request(method=method, raw_path=path, query=query, headers=headers, body=body),
            credential=self._credential,
            region=self._region,
            service="s3",
            now=self._clock.now(),
            signing_keys=self._signing_keys,
        )
        target = self._upstream_url.encode() + path + (b"?" + query if query else b"")
        async with self._session.request(
            method,
            URL(target.decode("latin-1"), encoded=True),
            headers=CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers),
            data=body or None,
            allow_redirects=False,
        ) as response:
            return response.status, response.headers, await response.read()

    def _prove_old(self, request: Request) -> Credential:
        """Who made a presigned URL of the old form. A bucket's path is signed with a slash at its end, sent or not."""
        try:
            return sigv2.verify(request, credentials=self._callers, now=self._clock.now())
        except Refused as refused:
            if refused.cause is not Cause.MISMATCH or b"/" in request.raw_path[1:]:
                raise
        with_slash = msgspec.structs.replace(request, raw_path=request.raw_path + b"/")
        return sigv2.verify(with_slash, credentials=self._callers, now=self._clock.now())


class _Asked:
    """A request, and the same as the store is to get it: `path` and `query` as they stood on the wire. `kms_key` is the id of
    the key that it asks for.
    """

    def __init__(self, scope: Scope) -> None:
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.request = Request(
            method=scope["method"], raw_path=raw_path, query=scope["query_string"], headers=scope["headers"]
        )
        self.headers = headers_by_name(scope["headers"])
        self.kms_key: bytes | None = None
        self.path = self._bucket_of_host() + raw_path
        # Signers may move headers into the query; there the store would not look for them.
        moved = [(name.lower(), value) for name, value in query_pairs(self.request.query)]
        self._moved = [
            (name, value)
            for name, value in moved
            if name.startswith(b"x-amz-")
            and name not in self.headers
            and name not in {parameter.lower() for parameter in _PROOF_PARAMETERS}
        ]
        self.headers |= dict(self._moved)
        dropped = _PROOF_PARAMETERS | {name for name, _ in self._moved}
        self.query = b"&".join(
            part
            for part in self.request.query.split(b"&")
            if part.partition(b"=")[0] not in dropped and part.partition(b"=")[0].lower() not in dropped
        )

    def forwarded_headers(self) -> list[tuple[bytes, bytes]]:
        """The caller's headers that say something of the object or the wish."""
        forwarded = []
        for name, value in [*self.request.headers, *self._moved]:
            key = name.lower()
            kept = _own_codings(value) if key == b"content-encoding" else value
            if key == KEY_ID and self.kms_key is not None:
                continue
            if kept and key not in _NOT_FORWARDED and not key.startswith(_NOT_FORWARDED_PREFIXES):
                forwarded.append((key, kept))
        return forwarded if self.kms_key is None else [*forwarded, (KEY_ID, self.kms_key)]

    def creates_bucket(self) -> bool:
        """Whether this is CreateBucket."""
        bucket, _, key = self.path[1:].partition(b"/")
        names = {part.partition(b"=")[0] for part in self.query.split(b"&")}
        return self.request.method == "PUT" and bucket != b"" and key == b"" and names <= {b"", b"x-id"}

    def sets_default_encryption(self) -> bool:
        """Whether this is PutBucketEncryption."""
        names = {part.partition(b"=")[0] for part in self.query.split(b"&")}
        return self.request.method == "PUT" and b"encryption" in names and b"/" not in self.path[1:].rstrip(b"/")

    def _bucket_of_host(self) -> bytes:
        """The path's first part when the bucket stands in the name of the host (`bucket.localhost`), else nothing."""
        host = self.headers.get(b"host", b"").rpartition(b":")
        name = (host[0] or host[2]).lower()
        return b"/" + name.removesuffix(_NAMES_ONE_BUCKET) if name.endswith(_NAMES_ONE_BUCKET) else b""


class _Answer:
    """What goes back to the caller; at most one answer is begun."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.request_id = secrets.token_hex(8).upper()
        self._head = scope["method"] == "HEAD"
        self._path: bytes = scope.get("raw_path") or scope["path"].encode()
        self._send = send
        self._begun = False

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send status and headers, with a request id if there is none among them."""
        self._begun = True
        if not any(name == b"x-amz-request-id" for name, _ in headers):
            headers.append((b"x-amz-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, data: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, keep_alive: bool) -> None:
        """An answer whose body is at hand."""
        if not self._head:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
        if not keep_alive:
            headers.append((b"connection", b"close"))
        await self.begin(status, headers)
        await self.piece(b"" if self._head else body, more=False)

    async def error(self, error: AwsError, *, keep_alive: bool) -> None:
        """An error in S3's form. Once the answer is begun, it can only be left unfinished: the caller sees it broken off."""
        if self._begun:
            return
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(error.code)}</Code>'
            f"<Message>{escape(error.message)}</Message><Resource>{escape(self._path.decode('latin-1'))}</Resource>"
            f"<RequestId>{self.request_id}</RequestId></Error>"
        )
        headers = [(b"content-type", b"application/xml")]
        await self.whole(error.http_status, headers, text.encode(), keep_alive=keep_alive)


def _own_codings(content_encoding: bytes) -> bytes:
    """Those of the object; `aws-chunked` was one of the transfer, and S3 does not keep it."""
    codings = [coding.strip() for coding in content_encoding.split(b",")]
    return b",".join(coding for coding in codings if coding.lower() != b"aws-chunked")


def _returned(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    headers = [(name.lower(), value) for name, value in response.raw_headers]
    return [pair for pair in headers if pair[0] not in _NOT_RETURNED]


async def _stream(response: aiohttp.ClientResponse, incoming: Incoming, answer: _Answer) -> None:
    """Pass the answer on piece by piece, until its end or until the caller hangs up, which nobody tells us otherwise."""
    await answer.begin(response.status, _returned(response))
    gone = asyncio.create_task(_until_gone(incoming))
    try:
        async for piece in response.content.iter_any():
            if gone.done():
                raise Disconnected
            await answer.piece(piece, more=True)
        await answer.piece(b"", more=False)
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone


async def _until_gone(incoming: Incoming) -> None:
    while (await incoming())["type"] != "http.disconnect":
        pass


def _check_owner(asked: _Asked, caller: Credential) -> None:
    """All buckets belong to the one account. Source: S3 API, ExpectedBucketOwner."""
    for name in (b"x-amz-expected-bucket-owner", b"x-amz-source-expected-bucket-owner"):
        if asked.headers.get(name, caller.account_id.encode()) != caller.account_id.encode():
            raise AwsError(code="AccessDenied", message="Access Denied", http_status=403)
