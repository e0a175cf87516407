"""The journal of an instance on disk: JSON lines, only ever appended, each on disk before anybody acts on it.

Used by the steps; what the entries mean is `state`. A line that a crash left half-written at the end never happened: it
is cut off when the journal is opened. The file gets its disk space in advance, so that a training program which fills
the disk cannot keep its own stop, or end, from being noted.
"""

import os
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import sync_directory
from clary.instance.holes import reserve
from clary.instance.state import Entry, State, after

_RESERVED_BYTES = 64 * 1024


class Journal:
    """What has been done, and what that adds up to in `state`. One writer, which holds the instance's lock."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        reserve(self._fd, _RESERVED_BYTES)
        entries, self._size = _read(self._fd)
        os.ftruncate(self._fd, self._size)
        reserve(self._fd, _RESERVED_BYTES)  # the cut gave back what lay behind it
        sync_directory(path.parent)
        self.state = State()
        for entry in entries:
            self.state = after(self.state, entry)

    def note(self, entry: Entry) -> None:
        """Append the entry. It is on disk when this returns. Raises OSError, and then it has not happened."""
        line = msgspec.json.encode(entry) + b"\n"
        view = memoryview(line)
        position = self._size
        while view:  # at a place of our own: what a full disk cut short is written over by the next try
            written = os.pwrite(self._fd, view, position)
            view, position = view[written:], position + written
        os.fdatasync(self._fd)
        self._size = position
        self.state = after(self.state, entry)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def _read(fd: int) -> tuple[list[Entry], int]:
    """The whole entries, and how many bytes they take. Raises msgspec's errors for damage before the last line."""
    data = b""
    while block := os.pread(fd, 1 << 20, len(data)):
        data += block
    decoder = typed.json_decoder(Entry)
    entries: list[Entry] = []
    size = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1]):
        try:
            entries.append(decoder.decode(line))
        except msgspec.DecodeError:
            if number == len(lines) - 2:  # its blocks reached the disk in another order than they were written
                break
            raise
        size += len(line) + 1
    return entries, size
