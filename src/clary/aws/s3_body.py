"""The body of an S3 upload on its way from the caller to the store.

`s3_gate` makes an `UploadBody` for each request that has a body and lets the HTTP client iterate it. Nothing is gathered:
a piece is asked of the caller when the store has taken the last one. If the caller hangs up, or the body is not the one
that he signed, or its chunk framing is wrong, the iteration raises while the last piece is still held back: the request
to the store stays incomplete and nothing is stored. (The store itself, 4.48, holds no body against X-Amz-Content-SHA256.)
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from clary.aws import aws_chunked
from clary.aws.aws_chunked import AwsChunkedError, Decoder, Seed
from clary.aws.body import BODY_SECONDS, DRAIN_BYTES, Disconnected, Receive
from clary.aws.canonical import EMPTY_SHA256
from clary.aws.errors import AwsError
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import UNSIGNED_PAYLOAD

STALL_SECONDS = 60
"""A caller who sends nothing more of his object for so long is given up; AWS waits about 20 seconds."""

_STREAMING = {aws_chunked.SIGNED, aws_chunked.SIGNED_TRAILER, aws_chunked.UNSIGNED_TRAILER}


class _Coding(Protocol):
    """Turns what the caller sends into what the store gets."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def finish(self) -> list[bytes]: ...


class _Whole:
    """The body as it comes, held against the hash that the caller signed, if he signed one."""

    def __init__(self, expected: str | None) -> None:
        self._expected = expected
        self._hash = hashlib.sha256()

    def feed(self, data: bytes) -> list[bytes]:
        if self._expected is not None:
            self._hash.update(data)
        return [data]

    def finish(self) -> list[bytes]:
        if self._expected is not None and self._hash.hexdigest() != self._expected.lower():
            raise _hash_mismatch()
        return []


class _Decoded:
    """The bytes of the object alone."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> list[bytes]:
        return self._decoder.feed(data)

    def finish(self) -> list[bytes]:
        self._decoder.finish()
        return []


class _Framed:
    """Unsigned chunks and the caller's trailers: the store itself holds the checksum against the object, and keeps it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> list[bytes]:
        return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self._decoder.feed(data)]

    def finish(self) -> list[bytes]:
        self._decoder.finish()
        return [b"0\r\n" + b"".join(b"%b:%b\r\n" % trailer for trailer in self._decoder.trailers) + b"\r\n"]


class Incoming:
    """The caller's side of one request: its messages, and whether the body has been asked for (`begun`) and has `ended`."""

    def __init__(self, receive: Receive) -> None:
        self.begun = False
        self.ended = False
        self.stalled = False
        self._receive = receive

    async def __call__(self) -> Any:
        """The next message."""
        self.begun = True
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.ended = True
        return message

    async def piece(self) -> Any:
        """The next message, if the body goes on in time. Raises `AwsError` (RequestTimeout)."""
        try:
            async with asyncio.timeout(STALL_SECONDS):
                return await self()
        except TimeoutError:
            self.stalled = True
            raise AwsError(
                code="RequestTimeout",
                message="Your socket connection to the server was not read from or written to within the timeout period. "
                "Idle connections will be closed.",
            ) from None

    async def settle(self, headers: Mapping[bytes, bytes]) -> bool:
        """Read the rest of the body to throw it away, so that an early answer is heard. Raises `Disconnected`.

        False when the connection must be closed instead: the caller waits for leave to send and must not mistake our
        answer for it, or there is too much to come.
        """
        if self.stalled or (not self.begun and b"expect" in headers):
            return False
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not self.ended:
                    message = await self()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    size += len(message.get("body", b""))
                    if size > DRAIN_BYTES:
                        return False
        except TimeoutError:
            return False
        return True


