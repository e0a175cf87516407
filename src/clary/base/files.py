"""Files that survive a crash: written whole or not at all, and locks that die with their holder.

Used by every room that keeps state on disk. Knows nothing of what the files mean.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_LOOK_AGAIN_S = 0.002


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file by `data` so that a reader, or a crash, sees the old content or the new, never a part.

    With `durable`, the data and the name are on disk when this returns.
    """
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class AlreadyLocked(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[int]:
    """Hold an advisory lock on `path` (created if missing); yield its descriptor. Raises `AlreadyLocked`.

    The kernel gives the lock back when the holder dies, so that a crash never leaves one behind. The descriptor is
    closed on exec: a child must not keep its parent's lock alive.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyLocked(str(path)) from None
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def awaited_lock(path: Path, *, within_s: float) -> Iterator[int]:
    """Hold `path` as `exclusive_lock` does, once nobody else does. Raises `TimeoutError` after so many seconds."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + within_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"somebody else holds {path}") from None
                time.sleep(_LOOK_AGAIN_S)
        yield fd
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether some process holds `exclusive_lock(path)` now."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
