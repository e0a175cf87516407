"""RecordIO framing, as MXNet reads it: a header of 8 bytes, the payload, zeros up to a multiple of 4. Pure.

Called for Pipe mode with RecordWrapperType RecordIO. Source: the readers of MXNet, MLIO and SageMaker's TensorFlow
extensions. A payload above the length that 29 bits hold goes out in parts (what SageMaker does then is not known).
"""

import struct
from collections.abc import Iterable, Iterator

_MAGIC = 0xCED7230A
_LENGTH_BITS = 29
PART_BYTES = (1 << _LENGTH_BITS) - 4
"""The longest payload of one frame: the greatest multiple of 4 below 2^29, so that a part needs no padding of its own."""

_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


def frame(
    payload: Iterable[bytes | memoryview], size_bytes: int, *, part_bytes: int = PART_BYTES
) -> Iterator[bytes | memoryview]:
    """The record of a payload of `size_bytes`, which comes in blocks. Raises `ValueError` if it has another size."""
    left = size_bytes
    in_part = 0
    parts = _parts(size_bytes, part_bytes)
    for block in payload:
        view = memoryview(block)
        if len(view) > left:
            raise ValueError(f"the payload has more than {size_bytes} bytes")
        while view:
            if in_part == 0:
                flag, in_part = next(parts)
                yield _header(flag, in_part)
            taken = view[:in_part]
            yield taken
            view = view[len(taken) :]
            in_part -= len(taken)
            left -= len(taken)
    if left:
        raise ValueError(f"the payload has {left} bytes less than {size_bytes}")
    if size_bytes == 0:
        yield _header(_WHOLE, 0)
    yield bytes(-size_bytes % 4)


def _parts(size_bytes: int, part_bytes: int) -> Iterator[tuple[int, int]]:
    """The flag and the length of each frame."""
    count = -(-size_bytes // part_bytes)
    for number in range(count):
        length = min(part_bytes, size_bytes - number * part_bytes)
        if count == 1:
            yield _WHOLE, length
        else:
            yield (_FIRST if number == 0 else _LAST if number == count - 1 else _MIDDLE), length


def _header(flag: int, length: int) -> bytes:
    return struct.pack("<II", _MAGIC, flag << _LENGTH_BITS | length)
