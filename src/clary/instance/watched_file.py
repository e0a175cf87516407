"""A small file that somebody else replaces now and then: read again only when it is another one."""

import os
from pathlib import Path


class WatchedFile:
    """Tells when the file has been replaced. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int, int] | None = None

    def changed(self) -> bytes | None:
        """The file's content if it is not the one that was given last; None if it is, or if there is none."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - at every turn, it counts
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if mark == self._known:
                return None
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        self._known = mark
        return data
