"""The server of an instance's FastFile channels: `python -m clary.instance.fast_file --directory DIR`.

Started by `fast_file_mount`, detached: the training program goes on reading while the instance program is killed and
started again. Shows each channel as a directory of one file system, as it was listed when it was staged, and reads objects
when somebody reads their files. It ends when the file system is taken away, or is killed when its instance is given back.

An object that is no longer the one that was listed, or whose bytes are not those of its ETag, is an input/output error for
its reader, and a line in this program's log. A store that cannot be reached is waited for.
"""

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clary.base import typed
from clary.base.clock import SystemClock
from clary.base.files import AlreadyLocked, exclusive_lock
from clary.base.telemetry import Logger, configure, get_logger
from clary.instance.fast_file_mount import fast_file_channels, view_file
from clary.instance.grants import Grants
from clary.instance.patience import Patience
from clary.instance.storage_access import s3
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask
from clary.runtimes import fuse
from clary.runtimes.fuse_operations import Entry, File
from clary.storage import s3 as _s3  # noqa: F401  the first reader is not to wait for its import
from clary.storage.integrity import Corrupt
from clary.storage.port import Changed
from clary.storage.read_ahead import OpenFile, ReadAhead
from clary.storage.reading import ReadObject
from clary.storage.view import ROOT, Node, View

_ANOTHER_IS_HERE = 75  # EX_TEMPFAIL
_NUMBERS = 40  # bits of a number that are a view's own


class ChannelTree:
    """Several views in one tree, each below its name. A `fuse_operations.Tree`.

    The first object that cannot be read is told in the file `trouble`. `cached` opens an object that is on this machine.
    """

    def __init__(
        self,
        views: dict[str, View],
        read_ahead: ReadAhead,
        trouble: Path,
        log: Logger,
        *,
        cached: Callable[[ReadObject], int | None] = lambda _entry: None,
    ) -> None:
        self._names = list(views)
        self._views = list(views.values())
        self._read_ahead = read_ahead
        self._cached = cached
        self._trouble = trouble
        self._log = log
        self._lock = threading.Lock()
        self._bad: set[int] = set()
        self.changed_at_s = min(view.staged_at for view in self._views) / 1000
        self.file_count = sum(view.files for view in self._views)
        self.size_bytes = sum(view.bytes for view in self._views)

    def find(self, path: str) -> Entry | None:
        """See `Tree`."""
        if path == "":
            return Entry(number=ROOT)
        node = self._node(path)
        return None if node is None else _entry(node)

    def list(self, path: str, after: int) -> Sequence[tuple[str, Entry]]:
        """See `Tree`."""
        if path == "":
            found = [(name, Entry(number=_number(index, ROOT))) for index, name in enumerate(self._names)]
            return [(name, entry) for name, entry in found if entry.number > after]
        node = self._node(path)
        if node is None:
            return []
        index, own = _own(node.number)
        children = self._views[index].children(own, after=max(0, after - _number(index, 0)))
        return [
            (child.name, Entry(number=_number(index, child.number), size_bytes=None if child.is_directory else 0))
            for child in children
        ]

    def open(self, path: str) -> File:
        """See `Tree`."""
        node = self._node(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, path)
        if node.number in self._bad:
            raise OSError(errno.EIO, path)
        fd = None if node.entry is None else self._cached(node.entry)
        if fd is not None:
            return _CachedFile(node, fd)
        return _File(self, node, self._read_ahead.open(node))

    def failed(self, node: Node, error: Exception) -> None:
        """Tell of an object that could not be read. One whose pages are no good is never opened again: the kernel has them."""
        entry = node.entry
        uri = "" if entry is None else f"s3://{entry.bucket}/{entry.key}"
        with self._lock:
            if isinstance(error, Corrupt | Changed):
                self._bad.add(node.number)
            # It is there already, or the disk is full.
            with contextlib.suppress(OSError), self._trouble.open("x") as file:
                file.write(f"{uri} cannot be read: {error}")
        self._log.warning("object cannot be read", uri=uri, error=str(error))

    def _node(self, path: str) -> Node | None:
        name, _, rest = path.partition("/")
        if name not in self._names:
            return None
        index = self._names.index(name)
        node = self._views[index].find(rest)
        return None if node is None else _numbered(index, node)


class _File:
    """An open file of the tree."""

    def __init__(self, tree: ChannelTree, node: Node, file: OpenFile) -> None:
        self._tree = tree
        self._node = node
        self._file = file
        self.entry = _entry(node)

    def read(self, start: int, size: int) -> bytes | memoryview:
        try:
            return self._file.read(start, size)
        except Exception as error:  # noqa: BLE001  whatever it is, it is no data
            self._tree.failed(self._node, error)
            raise OSError(errno.EIO, "") from None

    def close(self) -> None:
        self._file.close()


class _CachedFile:
    """An open file whose object is in the input cache."""

    def __init__(self, node: Node, fd: int) -> None:
        self._fd = fd
        self.entry = _entry(node)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._fd, size, start)

    def close(self) -> None:
        os.close(self._fd)


def main(arguments: Sequence[str]) -> int:
    """Serve until the file system is taken away; the exit code."""
    option, directory = arguments
    if option != "--directory":
        raise SystemExit("usage: python -m clary.instance.fast_file --directory DIR")
    files = InstanceFiles(Path(directory))
    configure(files.fast_file_log.open("a"), "info")
    log = get_logger("instance")
    try:
        with exclusive_lock(files.fast_file_lock) as lock:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            task = typed.from_json(files.task.read_bytes(), InstanceTask)
            fuse.serve(tree_of(task, files, log), files.fast_file)
    except AlreadyLocked:
        return _ANOTHER_IS_HERE
    except fuse.CannotMount:
        return 1  # libfuse has said why
    return 0


def tree_of(task: InstanceTask, files: InstanceFiles, log: Logger) -> ChannelTree:
    """The FastFile channels of a task, as they were staged."""
    clock = SystemClock()
    grants = Grants(files.grants, clock)
    patience = Patience(storage_for=s3(task, grants), grants=grants, clock=clock, log=log, wait=_wait)
    views = {name: View(view_file(files, name)) for name in fast_file_channels(task)}
    by_index = list(views.values())

    def following(number: int, limit: int) -> list[Node]:
        index, own = _own(number)
        return [_numbered(index, node) for node in by_index[index].following(own, limit)]

    return ChannelTree(
        views, ReadAhead(patience.storage_of, following), files.fast_file_trouble, log, cached=_input_cache(task)
    )


def _input_cache(task: InstanceTask) -> Callable[[ReadObject], int | None]:
    """What opens objects that File mode channels have brought to this machine; nothing is added to them."""
    if not task.input_cache:
        return lambda _entry: None
    from clary.storage.cache import InputCache  # noqa: PLC0415 - most have none

    cache = InputCache(Path(task.input_cache), limit_bytes=task.input_cache_bytes, endpoint_url=task.s3_endpoint_url)
    return lambda entry: cache.open_object(entry.bucket, entry.key, entry.etag)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def _entry(node: Node) -> Entry:
    return Entry(number=node.number, size_bytes=None if node.entry is None else node.entry.size_bytes)


def _numbered(index: int, node: Node) -> Node:
    return Node(number=_number(index, node.number), entry=node.entry)


def _number(index: int, own: int) -> int:
    return (index + 1 << _NUMBERS) + own


def _own(number: int) -> tuple[int, int]:
    return (number >> _NUMBERS) - 1, number & (1 << _NUMBERS) - 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # threads that wait for a store are not waited for
