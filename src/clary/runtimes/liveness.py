"""Whether a program still runs, told by a lock that the kernel gives back when it dies.

The lock belongs to an open file that the program inherits, so it survives whoever took it, and cannot be mistaken after
a process id was used again. Open file description locks (fcntl(2)) rather than flock(2): they can be looked at without
being taken, so that a look never makes a start fail. Used by `process`.
"""

import fcntl
import os
import struct
from pathlib import Path

_FLOCK = "hhqqi"  # struct flock: l_type, l_whence, l_start, l_len, l_pid


def take(path: Path) -> int | None:
    """Open the file (created if missing) for reading and appending, and lock it; None if a living program holds it.

    The lock lasts until the last copy of the descriptor is closed.
    """
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    return fd


def held(path: Path) -> bool:
    """Whether a living program holds the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, wanted)
        return bool(struct.unpack(_FLOCK, found)[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)
