"""What a store tells of the bytes of an object, and whether they fit it.

Called by `s3`, which asks, and by whoever brings an object in several requests: `file_check`, `reading`, `read_ahead`. Of what
S3 may tell, two kinds are used: CRC-32, which boto3 and most SDKs send by themselves, and which costs next to nothing; and the
ETag, where it is an MD5, or one of the MD5s of parts. Objects that have neither are not looked at: there the connection's own
checks must do.
"""

import hashlib
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from isal.isal_zlib import crc32

from clary.storage.crc32 import joined

CHECKSUM = "x-amz-checksum-crc32"
"""The header by which a store is told what the bytes of an upload must fit, and tells it of an object."""

ASK_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}
"""The header that makes a store tell the checksum of an object. Source: S3, GetObject and HeadObject."""

_MD5 = re.compile(r'"?([0-9a-f]{32})(?:-([1-9][0-9]*))?"?')
_CRC32 = re.compile(r"([A-Za-z0-9+/]{6}==)(?:-([1-9][0-9]*))?")


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A digest of an object's bytes, or, with `parts`, of the digests of so many parts of it.

    `part_bytes` is the size of each part but the last; None where it is not known yet.
    """

    kind: Literal["crc32", "md5"]
    digest: bytes
    parts: int | None = None
    part_bytes: int | None = None


def seal_of(headers: Mapping[str, str]) -> Seal | None:
    """What the headers of an object tell of its bytes; None if nothing that is known here. Names are in lower case.

    A checksum goes before an ETag. An ETag tells nothing if the object is encrypted by SSE-KMS or SSE-C. Source: S3, Object,
    ETag; S3, Checking object integrity: a checksum of checksums, and an ETag of ETags, end in the number of parts.
    """
    found = _CRC32.fullmatch(headers.get(CHECKSUM, ""))
    if found and (found[2] or headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT"):
        try:
            return Seal(kind="crc32", digest=b64decode(found[1], validate=True), parts=_count(found[2]))
        except NotBase64:
            pass
    found = _MD5.fullmatch(headers.get("etag", ""))
    if found and not _hides_md5(headers):
        return Seal(kind="md5", digest=bytes.fromhex(found[1]), parts=_count(found[2]))
    return None


def etag_of_parts(etags: Sequence[str]) -> str | None:
    """The ETag of an object uploaded in parts that have these ETags; None if they are no MD5s.

    Source: S3, Checking object integrity, "Using Content-MD5 and the ETag": the MD5 of the parts' MD5s, and their number.
    """
    found = [_MD5.fullmatch(each) for each in etags]
    digests = [bytes.fromhex(each[1]) for each in found if each is not None and each[2] is None]
    return f'"{_md5(b"".join(digests)).hexdigest()}-{len(etags)}"' if len(digests) == len(etags) else None


class Running:
    """The digest of an object whose bytes come in their order, `size_bytes` of them, for a seal of known parts."""

    def __init__(self, seal: Seal, size_bytes: int) -> None:
        self._seal = seal
        self._size_bytes = size_bytes
        self._unit = max(1, size_bytes if seal.parts is None else seal.part_bytes or 0)
        self._position = 0
        self._digests: list[bytes] = []
        self._digest = self._new()

    @property
    def room(self) -> int:
        """The number of bytes up to where a part ends."""
        return self._unit - self._position % self._unit

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        view = memoryview(data)
        while view:
            piece = view[: self.room]
            self._digest.update(piece)
            self._moved(len(piece))
            view = view[len(piece) :]

    def join(self, crc: int, length: int) -> bool:
        """The next bytes, by their CRC-32; False, and nothing is done, where it does not help to know that."""
        if not isinstance(self._digest, _Crc32) or length > self.room:
            return False
        self._digest.value = joined(self._digest.value, crc, length)
        self._moved(length)
        return True

    def fits(self) -> bool:
        """Whether all the bytes of the object have come, and they are those that the seal speaks of."""
        if self._position != self._size_bytes:
            return False
        digests = self._digests or [self._digest.digest()]
        if self._seal.parts is None:
            return digests == [self._seal.digest]
        whole = self._new()
        whole.update(b"".join(digests))
        return len(digests) == self._seal.parts and whole.digest() == self._seal.digest

    def _moved(self, length: int) -> None:
        self._position += length
        if self._position % self._unit == 0 or self._position == self._size_bytes:
            self._digests.append(self._digest.digest())
            self._digest = self._new()

    def _new(self) -> "_Digest":
        return _Crc32() if self._seal.kind == "crc32" else _md5(b"")


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self.value = crc32(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(4, "big")


def _md5(data: bytes) -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)


def _hides_md5(headers: Mapping[str, str]) -> bool:
    return (
        headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )
