"""Paths that other people name below a directory of ours, resolved so that they cannot lead out of it.

Called for the directories of shared file systems, in which training programs may have put any link. Links are followed as
long as they stay inside; what is resolved is then opened part by part without following any, so that a directory that
somebody swaps for a link at that moment is noticed.
"""

import errno
import os
from pathlib import Path

_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LeadsOut(OSError):
    """The path is not inside the directory."""


def open_beneath(root: Path, path: str) -> tuple[int, Path]:
    """A descriptor (O_PATH) of the directory at `path` below `root`, and where it is without links.

    A slash at the beginning of `path` means `root`. Raises `LeadsOut` and other `OSError`: there is none, or no directory.
    """
    top = Path(os.path.realpath(root, strict=True))
    real = Path(os.path.realpath(top / path.lstrip("/"), strict=True))
    if not real.is_relative_to(top):
        raise LeadsOut(errno.EXDEV, "the path leads out of the file system", path)
    fd = os.open(top, _FLAGS & ~os.O_NOFOLLOW)
    try:
        for part in real.relative_to(top).parts:
            below = os.open(part, _FLAGS, dir_fd=fd)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd, real
