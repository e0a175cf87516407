"""A file system of one file, to see whether any can be mounted: `python -m clary.runtimes.fuse_probe DIRECTORY`.

Started by `fuse.problem`, which looks for the file and takes the file system away.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from clary.runtimes.fuse import CannotMount, serve
from clary.runtimes.fuse_operations import Entry


class Probe:
    """A tree with one file."""

    changed_at_s = 0.0
    entry = Entry(number=16, size_bytes=1)
    file_count = 1
    size_bytes = 1

    def find(self, path: str) -> Entry | None:
        """The file, and the root."""
        return {"": Entry(number=1), "file": self.entry}.get(path)

    def list(self, _path: str, after: int) -> Sequence[tuple[str, Entry]]:
        """The file."""
        return [("file", self.entry)] if after < self.entry.number else []

    def open(self, _path: str) -> "Probe":
        """It has no state."""
        return self

    def read(self, start: int, size: int) -> bytes:
        """One byte."""
        return b"x"[start : start + size]

    def close(self) -> None:
        """Nothing."""


if __name__ == "__main__":
    try:
        serve(Probe(), Path(sys.argv[1]))
    except CannotMount:
        sys.exit(1)  # libfuse has said why
