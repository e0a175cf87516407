"""One segment of a stream: a file of frames, `<number of its first event>.log`, and its sparse index beside it.

Used by `file_writer` to recover and by `file_reader` to read. The frames are the truth; the index (`.index`, an entry
for a frame every INDEX_EVERY_BYTES or more) only says where to begin looking, and reading survives without it.

Nothing is cached between calls. A reader takes the file's size once, so what a writer adds meanwhile is not seen; it
stops at the first frame that is not whole, which is one that a writer is writing or was killed while writing.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from clary.base.clock import Instant
from clary.logs.frames import ENTRY_BYTES, HEADER_BYTES, START, Entry, Frame, decode_entry, decode_header, is_whole

INDEX_EVERY_BYTES = 16 * 1024
"""Small appends are many frames: this bounds how many headers a random read walks over."""

_CHUNK_BYTES = 64 * 1024
_DAMAGED = Entry(-1, 0, Instant(-1))


def segment_path(directory: Path, first: int) -> Path:
    """The data file of the segment that begins with event `first`."""
    return directory / f"{first:020d}.log"


def index_path(directory: Path, first: int) -> Path:
    """The index beside it."""
    return directory / f"{first:020d}.index"


def segment_numbers(directory: Path) -> list[int]:
    """Where the segments of a stream begin, ascending. Raises FileNotFoundError."""
    return sorted(int(path.stem) for path in directory.iterdir() if path.suffix == ".log")


class Segment:
    """A segment opened for reading. Raises FileNotFoundError."""

    def __init__(self, directory: Path, first: int) -> None:
        self.first = first
        self._fd = os.open(segment_path(directory, first), os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self._index: int | None = None
        self._entries = 0
        try:
            self._index = os.open(index_path(directory, first), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self._entries = os.fstat(self._index).st_size // ENTRY_BYTES

    def close(self) -> None:
        """Close the files."""
        os.close(self._fd)
        if self._index is not None:
            os.close(self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def before_number(self, number: int) -> tuple[int, Entry]:
        """The last entry at or before event `number`, and its place in the index; (-1, START) if there is none."""
        return self._entry_before(lambda entries: bisect_right(entries, number, key=lambda i: self._entry(i).first))

    def before_time(self, time: Instant) -> tuple[int, Entry]:
        """The last entry before `time`: equal times may reach back over several frames."""
        return self._entry_before(lambda entries: bisect_left(entries, time, key=lambda i: self._entry(i).timestamp))

    def entry(self, place: int) -> Entry:
        """The entry at a place of the index, START before the first or if it points nowhere."""
        entry = self._entry(place) if place >= 0 else START
        return START if entry is _DAMAGED or entry.position >= self.size else entry

    def frames(self, position: int) -> Iterator[tuple[int, Frame, bytes]]:
        """Whole frames from a position on, each with where it stands and its payload."""
        chunk, start = b"", position
        while position + HEADER_BYTES <= self.size:
            if position + HEADER_BYTES > start + len(chunk):
                chunk, start = self._read(position, _CHUNK_BYTES), position
            frame = decode_header(chunk, position - start)
            if frame is None or position + frame.size > self.size:
                return
            if position + frame.size > start + len(chunk):
                chunk, start = self._read(position, max(frame.size, _CHUNK_BYTES)), position
            at = position - start
            if not is_whole(chunk, at, frame):
                return
            yield position, frame, chunk[at + HEADER_BYTES : at + frame.size]
            position += frame.size

    def last_frame(self) -> Frame | None:
        """The last whole frame; None if there is none."""
        last = None
        _, entry = self._entry_before(len)
        for _, frame, _ in self.frames(entry.position):
            last = frame
        if last is None and entry.position:
            for _, frame, _ in self.frames(0):  # the index reached the disk and the frames did not
                last = frame
        return last

    def _read(self, position: int, size: int) -> bytes:
        return os.pread(self._fd, min(size, self.size - position), position)

    def _entry(self, place: int) -> Entry:
        data = b"" if self._index is None else os.pread(self._index, ENTRY_BYTES, place * ENTRY_BYTES)
        return (decode_entry(data) if len(data) == ENTRY_BYTES else None) or _DAMAGED

    def _entry_before(self, count: Callable[[range], int]) -> tuple[int, Entry]:
        """The last of the first `count` entries that can be used, looking back over a damaged or premature tail."""
        place = count(range(self._entries)) - 1
        while place >= 0 and self.entry(place) is START:
            place -= 1
        return place, self.entry(place)
