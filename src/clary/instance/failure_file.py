"""Reads /opt/ml/output/failure, which job code wrote: at its word, but not in its trap.

Called by `run_training` once the program has ended, outside the sandbox. The file may have become a link to somebody
else's file, a FIFO that would never answer, or gigabytes; the directory above it likewise.
"""

import os
import stat
from pathlib import Path

from clary.instance.opt_ml import FAILURE
from clary.jobs.failure import FAILURE_REASON_MAX

_UTF8_MAX_BYTES = 4
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def failure_text(opt_ml: Path) -> str:
    """The first 1,024 characters of the failure file; "" if there is none that can be read.

    What is no UTF-8 becomes U+FFFD, and NUL is left out (inferred). Source: the developer guide on failure files.
    """
    try:
        data = _head(opt_ml, FAILURE.parts, FAILURE_REASON_MAX * _UTF8_MAX_BYTES)
    except OSError:
        return ""
    return data.decode("utf-8", "replace").replace("\0", "")[:FAILURE_REASON_MAX]


def _head(root: Path, parts: tuple[str, ...], size_bytes: int) -> bytes:
    """The first bytes of a regular file, no link followed on the way. Raises OSError."""
    above = os.open(root, _DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, _DIRECTORY, dir_fd=above)
            os.close(above)
            above = below
        if not stat.S_ISREG(os.stat(parts[-1], dir_fd=above, follow_symlinks=False).st_mode):
            return b""
        fd = os.open(parts[-1], _FILE, dir_fd=above)
    finally:
        os.close(above)
    try:
        return os.pread(fd, size_bytes, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
