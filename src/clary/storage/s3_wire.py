"""S3's REST requests, byte for byte: SigV4, one retry policy, and errors made of S3's answers.

Called by `s3` for every request. Keys are opaque strings here, as they are for S3; clients that take them for paths lose the
slash of folder markers and fail on a key such as "a//b". The standard library is used because the instance program, which
travels to other machines, starts with this and nothing heavier; the bodies of objects are read by `s3_read`.
"""

import contextlib
import functools
import hashlib
import hmac
import http.client
import io
import os
import random
import re
import socket
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from html import unescape
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec.structs import replace

from clary.storage.integrity import ATTEMPTS
from clary.storage.port import (
    AccessDenied,
    Changed,
    Credentials,
    CredentialsProvider,
    NoSuchBucket,
    NoSuchKey,
    S3Address,
    StorageError,
    Unreachable,
)
from clary.storage.s3_read import Body, UnknownLength, get
from clary.storage.seal import CHECKSUM

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_IDLE_CONNECTIONS_MAX = 64
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 5.0
_UNSIGNED = "UNSIGNED-PAYLOAD"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_DENIED_CODES = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_TRY_AGAIN_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"})
_LATE_CODES = _TRY_AGAIN_CODES | {"InternalError", "ServiceUnavailable"}


class Answer(msgspec.Struct, frozen=True):
    """An answer without its connection; header names are in lower case.

    `repeated`: the request was sent before, without an answer or with a bad one, and the store may have done it then too.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    repeated: bool = False

    @property
    def is_seaweedfs(self) -> bool:
        """Whether SeaweedFS answered: it keeps objects in a tree of directories and bends keys to fit."""
        return self.headers.get("server", "").startswith("SeaweedFS")


class S3Wire:
    """Sends signed requests to one address; thread-safe.

    A request is repeated after a lost connection, a 5xx or a throttle, with growing pauses, until `retry_total_s`
    seconds after its first attempt; then `Unreachable`. A 500 is believed after `insists_s`, by default as long, and is a
    `StorageError` then: a store that insists on one will not be cured by waiting for it. All our requests may be repeated
    safely: S3's verbs replace whole things (CompleteMultipartUpload is looked after in `s3_upload`).
    """

    def __init__(
        self,
        address: S3Address,
        credentials: CredentialsProvider,
        *,
        retry_total_s: float = 60.0,
        insists_s: float | None = None,
    ) -> None:
        url = urlsplit(address.endpoint_url)
        if url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/"):
            raise ValueError(f"not an S3 endpoint: {address.endpoint_url!r}; expected http(s)://host[:port]")
        self._secure = url.scheme == "https"
        self._host = url.hostname
        self._port = url.port or (443 if self._secure else 80)
        self._host_header = url.netloc.rpartition("@")[2]
        self._region = address.region
        self._credentials = credentials
        self._retry_total_s = retry_total_s
        self._insists_s = retry_total_s if insists_s is None else insists_s
        # Nobody can alter a body on its way there, so a checksum does, which costs a tenth of a hash.
        self._is_safe_way = self._secure or _is_loopback(self._host)
        self._tls = ssl.create_default_context() if self._secure else None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def request(
        self,
        method: str,
        bucket: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | memoryview = b"",
        accept: Callable[[Answer], bool] = lambda _answer: False,
        stop: threading.Event | None = None,
        into: Body | None = None,
    ) -> Answer:
        """The answer to one request, if it is a success or `accept` takes it; else the error that it means.

        Once `stop` is set, a failed attempt is the last. `into` gets the body of an object, which the answer lacks then.
        Raises `s3_read.DiskTrouble` if it cannot be kept there.
        """
        path = f"/{quote(bucket, safe='')}" + (f"/{quote(key, safe='-_.~/')}" if key else "")
        line = "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in sorted((query or {}).items()))
        begun = time.monotonic()
        pause = _BACKOFF_FIRST_S
        stop = stop or threading.Event()
        signed_with: Credentials | None = None
        damaged = 0
        while True:
            credentials = self._credentials()
            trouble: StorageError
            try:
                answer = self._exchange(
                    method, path, line, headers or {}, body=body, credentials=credentials, into=into
                )
            except (OSError, http.client.HTTPException) as error:
                trouble = Unreachable(f"{self._host_header}: {error or type(error).__name__}")
            else:
                if method == "POST" and answer.status == 200 and b"<Error>" in answer.body:
                    answer = _as_error(answer)
                if answer.status < 300 or accept(answer):
                    return answer if signed_with is None else replace(answer, repeated=True)
                trouble = error_of(answer, f"{method} s3://{bucket}/{key}")
                # Keys are renewed in place while a job runs: the request may have been signed by the old ones.
                renewed = (
                    signed_with is None and isinstance(trouble, AccessDenied) and self._credentials() != credentials
                )
                damaged += trouble.code == "BadDigest"  # the body was good when it left
                passes = isinstance(trouble, Unreachable) or trouble.status == 500 or renewed
                if not (passes or 0 < damaged < ATTEMPTS):
                    raise trouble
            signed_with = credentials
            patience_s = self._insists_s if trouble.status == 500 else self._retry_total_s
            if time.monotonic() + pause > begun + patience_s:
                raise trouble
            pause *= random.uniform(0.7, 1.3)  # noqa: S311
            if stop.wait(pause):
                raise trouble
            pause = min(pause * 2, _BACKOFF_MAX_S)

    def _exchange(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        body: bytes | memoryview,
        credentials: Credentials,
        into: Body | None = None,
    ) -> Answer:
        signed = sign(
            method,
            path,
            query,
            {**headers, "host": self._host_header},
            body=body,
            region=self._region,
            credentials=credentials,
            now_s=time.time(),
            payload_hash=_UNSIGNED if self._is_safe_way and CHECKSUM in headers else None,
        )
        target = f"{path}?{query}" if query else path
        connection, fresh = self._connect()
        try:
            try:
                answer = self._ask(connection, method, target, signed, body, into)
            except (ConnectionError, http.client.BadStatusLine):
                if fresh:
                    raise
                # The server had closed the idle connection: that says nothing about its health.
                connection.close()
                connection, _ = self._connect(reuse=False)
                answer = replace(self._ask(connection, method, target, signed, body, into), repeated=True)
        except BaseException:
            connection.close()
            raise
        if connection.sock is None:  # the answer said "Connection: close"
            return answer
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS_MAX:
                self._idle.append(connection)
                return answer
        connection.close()
        return answer

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | memoryview,
        into: Body | None,
    ) -> Answer:
        if into is None:
            return _round_trip(connection, method, target, headers, body)
        try:
            answer = self._get(connection, target, headers, into)
        except UnknownLength:
            connection.close()
            self._open(connection)
            answer = _round_trip(connection, method, target, headers, body)
            if answer.status in {200, 206}:
                into.give(answer.body)
        return answer

    def _get(self, connection: http.client.HTTPConnection, target: str, headers: dict[str, str], into: Body) -> Answer:
        if not self._secure:
            connection.sock.setblocking(
                True
            )  # the kernel's own time limit holds then, and each piece costs one call less
        try:
            status, found, error = get(connection.sock, target, headers, into)
        except BlockingIOError:
            raise TimeoutError(f"nothing came for {READ_TIMEOUT_S:g} s") from None
        connection.sock.settimeout(READ_TIMEOUT_S)
        if found.get("connection", "").lower() == "close":
            connection.close()
        return Answer(status, found, error)

    def _connect(self, *, reuse: bool = True) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if reuse and self._idle:
                return self._idle.pop(), False
        connection: http.client.HTTPConnection
        proxy = urlsplit(_proxy_for(self._host)) if self._secure else None
        host, port = (proxy.hostname, proxy.port or 8080) if proxy and proxy.hostname else (self._host, self._port)
        if self._tls is not None:
            connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, context=self._tls)
            if host != self._host:
                connection.set_tunnel(self._host, self._port)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
        connection.response_class = _Response
        self._open(connection)
        return connection, True

    def _open(self, connection: http.client.HTTPConnection) -> None:
        connection.connect()
        connection.sock.settimeout(READ_TIMEOUT_S)
        limit = struct.pack("ll", int(READ_TIMEOUT_S), 0)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _proxy_for(host: str) -> str:
    """The proxy that the environment names for https to this host, "" for none."""
    for exempt in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
        suffix = exempt.strip().lstrip(".")
        if suffix and (suffix in {"*", host} or host.endswith(f".{suffix}")):
            return ""
    return os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or ""


def _round_trip(
    connection: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str], body: bytes | memoryview
) -> Answer:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body or method in {"PUT", "POST"}:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders()
    if body:
        try:
            connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            # A store that refuses may answer and close before it has the whole body: the answer says why.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return _read_answer(connection)
            raise
    return _read_answer(connection)


class _Lines(io.BufferedReader):
    """Takes no head that ends with the connection for a whole one, as the standard library does."""

    _begun = False

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if self._begun and not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed before the whole answer had come")
        self._begun = True
        return line


class _Response(http.client.HTTPResponse):
    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp = _Lines(self.fp.detach())


def _as_error(answer: Answer) -> Answer:
    """What a completion that failed after its 200 had begun means. S3 says to try again; others may have refused it.

    Source: S3, CompleteMultipartUpload.
    """
    return replace(answer, status=503 if element(answer.body, "Code") in _LATE_CODES else 400)


def _read_answer(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    content = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


def sign(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    body: bytes | memoryview,
    region: str,
    credentials: Credentials,
    now_s: float,
    payload_hash: str | None = None,
) -> dict[str, str]:
    """The headers (`host` among them) plus those that sign; `path` and `query` are encoded already, the query sorted.

    `payload_hash` stands for the body in the signature; None has it computed.

    Source: Signature Version 4 for S3, which unlike other services neither normalises the path nor encodes it twice.
    """
    amz_date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    day = amz_date[:8]
    payload_hash = payload_hash or (hashlib.sha256(body).hexdigest() if body else _EMPTY_SHA256)
    signed = {name.lower(): value for name, value in headers.items()}
    signed |= {"x-amz-content-sha256": payload_hash, "x-amz-date": amz_date}
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload_hash}"
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    secret = _signing_key(credentials.secret_access_key, day, region)
    signature = hmac.digest(secret, f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{digest}".encode(), "sha256").hex()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


@functools.lru_cache(maxsize=64)
def _signing_key(secret_access_key: str, day: str, region: str) -> bytes:
    secret = f"AWS4{secret_access_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    return secret


def error_of(answer: Answer, what: str) -> StorageError:
    """The error that an answer of 300 or more means; `what` names the request for the reader."""
    code = element(answer.body, "Code") or _code_without_body(answer.status)
    text = (
        f"{code} ({answer.status}): {element(answer.body, 'Message') or http.client.responses.get(answer.status, '')}"
    )
    kind: type[StorageError] = StorageError
    if code == "NoSuchBucket":
        kind = NoSuchBucket
    elif code in {"NoSuchKey", "NoSuchVersion"}:
        kind = NoSuchKey
    elif answer.status == 412:
        kind = Changed
    elif code in _TRY_AGAIN_CODES or answer.status in {429, 502, 503, 504}:
        kind = Unreachable
    elif answer.status in {401, 403} or code in _DENIED_CODES:
        kind = AccessDenied
    return kind(f"{text} [{what}]", code=code, status=answer.status)


def _code_without_body(status: int) -> str:
    return {403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed"}.get(status, "Error")


def element(body: bytes, name: str) -> str:
    """The text of the first XML element of that name, "" if there is none."""
    match = re.search(rb"<%s>(.*?)</%s>" % (name.encode(), name.encode()), body, re.DOTALL)
    return unescape(match[1].decode("utf-8", "replace")) if match else ""


def elements(body: bytes, name: str) -> list[bytes]:
    """The inner text of every XML element of that name; such elements never nest in S3's answers."""
    return re.findall(rb"<%s>(.*?)</%s>" % (name.encode(), name.encode()), body, re.DOTALL)


def decoded(text: str) -> str:
    """A name of a listing with encoding-type=url; S3 writes a space as "+" there."""
    return unquote(text.replace("+", " "))