class UploadBody:
    """One body. `payload_hash` is what to sign the request to the store with, `headers` what to tell it of the body.

    After the iteration, `fault` is what the caller did wrong (`AwsError` or `Disconnected`), if anything. With `framed`
    the store checks a trailing checksum.
    """

    def __init__(
        self, incoming: Incoming, *, coding: _Coding, payload_hash: str, headers: Mapping[bytes, bytes]
    ) -> None:
        self.payload_hash = payload_hash
        self.headers = dict(headers)
        self.framed = payload_hash == aws_chunked.UNSIGNED_TRAILER
        self.fault: AwsError | Disconnected | None = None
        self._incoming = incoming
        self._coding = coding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces for the store. Raises `AwsError` and `Disconnected`."""
        held = b""
        try:
            while not self._incoming.ended:
                message = await self._incoming.piece()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                for piece in self._coding.feed(message.get("body", b"")):
                    if held:
                        yield held
                    held = piece
            for piece in [held, *self._coding.finish()]:
                if piece:
                    yield piece
        except AwsChunkedError as error:
            self.fault = _as_s3_error(error)
            raise self.fault from error
        except (AwsError, Disconnected) as fault:
            self.fault = fault
            raise


def upload_body(
    incoming: Incoming, headers: Mapping[bytes, bytes], *, payload_hash: str, seed: Seed | None
) -> UploadBody | None:
    """The body that these request headers (by lower-case name) announce, or None. Raises `AwsError`.

    `payload_hash` is the proved X-Amz-Content-SHA256, `seed` what signed chunks are chained to.
    """
    chunked = b"chunked" in headers.get(b"transfer-encoding", b"").lower()
    if payload_hash.startswith("STREAMING-"):
        return _streaming(incoming, headers, payload_hash, seed)
    length = headers.get(b"content-length")
    if length is None and chunked:
        raise AwsError(
            code="MissingContentLength",
            message="You must provide the Content-Length HTTP header.",
            http_status=411,
        )
    expected = None if payload_hash == UNSIGNED_PAYLOAD else payload_hash
    if length is None or not length.strip(b"0"):
        # An empty body is complete as soon as the store has the headers, so its hash is looked at before.
        if expected not in {None, EMPTY_SHA256}:
            raise _hash_mismatch()
        if length is None:
            return None
    told = {b"content-length": length}
    return UploadBody(incoming, coding=_Whole(expected), payload_hash=payload_hash, headers=told)


def _streaming(incoming: Incoming, headers: Mapping[bytes, bytes], payload: str, seed: Seed | None) -> UploadBody:
    if payload not in _STREAMING:
        raise AwsError(code="NotImplemented", message=f"The payload {payload} is not supported.", http_status=501)
    if payload != aws_chunked.UNSIGNED_TRAILER and seed is None:
        raise AwsError(code="InvalidRequest", message=f"The payload {payload} needs an Authorization header.")
    length = headers.get(b"x-amz-decoded-content-length", b"")
    if not length.isdigit() or len(length) > 18:
        raise AwsError(
            code="MissingContentLength",
            message="You must provide the X-Amz-Decoded-Content-Length HTTP header.",
            http_status=411,
        )
    trailers = headers.get(b"x-amz-trailer", b"")
    decoder = Decoder(
        payload,
        seed=None if payload == aws_chunked.UNSIGNED_TRAILER else seed,
        length=int(length),
        trailer_names=frozenset(name.strip().lower() for name in trailers.split(b",") if name.strip()),
    )
    if payload == aws_chunked.SIGNED:
        return UploadBody(incoming, coding=_Decoded(decoder), payload_hash=UNSIGNED_PAYLOAD, headers={})
    told = {b"x-amz-decoded-content-length": length, b"x-amz-trailer": trailers}
    return UploadBody(incoming, coding=_Framed(decoder), payload_hash=aws_chunked.UNSIGNED_TRAILER, headers=told)


def _hash_mismatch() -> AwsError:
    return AwsError(
        code="XAmzContentSHA256Mismatch",
        message="The provided 'x-amz-content-sha256' header does not match what was computed.",
    )


def _as_s3_error(error: AwsChunkedError) -> AwsError:
    if isinstance(error, aws_chunked.WrongSignature):
        return Refused(Cause.MISMATCH).as_error("s3")
    if isinstance(error, aws_chunked.Incomplete):
        return AwsError(
            code="IncompleteBody",
            message="You did not provide the number of bytes specified by the Content-Length HTTP header.",
        )
    return AwsError(code="InvalidRequest", message=f"The aws-chunked body is malformed: {error}.")
