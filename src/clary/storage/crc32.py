"""CRC-32 of bytes that come in pieces, in whatever order the pieces come.

Called by `s3_read`, which sums up what comes, and by `seal`, which puts the sums together: a processor takes a hundredth of a
second for a GB, so that nothing is gained by not looking.
"""

import functools
from base64 import b64encode

from isal.isal_zlib import crc32

PIECE_BYTES = 1024 * 1024
"""What comes into a file is summed up by pieces of this length, from where the request began."""

_POLYNOMIAL = 0xEDB88320
_ONE = 0x80000000  # x^0: the highest power stands in the lowest bit
_X = 0x40000000


def checksum(data: bytes | bytearray | memoryview) -> str:
    """The CRC-32 of bytes, as S3 writes it."""
    return b64encode(crc32(data).to_bytes(4, "big")).decode()


class Sums:
    """The CRC-32 of each `PIECE_BYTES` of bytes that come in their order; `crcs` has the last, shorter piece, too."""

    def __init__(self) -> None:
        self.crcs: list[int] = []
        self._room = 0

    def add(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        view = memoryview(data)
        while view:
            if not self._room:
                self._room = PIECE_BYTES
                self.crcs.append(0)
            piece = view[: self._room]
            self.crcs[-1] = crc32(piece, self.crcs[-1])
            self._room -= len(piece)
            view = view[len(piece) :]


def joined(first: int, second: int, second_bytes: int) -> int:
    """The CRC-32 of two pieces, one after the other, from theirs and the length of the second."""
    return _times(first, _shift(second_bytes)) ^ second


@functools.lru_cache(maxsize=64)
def _shift(size_bytes: int) -> int:
    """What a sum is multiplied by when so many bytes come after it: x to the power of their bits."""
    power, square, exponent = _ONE, _X, 8 * size_bytes
    while exponent:
        if exponent & 1:
            power = _times(power, square)
        square = _times(square, square)
        exponent >>= 1
    return power


def _times(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo the polynomial of CRC-32."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product
