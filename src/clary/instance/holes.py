"""Disk space that a file takes or does not take, beside what it holds: fallocate(2), which Python lacks.

Called by `journal` (space in advance) and `ship_logs` (space back). Both are favours: where the file system knows no
such thing, nothing happens.
"""

import ctypes
import errno
import os

_KEEP_SIZE = 0x01  # FALLOC_FL_KEEP_SIZE
_PUNCH_HOLE = 0x02  # FALLOC_FL_PUNCH_HOLE

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64 if hasattr(_libc, "fallocate64") else _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_fallocate.restype = ctypes.c_int


def reserve(fd: int, size_bytes: int) -> bool:
    """Give the file disk space for its first `size_bytes` without changing its size; whether that worked."""
    return int(_fallocate(fd, _KEEP_SIZE, 0, size_bytes)) == 0


def punch_hole(fd: int, start: int, end: int) -> bool:
    """Give back the disk space of bytes `start` to `end`, which read as zeros from then on; whether that worked.

    Only whole blocks are given back. Raises OSError for a descriptor that is not open for writing.
    """
    if end <= start:
        return True
    if int(_fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, start, end - start)) == 0:
        return True
    error = ctypes.get_errno()
    if error == errno.EBADF:
        raise OSError(error, os.strerror(error))
    return False
