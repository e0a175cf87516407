"""Directory trees into one tar.gz stream: the model artifact and the output archive.

Called by `upload`. Members are named relative to their tree ("a/b", no leading "model/"; Source: captures of
model.tar.gz), sorted, owned by 0:0, with their permissions and times; what a tree gives and what it must not give is
`tree`. Nothing is written to disk: bytes go through igzip's threads straight into the writer.
"""

import errno
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from isal import igzip_threaded

from clary.storage.tree import Member, is_empty, open_member, walk

__all__ = ["is_empty", "pack"]

_BLOCK_BYTES = 1024 * 1024
_THREADS_MAX = 16
"""All processors, up to here: one thread reads for all of them and is busy before, and each one more takes some 4 MiB."""
_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


class Sink(Protocol):
    """Whatever takes bytes."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes."""
        ...


def pack(
    roots: Sequence[Path],
    sink: Sink,
    *,
    seen_as: str | None = None,
    on_skip: Callable[[str, str], None] = lambda _path, _reason: None,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write the merged trees to `sink` as tar.gz; answers the number of members.

    `roots`, `seen_as` and `on_skip` as in `tree.walk`. `check` is called about once per MiB and may raise to end the
    work. Raises `OSError` for a file that cannot be read (or shrinks meanwhile), and whatever the sink raises.
    """
    members = walk(roots, seen_as=seen_as, on_skip=on_skip)
    gate = _Gate(sink)
    threads = min(len(os.sched_getaffinity(0)), _THREADS_MAX)
    zipped = igzip_threaded.open(gate, "wb", threads=threads, block_size=_BLOCK_BYTES)  # type: ignore[no-untyped-call]
    try:
        for member in members:
            check()
            _add(zipped, member, check)
        zipped.write(_END_OF_ARCHIVE)
    except BaseException:
        gate.shut = True  # closing flushes: the end of a broken archive must not go out
        raise
    finally:
        zipped.close()
    return len(members)


def _add(out: IO[bytes], member: Member, check: Callable[[], None]) -> None:
    """Header, content, padding. TarFile would do the same with four copies of each byte."""
    info = tarfile.TarInfo(member.path)
    info.mode = member.mode
    info.mtime = max(0, member.mtime_ns // 1_000_000_000)
    if member.is_directory:
        info.type = tarfile.DIRTYPE
        out.write(info.tobuf())
        return
    with open_member(member) as fd:
        info.size = os.fstat(fd).st_size
        out.write(info.tobuf())
        offset = 0
        while offset < info.size:
            check()
            block = os.pread(fd, min(_BLOCK_BYTES, info.size - offset), offset)
            if not block:
                raise OSError(errno.EIO, "the file became shorter while it was packed", member.path)
            out.write(block)
            offset += len(block)
    out.write(bytes(-info.size % tarfile.BLOCKSIZE))


class _Gate:
    """The sink, until it is shut."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.shut = False

    def write(self, data: bytes | memoryview, /) -> int:
        return len(data) if self.shut else self._sink.write(data)

    def flush(self) -> None:
        """Nothing waits here; igzip asks."""
