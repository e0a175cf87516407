"""What a file system of ours shows, and how the kernel's questions about it are answered.

Called by libfuse's threads, through mfusepy, for `fuse`, which mounts. Nothing that is shown ever changes.
"""

import ctypes
import errno
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file, or a directory where `size_bytes` is None. `number` is the inode's."""

    number: int
    size_bytes: int | None = None


class File(Protocol):
    """An open file. Methods raise OSError for the reader."""

    @property
    def entry(self) -> Entry:
        """What it is."""
        ...

    def read(self, start: int, size: int) -> bytes | memoryview:
        """The bytes from `start` on: all that were asked for, fewer only where the file ends."""
        ...

    def close(self) -> None:
        """Nobody reads any more."""
        ...


class Tree(Protocol):
    """What a file system shows. Paths are without a slash at their beginning; called by many threads."""

    changed_at_s: float
    """When everything in it was last changed, in seconds since the epoch."""

    file_count: int
    size_bytes: int

    def find(self, path: str) -> Entry | None:
        """What is at a path; "" is the root."""
        ...

    def list(self, path: str, after: int) -> Sequence[tuple[str, Entry]]:
        """Some of what is in a directory, by number: those behind the number `after`, none when there are no more."""
        ...

    def open(self, path: str) -> File:
        """Open a file. Raises OSError for the reader."""
        ...


class Operations:
    """A tree as mfusepy wants it. Its methods are called by libfuse's threads; an OSError is the reader's."""

    use_ns = True
    flag_nopath = True  # read and release come with the open file alone, which spares libfuse the making of paths
    flag_nullpath_ok = True

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._open: dict[int, File] = {}
        self._directories: dict[int, str] = {}
        self._last = 0
        self._owner = (os.geteuid(), os.getegid())

    def init_with_config(self, connection: Any, _config: Any) -> None:
        """More reads under way at once than the kernel allows by itself."""
        connection.max_background = 64
        connection.congestion_threshold = 48

    def getattr(self, path: str | None, handle: Any = None) -> dict[str, Any]:
        """Answer stat(2); without a path, of an open file."""
        entry = self._open[handle.fh].entry if path is None else self._tree.find(path.lstrip("/"))
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "")
        directory = entry.size_bytes is None
        changed_at = round(self._tree.changed_at_s * 1e9)
        return {
            "st_ino": entry.number,
            "st_mode": stat.S_IFDIR | 0o555 if directory else stat.S_IFREG | 0o444,
            "st_nlink": 2 if directory else 1,
            "st_size": entry.size_bytes or 0,
            "st_blocks": -(-(entry.size_bytes or 0) // 512),
            "st_blksize": 1 << 20,  # what programs take as the size of their buffers
            "st_uid": self._owner[0],
            "st_gid": self._owner[1],
            "st_mtime": changed_at,
            "st_ctime": changed_at,
            "st_atime": changed_at,
        }

    def opendir(self, path: str) -> int:
        """Remember the path: the names are asked for without it."""
        with self._lock:
            self._last += 1
            self._directories[self._last] = path.lstrip("/")
            return self._last

    def releasedir(self, _path: str | None, handle: int) -> int:
        """See `opendir`."""
        with self._lock:
            del self._directories[handle]
        return 0

    def readdir_with_offset(
        self, _path: str | None, offset: int, handle: int
    ) -> Iterator[tuple[str, dict[str, int], int]]:
        """The names behind the one of number `offset`, as many as libfuse has room for."""
        path = self._directories[handle]
        for number, name in enumerate((".", ".."), start=1):
            if offset < number:
                yield name, {"st_mode": stat.S_IFDIR}, number
        while found := self._tree.list(path, offset):
            for name, entry in found:
                kind = stat.S_IFDIR if entry.size_bytes is None else stat.S_IFREG
                yield name, {"st_mode": kind, "st_ino": entry.number}, entry.number
                offset = entry.number

    def open(self, path: str, handle: Any) -> int:
        """Only for reading: the file system is mounted so."""
        file = self._tree.open(path.lstrip("/"))
        with self._lock:
            self._last += 1
            self._open[self._last] = file
            handle.fh = self._last
        handle.keep_cache = 1
        return 0

    def read(self, _path: str | None, size: int, offset: int, handle: Any) -> "bytes | ctypes.Array[ctypes.c_char]":
        """A part of what the kernel wants of a file. mfusepy copies it from where it lies: every copy less is seen."""
        data = self._open[handle.fh].read(offset, size)
        if isinstance(data, bytes) or data.readonly:
            return bytes(data)
        return (ctypes.c_char * len(data)).from_buffer(data)

    def release(self, _path: str | None, handle: Any) -> int:
        """The last descriptor of an open file was closed."""
        with self._lock:
            file = self._open.pop(handle.fh)
        file.close()
        return 0

    def statfs(self, _path: str) -> dict[str, int]:
        """No room: it can only be read."""
        blocks = -(-self._tree.size_bytes // 4096)
        return {
            "f_bsize": 4096,
            "f_frsize": 4096,
            "f_blocks": blocks,
            "f_files": self._tree.file_count,
            "f_namemax": 255,
        }
