"""What of the input cache can be trusted after the machine went down. Called by `cache`.

Bytes that were never brought to the disk may read as zeros after a power cut, under names that say that they are whole. So it is
noted up to which moment all has been brought there, and after a start of the machine whatever is younger goes.
"""

import contextlib
import ctypes
import os
import time
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import write_atomically
from clary.storage.cache_eviction import remove_tree, taken
from clary.storage.cache_place import CachePlace


class _Synced(msgspec.Struct, frozen=True, kw_only=True):
    """`at_ns`: all that was written before that moment, in nanoseconds since the epoch, is on the disk."""

    at_ns: int


def make_durable(place: CachePlace) -> None:
    """Bring to the disk what is there. Takes as long as the disk does. Raises `OSError`."""
    # A second less: the times of files lag behind the clock by some milliseconds.
    before_ns = time.time_ns() - 1_000_000_000
    fd = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed")
    finally:
        os.close(fd)
    with place.locked():
        if _synced_at(place) < before_ns:
            write_atomically(place.synced, msgspec.json.encode(_Synced(at_ns=before_ns)))


def drop_doubtful(place: CachePlace) -> list[Path]:
    """Remove what may not have come to the disk before the machine went down, and begin the book anew. Under the lock.

    Answers what is left to be deleted without it.
    """
    at_ns = _synced_at(place)
    young = [name for name in place.names(place.trees) if _written_at(place.trees / name / "index") >= at_ns]
    doomed = [place.doom(place.fills / token) for token in place.names(place.fills)]
    doomed += [remove_tree(place, name, ())[1] for name in young]
    for part in place.names(place.objects):
        for entry in os.scandir(place.objects / part):
            if entry.stat(follow_symlinks=False).st_mtime_ns >= at_ns:
                os.unlink(entry.path)  # noqa: PTH108
    place.write_ledger(taken(place))
    return doomed


def _synced_at(place: CachePlace) -> int:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return typed.from_json(place.synced.read_bytes(), _Synced).at_ns
    return 0


def _written_at(path: Path) -> int:
    """One that is not there is as young as can be."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 1 << 63
