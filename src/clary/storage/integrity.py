"""Whether the bytes that came are those that were stored.

Called by `transfer`, `reading` and `s3`. S3's ETag is the MD5 of an object that was stored by one request, unless the store encrypted it with
SSE-KMS or SSE-C (Source: S3, Object); of one that was uploaded in parts it tells nothing to those who do not know them, and
to ask costs time (`S3Storage.part_bytes`). There a CRC-32 may help that the uploader gave the store; else the connection's own checks must do: TCP's, and TLS's where
the endpoint has it.
"""

import hashlib
import os
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence

from isal.isal_zlib import crc32

from clary.storage.port import StorageError

ATTEMPTS = 3
"""How often an object is read before its store is believed to hold other bytes than it says."""

ASK_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}
"""The header that makes a store give the checksum of an object with its bytes. Source: S3, GetObject."""

CHECKSUM = "x-amz-checksum-crc32"
"""The header by which a store is told what the bytes of an upload must fit, and tells it of an object."""

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_OF_PARTS = re.compile(r'"[0-9a-f]{32}-([1-9][0-9]*)"')
_PIECE_BYTES = 1024 * 1024


class Corrupt(StorageError):
    """The bytes of an object are not those that its ETag or `what` speaks of, however often they are read."""

    def __init__(self, bucket: str, key: str, *, what: str = "ETag", attempts: int = ATTEMPTS) -> None:
        times = f", read {attempts} times" if attempts > 1 else ""
        super().__init__(f"BadDigest: the bytes of s3://{bucket}/{key} do not fit its {what}{times}", code="BadDigest")


def md5_of(etag: str) -> str | None:
    """The MD5 that an ETag looks like, in hexadecimal digits; None for other ETags."""
    match = _MD5.fullmatch(etag)
    return match[1] if match else None


def parts_of(etag: str) -> int | None:
    """In how many parts an object was uploaded that has such an ETag; None for other ETags."""
    match = _OF_PARTS.fullmatch(etag)
    return int(match[1]) if match else None


def md5(data: bytes | memoryview) -> str:
    """The MD5 of bytes, in hexadecimal digits."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def etag_of_parts(etags: Sequence[str]) -> str | None:
    """The ETag of an object uploaded in parts that have these ETags; None if they are no MD5s.

    Source: S3, Checking object integrity, "Using Content-MD5 and the ETag": the MD5 of the parts' MD5s, and their number.
    """
    digests = [found for each in etags if (found := md5_of(each)) is not None]
    return f'"{md5(bytes.fromhex("".join(digests)))}-{len(etags)}"' if len(digests) == len(etags) else None


def fits_checksum(headers: Mapping[str, str], data: bytes | bytearray | memoryview) -> bool:
    """Whether the bytes of a whole object fit the CRC-32 that came with them; True if none did.

    For one uploaded in parts the store may have no more than a checksum of their checksums, "…-3", which is left alone: the
    parts are not known here. Source: S3, Checking object integrity.
    """
    told = headers.get(CHECKSUM, "")
    if not told or "-" in told or headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return True
    return told == checksum(data)


def checksum(data: bytes | bytearray | memoryview) -> str:
    """The CRC-32 of bytes, as S3 writes it."""
    return b64encode(crc32(data).to_bytes(4, "big")).decode()


class FileDigest:
    """What the ETag of a file should be whose parts are written in any order by many threads: computed along with them, in
    order.

    Each thread tells what it has written; one at a time reads on from there, so that none waits for another. `part_bytes`
    is asked once, if the ETag is one of an upload in parts: how large they were, the last excepted; None if nobody knows.
    """

    def __init__(self, fd: int, size_bytes: int, etag: str, part_bytes: Callable[[], int | None]) -> None:
        self._fd = fd
        self._size_bytes = size_bytes
        self._etag = etag
        self._part_bytes = part_bytes
        self._unit: int | None = None
        self._asked = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._md5s: list[str] = []
        self._lock = threading.Lock()
        self._written: dict[int, int] = {}
        self._read_to = 0
        self._busy = False

    def written(self, start: int, length: int) -> bool:
        """Take note of a part; True, once, for the caller that has read to the end. Raises what `part_bytes` raises."""
        with self._lock:
            self._written[start] = length
            if self._busy:
                return False
            self._busy = True
        if not self._asked:
            self._asked = True
            self._unit = self._find_unit()
        while True:
            with self._lock:
                left = self._written.pop(self._read_to, 0)
                if not left:
                    self._busy = False
                    return self._read_to == self._size_bytes
            self._read(left)

    def fits(self) -> bool:
        """Whether all of it is what the ETag speaks of, as far as can be known."""
        if self._unit is None:
            return True
        if parts_of(self._etag) is None:
            return self._md5s == [md5_of(self._etag)]
        return etag_of_parts(self._md5s) == self._etag

    def _find_unit(self) -> int | None:
        """After how many bytes a new MD5 begins; None if it is of no use."""
        count = parts_of(self._etag)
        if count is None:
            return self._size_bytes
        unit = self._part_bytes()
        return unit if unit and -(-self._size_bytes // unit) == count else None

    def _read(self, length: int) -> None:
        end = self._read_to + length
        if self._unit is None:
            self._read_to = end
        while self._unit is not None and self._read_to < end:
            piece_end = min(end, self._read_to + _PIECE_BYTES, (self._read_to // self._unit + 1) * self._unit)
            piece = os.pread(self._fd, piece_end - self._read_to, self._read_to)
            self._md5.update(piece)
            self._read_to += len(piece)
            if self._read_to % self._unit == 0 or self._read_to == self._size_bytes:
                self._md5s.append(self._md5.hexdigest())
                self._md5 = hashlib.md5(usedforsecurity=False)
