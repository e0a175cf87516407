"""Bodies in AWS's own chunked encoding, decoded as they arrive.

The S3 gate reads uploads of the payload kinds `STREAMING-…` through a `Decoder`. Pure: bytes in, bytes out. It keeps no
more than one line of framing, so that a chunk of any size passes in constant memory; therefore **bytes are handed out
before the signature of their chunk has been seen**, and whoever forwards them must withhold the end of the object until
`done`.

    STREAMING-AWS4-HMAC-SHA256-PAYLOAD            each chunk signed, chained to the seed signature of the request
    STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER    the same, then headers after the last chunk, and their signature
    STREAMING-UNSIGNED-PAYLOAD-TRAILER            chunks without signatures, then headers

Source: "Signature calculations for the Authorization header: transferring payload in multiple chunks" and its page on
trailing headers, S3 API reference.
"""

import enum
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from clary.aws.canonical import EMPTY_SHA256

SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_LINE_LIMIT = 1024
_TRAILERS_LIMIT = 8 * 1024
_SIGNED_HEADER = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})").fullmatch
_PLAIN_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})").fullmatch


class AwsChunkedError(Exception):
    """The body is not what its encoding promises."""


class Malformed(AwsChunkedError):
    """The framing is wrong, or a trailer is missing or was not announced."""


class Incomplete(AwsChunkedError):
    """The body ended before its last chunk, or its length is not the announced one."""


class WrongSignature(AwsChunkedError):
    """The bytes of a chunk, or the trailers, are not those that the caller signed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seed:
    """What the first chunk's signature is chained to: the proof of the request's own headers."""

    signing_key: bytes = field(repr=False)
    amz_date: str
    scope: str
    signature: str


class _State(enum.Enum):
    HEADER = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILERS = enum.auto()
    DONE = enum.auto()


class Decoder:
    """Decodes one body. `payload` is one of the three kinds; `seed` is needed for the two signed ones.

    `length` is X-Amz-Decoded-Content-Length in bytes, `trailer_names` the lower-case names that X-Amz-Trailer announces.
    """

    def __init__(self, payload: str, *, seed: Seed | None, length: int, trailer_names: frozenset[bytes]) -> None:
        if payload not in {SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER}:
            raise Malformed(f"{payload} is not supported")
        if (seed is None) != (payload == UNSIGNED_TRAILER):
            raise ValueError("a signed payload needs a seed, an unsigned one has none")
        self.trailers: list[tuple[bytes, bytes]] = []
        self._has_trailers = payload != SIGNED
        self._trailer_names = trailer_names
        self._seed = seed
        self._previous = "" if seed is None else seed.signature
        self._length = length
        self._decoded = 0
        self._state = _State.HEADER
        self._line = bytearray()
        self._left = 0
        self._chunk_signature = ""
        self._hash = hashlib.sha256()
        self._trailer_bytes = 0
        self._trailer_signature: bytes | None = None

    @property
    def done(self) -> bool:
        """Whether all chunks and trailers have come and every signature has been proved."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> list[bytes]:
        """The object's bytes in these bytes of the body. Raises `Malformed`, `Incomplete`, `WrongSignature`."""
        decoded: list[bytes] = []
        view = memoryview(data)
        while view:
            if self._state is _State.DATA:
                piece, view = view[: self._left], view[self._left :]
                self._take(piece, decoded)
            elif self._state is _State.DONE:
                raise Malformed("bytes follow the end of the body")
            else:
                line, view = self._read_line(view)
                if line is not None:
                    self._accept(line)
        return decoded

    def finish(self) -> None:
        """To be called at the end of the body. Raises `Incomplete`."""
        if not self.done:
            raise Incomplete("the body ended before its last chunk")

    def _take(self, piece: memoryview, decoded: list[bytes]) -> None:
        self._decoded += len(piece)
        self._left -= len(piece)
        if self._seed is not None:
            self._hash.update(piece)
        decoded.append(bytes(piece))
        if not self._left:
            self._state = _State.DATA_END

    def _read_line(self, view: memoryview) -> tuple[bytes | None, memoryview]:
        """A line without its end, or None when it goes on beyond these bytes."""
        head = bytes(view[: _LINE_LIMIT + 1])
        end = head.find(b"\n")
        self._line += head if end < 0 else head[: end + 1]
        if len(self._line) > _LINE_LIMIT:
            raise Malformed("a line of the framing is too long")
        if end < 0:
            return None, view[len(head) :]
        line = bytes(self._line).removesuffix(b"\n").removesuffix(b"\r")
        self._line.clear()
        return line, view[end + 1 :]

    def _accept(self, line: bytes) -> None:
        if self._state is _State.HEADER:
            self._begin_chunk(line)
        elif self._state is _State.DATA_END:
            if line:
                raise Malformed("a chunk is longer than it says")
            self._prove_chunk(self._hash.hexdigest())
            self._state = _State.HEADER
        elif line:
            self._accept_trailer(line)
        elif not self._has_trailers or self._trailers_complete():
            self._state = _State.DONE
        # Else it is the empty line that some clients put between the trailers and their signature.

    def _begin_chunk(self, line: bytes) -> None:
        found = (_PLAIN_HEADER if self._seed is None else _SIGNED_HEADER)(line)
        if found is None:
            raise Malformed("a chunk does not begin with its size" + ("" if self._seed is None else " and signature"))
        self._left = int(found[1], 16)
        if self._seed is not None:
            self._chunk_signature = found[2].decode()
            self._hash = hashlib.sha256()
        if self._left:
            if self._decoded + self._left > self._length:
                raise Incomplete("the body is longer than X-Amz-Decoded-Content-Length")
            self._state = _State.DATA
            return
        if self._decoded != self._length:
            raise Incomplete("the body is shorter than X-Amz-Decoded-Content-Length")
        self._prove_chunk(EMPTY_SHA256)
        self._state = _State.TRAILERS

    def _accept_trailer(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        self._trailer_bytes += len(line)
        if not colon or not self._has_trailers or self._trailer_bytes > _TRAILERS_LIMIT:
            raise Malformed("the end of the body is malformed")
        if self._seed is not None and name == b"x-amz-trailer-signature":
            self._trailer_signature = value
        elif name not in self._trailer_names or name in dict(self.trailers) or self._trailer_signature is not None:
            raise Malformed("a trailer was not announced by X-Amz-Trailer, or came twice")
        else:
            self.trailers.append((name, value))

    def _trailers_complete(self) -> bool:
        """Whether the trailers have come and are proved; False while their signature is still to come."""
        if self._seed is not None and self._trailer_signature is None:
            if self.trailers:
                return False
            raise WrongSignature("the trailers are not signed")
        if {name for name, _ in self.trailers} != self._trailer_names:
            raise Malformed("a trailer that X-Amz-Trailer announced is missing")
        if self._seed is not None and self._trailer_signature is not None:
            text = b"".join(b"%b:%b\n" % trailer for trailer in self.trailers)
            expected = self._sign("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(text).hexdigest())
            if not hmac.compare_digest(expected.encode(), self._trailer_signature):
                raise WrongSignature("the signature of the trailers does not match")
        return True

    def _prove_chunk(self, data_hash: str) -> None:
        if self._seed is None:
            return
        expected = self._sign("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{data_hash}")
        if not hmac.compare_digest(expected, self._chunk_signature):
            raise WrongSignature("the signature of a chunk does not match")
        self._previous = expected

    def _sign(self, kind: str, end: str) -> str:
        if self._seed is None:
            raise ValueError("an unsigned body has no signatures")
        text = f"{kind}\n{self._seed.amz_date}\n{self._seed.scope}\n{self._previous}\n{end}"
        return hmac.digest(self._seed.signing_key, text.encode(), "sha256").hex()
