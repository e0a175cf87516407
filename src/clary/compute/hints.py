"""The pipe through which instance programs say that they have reported. A hint may be lost; the report is a file.

Used by `local`. The reader holds the pipe open for writing too, so that it never sees its end when the last instance
program goes, and an instance program that starts while the server is away finds the pipe and nobody behind it.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path


class HintPipe:
    """Calls `wake(instance_name)` on the running event loop for each hint, until closed."""

    def __init__(self, path: Path, wake: Callable[[str], None]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._wake = wake
        self._rest = b""
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Stop listening; the pipe stays."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
        for name in dict.fromkeys(lines):
            self._wake(name.decode(errors="replace"))
