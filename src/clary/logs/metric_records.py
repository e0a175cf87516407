"""The record: what one point is in a file of `metric_files`. Pure bytes.

    crc32 4 | metric 4 | second 8 | source offset 8 | step 8 | count 8 | minimum, maximum, total, squares, last 8 each

All records have the same size, so that the last one can be found from the end, and one field of many records can be
taken out at once, which is what makes reading fast. The checksum covers all that follows it. In the machine's byte order:
the files do not travel.
"""

import struct
import zlib
from collections.abc import Iterator

from clary.logs.metric_series import Point

_RECORD = struct.Struct("=IIqqqQddddd")
_CHECKSUM = struct.Struct("=I")
RECORD_BYTES = _RECORD.size
NO_STEP = -1


def encode_record(metric: int, point: Point, source_offset: int) -> bytes:
    """The bytes of a point. `metric` is its metric's place in the file's list of names."""
    step = NO_STEP if point.step is None else point.step
    numbers = (point.count, point.minimum, point.maximum, point.total, point.squares, point.last)
    record = bytearray(_RECORD.pack(0, metric, point.second, source_offset, step, *numbers))
    _CHECKSUM.pack_into(record, 0, zlib.crc32(memoryview(record)[4:]))
    return bytes(record)


def source_offset(record: bytes) -> int | None:
    """The source offset of a record; None if it is damaged."""
    fields = _fields(record)
    return None if fields is None else fields[3]


def second(record: bytes) -> int | None:
    """The second of a record; None if it is damaged."""
    fields = _fields(record)
    return None if fields is None else fields[2]


def select(block: bytes, units: dict[int, str], start: int, end: int) -> Iterator[Point]:
    """The points of some metrics (place -> unit) within a time, among whole records; damaged ones are left out."""
    view = memoryview(block)
    places = view.cast("I")[1 :: RECORD_BYTES // 4].tolist()
    times = view.cast("q")[1 :: RECORD_BYTES // 8].tolist()
    for number, (place, time) in enumerate(zip(places, times, strict=True)):
        if start <= time < end and place in units:
            fields = _fields(block[number * RECORD_BYTES : (number + 1) * RECORD_BYTES])
            if fields is not None:
                _, _, at, _, step, count, minimum, maximum, total, squares, last = fields
                yield Point(
                    second=at,
                    count=count,
                    minimum=minimum,
                    maximum=maximum,
                    total=total,
                    squares=squares,
                    last=last,
                    step=None if step == NO_STEP else step,
                    unit=units[place],
                )


def _fields(record: bytes) -> tuple[int, int, int, int, int, int, float, float, float, float, float] | None:
    if len(record) != RECORD_BYTES:
        return None
    fields: tuple[int, int, int, int, int, int, float, float, float, float, float] = _RECORD.unpack(record)
    return fields if fields[0] == zlib.crc32(memoryview(record)[4:]) else None
