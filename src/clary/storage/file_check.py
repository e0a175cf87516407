"""Whether a file that many threads write holds the bytes of the object: found out while they write.

Called by `s3` for objects that come by one request, and by `transfer` for those that come by many. What a seal is, is `seal`.
"""

import errno
import os
import threading
from collections.abc import Callable, Sequence

from clary.storage.crc32 import PIECE_BYTES
from clary.storage.seal import Running, Seal


class FileCheck:
    """Each thread tells what it has written; one at a time goes on from where the last one ended, so that none waits for another.

    `ask` is called once, when the first bytes are there: what the store tells of them, None if it does not.
    """

    def __init__(self, fd: int, size_bytes: int, ask: Callable[[], Seal | None]) -> None:
        self._fd = fd
        self._size_bytes = size_bytes
        self._ask = ask
        self._asked = False
        self._running: Running | None = None
        self._lock = threading.Lock()
        self._written: dict[int, tuple[int, Sequence[int]]] = {}
        self._seen_to = 0
        self._busy = False

    def written(self, start: int, length: int, crcs: Sequence[int]) -> bool:
        """Take note of bytes, with the CRC-32 of each `PIECE_BYTES` of them; True, once, for the caller that has come to the end.

        Raises what `ask` raises.
        """
        with self._lock:
            self._written[start] = (length, crcs)
            if self._busy:
                return False
            self._busy = True
        if not self._asked:
            self._asked = True
            seal = self._ask()
            self._running = None if seal is None else Running(seal, self._size_bytes)
        while True:
            with self._lock:
                found = self._written.pop(self._seen_to, None)
                if found is None:
                    self._busy = False
                    return self._seen_to == self._size_bytes
            self._see(*found)

    def fits(self) -> bool:
        """Whether all of it is what the store speaks of, as far as can be known."""
        return self._running is None or self._running.fits()

    def _see(self, length: int, crcs: Sequence[int]) -> None:
        """Go on by so many bytes. They are read only where their sums do not tell."""
        end = self._seen_to + length
        if self._running is not None:
            for number, crc in enumerate(crcs):
                start = self._seen_to + number * PIECE_BYTES
                size = min(PIECE_BYTES, end - start)
                if not self._running.join(crc, size):
                    self._read(self._running, start, start + size)
        self._seen_to = end

    def _read(self, running: Running, position: int, end: int) -> None:
        while position < end:
            piece = os.pread(self._fd, end - position, position)
            if not piece:
                raise OSError(errno.EIO, "a file ended before what was written to it")
            running.update(piece)
            position += len(piece)
