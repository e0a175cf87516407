"""The body of an S3 upload on its way from the caller to the store.

`s3_gate` makes an `UploadBody` for each request that has a body and lets the HTTP client iterate it. Nothing is gathered:
a piece is asked of the caller when the store has taken the last one. If the caller hangs up, or his own chunk framing or
chunk signatures are wrong, the iteration raises before the request to the store is complete, so that nothing is stored.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from clary.aws import aws_chunked
from clary.aws.aws_chunked import AwsChunkedError, Decoder, Seed
from clary.aws.body import Disconnected, Receive
from clary.aws.errors import AwsError
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import UNSIGNED_PAYLOAD

_STREAMING = {aws_chunked.SIGNED, aws_chunked.SIGNED_TRAILER, aws_chunked.UNSIGNED_TRAILER}


class _Coding(Protocol):
    """Turns what the caller sends into what the store gets."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def finish(self) -> list[bytes]: ...


class _AsItComes:
    def feed(self, data: bytes) -> list[bytes]:
        return [data]

    def finish(self) -> list[bytes]:
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


class UploadBody:
    """One body. `payload_hash` is what to sign the request to the store with, `headers` what to tell it of the body.

    After the iteration, `fault` is what the caller did wrong (`AwsError` or `Disconnected`), if anything; `ended` says
    whether the caller's body has been read to its end.
    """

    def __init__(self, receive: Receive, *, coding: _Coding, payload_hash: str, headers: Mapping[bytes, bytes]) -> None:
        self.payload_hash = payload_hash
        self.headers = dict(headers)
        self.fault: AwsError | Disconnected | None = None
        self.ended = False
        self._receive = receive
        self._coding = coding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces for the store. Raises `AwsError` and `Disconnected`."""
        try:
            more = True
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                more = message.get("more_body", False)
                self.ended = not more
                for piece in self._coding.feed(message.get("body", b"")):
                    if piece:
                        yield piece
            for piece in self._coding.finish():
                yield piece
        except AwsChunkedError as error:
            self.fault = _as_s3_error(error)
            raise self.fault from error
        except Disconnected as gone:
            self.fault = gone
            raise


def upload_body(
    receive: Receive, headers: Mapping[bytes, bytes], *, payload_hash: str, seed: Seed | None
) -> UploadBody | None:
    """The body that these request headers (by lower-case name) announce, or None. Raises `AwsError`.

    `payload_hash` is the proved X-Amz-Content-SHA256, `seed` what signed chunks are chained to.
    """
    chunked = b"chunked" in headers.get(b"transfer-encoding", b"").lower()
    if payload_hash.startswith("STREAMING-"):
        return _streaming(receive, headers, payload_hash, seed)
    length = headers.get(b"content-length")
    if length is None and chunked:
        raise AwsError(
            code="MissingContentLength",
            message="You must provide the Content-Length HTTP header.",
            http_status=411,
        )
    if length is None:
        return None
    return UploadBody(receive, coding=_AsItComes(), payload_hash=payload_hash, headers={b"content-length": length})


def _streaming(receive: Receive, headers: Mapping[bytes, bytes], payload: str, seed: Seed | None) -> UploadBody:
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
        return UploadBody(receive, coding=_Decoded(decoder), payload_hash=UNSIGNED_PAYLOAD, headers={})
    told = {b"x-amz-decoded-content-length": length, b"x-amz-trailer": trailers}
    return UploadBody(receive, coding=_Framed(decoder), payload_hash=aws_chunked.UNSIGNED_TRAILER, headers=told)


def _as_s3_error(error: AwsChunkedError) -> AwsError:
    if isinstance(error, aws_chunked.WrongSignature):
        return Refused(Cause.MISMATCH).as_error("s3")
    if isinstance(error, aws_chunked.Incomplete):
        return AwsError(
            code="IncompleteBody",
            message="You did not provide the number of bytes specified by the Content-Length HTTP header.",
        )
    return AwsError(code="InvalidRequest", message=f"The aws-chunked body is malformed: {error}.")
