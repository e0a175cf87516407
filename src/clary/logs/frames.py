"""The frame: what one append writes, and the entry of the index that points at one. Pure bytes.

    magic 4 | crc32 4 | payload length 4 | events 4 | first number 8 | timestamp 8 | ingestion time 8 | source offset 8 | payload

The payload is the messages, each followed by a newline. The checksum covers all that follows it, so a frame is there as
a whole or not at all, and with it both its events and the fact how far the source has been stored. Little-endian.
"""

import struct
import zlib
from typing import NamedTuple

from clary.base.clock import Instant

_MAGIC = b"CLg1"
_PREFIX = struct.Struct("<4sI")
_FIELDS = struct.Struct("<IIQqqQ")
_ENTRY = struct.Struct("<QQqQ")

HEADER_BYTES = _PREFIX.size + _FIELDS.size
ENTRY_BYTES = _ENTRY.size


class Frame(NamedTuple):
    """A frame without its payload."""

    payload_bytes: int
    events: int
    first: int
    """Number of the first event."""
    timestamp: Instant
    """Of all events of the frame."""
    ingestion_time: Instant
    source_offset: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return HEADER_BYTES + self.payload_bytes

    @property
    def end(self) -> int:
        """The number after the last event's."""
        return self.first + self.events


def encode_frame(frame: Frame, payload: bytes) -> bytes:
    """The bytes of a frame."""
    fields = _FIELDS.pack(*frame)
    return _PREFIX.pack(_MAGIC, zlib.crc32(payload, zlib.crc32(fields))) + fields + payload


def decode_header(buffer: bytes, at: int) -> Frame | None:
    """The frame whose header stands there; None if that is no header. Its payload may still be torn: see `is_whole`."""
    if buffer[at : at + 4] != _MAGIC or len(buffer) - at < HEADER_BYTES:
        return None
    payload_bytes, events, first, timestamp, ingestion_time, source_offset = _FIELDS.unpack_from(
        buffer, at + _PREFIX.size
    )
    return Frame(payload_bytes, events, first, Instant(timestamp), Instant(ingestion_time), source_offset)


def is_whole(buffer: bytes, at: int, frame: Frame) -> bool:
    """Whether the frame at this place is there to its last byte, unaltered."""
    end = at + frame.size
    if end > len(buffer):
        return False
    _, checksum = _PREFIX.unpack_from(buffer, at)
    return bool(zlib.crc32(memoryview(buffer)[at + _PREFIX.size : end]) == checksum)


class Entry(NamedTuple):
    """An entry of the index: the frame at `position` begins with event `first`, whose time is `timestamp`."""

    first: int
    position: int
    timestamp: Instant


START = Entry(0, 0, Instant(-1))
"""The entry to begin at when the index helps nothing: the start of the segment."""


def encode_entry(entry: Entry) -> bytes:
    """The bytes of an entry, with a checksum."""
    return _ENTRY.pack(*entry, _checksum(entry))


def decode_entry(data: bytes) -> Entry | None:
    """The entry, or None if it is damaged."""
    first, position, timestamp, checksum = _ENTRY.unpack(data)
    entry = Entry(first, position, Instant(timestamp))
    return entry if checksum == _checksum(entry) else None


def _checksum(entry: Entry) -> int:
    return zlib.crc32(b"%d %d %d" % entry)
