"""Brings the objects of a `Selection` into a directory: many at once, in bounded memory, complete or not at all.

Called when a File mode channel, a checkpoint or a source archive is staged. What to bring, and under which names, was
decided by `selection`. Uploads are `upload`.
"""

import contextlib
import errno
import functools
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from clary.storage.file_check import FileCheck
from clary.storage.integrity import ATTEMPTS, Corrupt
from clary.storage.port import ObjectStorage
from clary.storage.reading import get_checked
from clary.storage.seal import Seal
from clary.storage.selection import SelectedObject, Selection, checked_path

PART_BYTES = 16 * 1024 * 1024
_PARTS_AT_ONCE = max(4, min(8, 2 * (os.cpu_count() or 1)))  # beyond that they wait for processors, not for the store
_IN_MEMORY_BYTES = 1024 * 1024
_POLL_S = 0.1
_PROGRESS_EVERY_S = 0.5
_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755


class InsufficientDisk(Exception):
    """The objects do not fit on the disk."""


class Cancelled(Exception):
    """The caller called the transfer off."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a transfer is; `bytes_…` in bytes, parts of objects included."""

    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_total: int


def download(
    storage: ObjectStorage,
    bucket: str,
    selection: Selection,
    directory: Path,
    *,
    scratch: Path | None = None,
    concurrency: int = 16,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Progress:
    """Make `directory` hold exactly the selection: whatever lay in it before is removed first, so that it may be run
    again after a crash.

    Files have mode 0644, directories 0755 (observed, SageMaker's File mode). Each object is read as it was listed (by
    its ETag, else `Changed`; bytes that do not fit its seal are read again, else `Corrupt`), written into `scratch` and
    renamed into place. `scratch` is on the same file system, outside `directory` (containers choke on stray files in a
    channel), by default beside it, and gone afterwards.
    Memory: at most `concurrency` objects of up to 1 MiB; larger ones go into their files as they come, a few parts of
    16 MiB at a time.

    `on_progress` and `cancelled` are called in this thread, the latter ten times a second. Raises `Cancelled` within a
    second, `InsufficientDisk` (before the first byte where that is already plain), `StorageError`, or another `OSError`.
    """
    scratch = scratch or directory.parent / f".{directory.name}.partial"
    try:
        with _disk_errors():
            _clear(directory, scratch)
            free = os.statvfs(directory)
            if selection.size_bytes > free.f_bavail * free.f_frsize:
                raise InsufficientDisk(f"{selection.size_bytes} bytes do not fit into {free.f_bavail * free.f_frsize}")
            work = _Download(storage, bucket, selection, directory, scratch)
            return work.run(concurrency, on_progress, cancelled)
    finally:
        while scratch.exists():
            # A thread that was about to make a file in it may have come in between; each makes one at most.
            shutil.rmtree(scratch, ignore_errors=True)


class _PartialFile:
    """A large file whose parts arrive in any order.

    Its descriptor is closed with the last part, or when nobody knows the file any more: after a failure some thread
    may still be about to write, and must not hit another file that got the same number.
    """

    def __init__(self, path: str, item: SelectedObject, seal: Callable[[], Seal | None]) -> None:
        self.path = path
        self.fd = _create(path)
        try:
            os.posix_fallocate(self.fd, 0, item.size_bytes)
        except BaseException:
            os.close(self.fd)
            raise
        self.close = weakref.finalize(self, os.close, self.fd)
        self.new_check = functools.partial(FileCheck, self.fd, item.size_bytes, seal)
        self.check = self.new_check()


class _Download:
    def __init__(
        self, storage: ObjectStorage, bucket: str, selection: Selection, directory: Path, scratch: Path
    ) -> None:
        self._storage = storage
        self._bucket = bucket
        self._selection = selection
        self._directory = str(directory)  # texts: with thousands of small objects the joining of paths would show
        self._scratch = str(scratch)
        self._lock = threading.Lock()
        self._parts = threading.Semaphore(_PARTS_AT_ONCE)
        self._made = {""}
        self._tasks = self._plan()
        self._stopped = False
        self._error: BaseException | None = None
        self._objects_done = 0
        self._bytes_done = 0

    def run(self, concurrency: int, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]) -> Progress:
        for path in self._selection.directories:
            self._make_directory(checked_path(path, path))
        # Daemons: one that hangs on a dead store must not keep a cancelled program from ending.
        count = max(1, min(concurrency, len(self._selection.objects) + self._selection.size_bytes // PART_BYTES))
        workers = [threading.Thread(target=self._work, daemon=True, name=f"download-{n}") for n in range(count)]
        for worker in workers:
            worker.start()
        told_at = time.monotonic()
        try:
            for worker in workers:
                while worker.is_alive() and not self._stopped:
                    worker.join(_POLL_S)
                    if cancelled():
                        raise Cancelled
                    if time.monotonic() - told_at >= _PROGRESS_EVERY_S:
                        told_at = time.monotonic()
                        on_progress(self._progress())
        finally:
            with self._lock:  # from here on no file appears in the directory
                self._stopped = True
        if self._error is not None:
            raise self._error
        done = self._progress()
        on_progress(done)
        return done

    def _progress(self) -> Progress:
        return Progress(
            objects_done=self._objects_done,
            objects_total=len(self._selection.objects),
            bytes_done=self._bytes_done,
            bytes_total=self._selection.size_bytes,
        )

    def _plan(self) -> Iterator[tuple[SelectedObject, str, _PartialFile | None, int]]:
        """Every request to make: object, temporary file, its shared state if it comes in parts, and the offset."""
        for number, item in enumerate(self._selection.objects):
            path = f"{self._scratch}/{number}"
            self._make_directory(checked_path(item.relative_path, item.key).rpartition("/")[0])
            if item.size_bytes <= _IN_MEMORY_BYTES:
                yield item, path, None, 0
                continue
            # It must not know `self`, which knows it: its descriptor would stay until the next garbage collection.
            partial = _PartialFile(path, item, functools.partial(self._storage.seal, self._bucket, item.key, item.etag))
            for start in range(0, item.size_bytes, PART_BYTES):
                yield item, path, partial, start

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    task = None if self._stopped else next(self._tasks, None)
                if task is None:
                    return
                item, path, partial, start = task
                if partial is None:
                    self._bring_whole(item, path)
                else:
                    self._bring_part(item, partial, start)
        except BaseException as error:  # noqa: BLE001
            with self._lock:
                self._error = self._error or error
                self._stopped = True

    def _bring_whole(self, item: SelectedObject, path: str) -> None:
        data = get_checked(self._storage, self._bucket, item, 0, item.size_bytes)
        fd = _create(path)
        try:
            _write(fd, data, 0)
        finally:
            os.close(fd)
        self._finish(item, path, len(data))

    def _bring_part(self, item: SelectedObject, partial: _PartialFile, start: int) -> None:
        whole = item.size_bytes <= PART_BYTES  # then the storage looks at it, and nothing has to be asked for
        with self._parts:
            length, crcs = self._get_part(item, partial, start, whole=whole)
        with self._lock:
            self._bytes_done += length
        if whole or partial.check.written(start, length, crcs):
            if not whole and not partial.check.fits() and self._ought_to_fit(item):
                self._bring_again(item, partial)
            partial.close()
            self._finish(item, partial.path, 0)

    def _bring_again(self, item: SelectedObject, partial: _PartialFile) -> None:
        """Another attempt at a large object whose bytes did not fit its seal, this time from its beginning to its end."""
        for _ in range(ATTEMPTS - 1):
            check = partial.new_check()
            for start in range(0, item.size_bytes, PART_BYTES):
                with self._parts:
                    if self._stopped:
                        return
                    check.written(start, *self._get_part(item, partial, start))
            if check.fits():
                return
        raise Corrupt(self._bucket, item.key)

    def _get_part(
        self, item: SelectedObject, partial: _PartialFile, start: int, *, whole: bool = False
    ) -> tuple[int, Sequence[int]]:
        length = min(PART_BYTES, item.size_bytes - start)
        crcs = self._storage.get_into(
            self._bucket, item.key, partial.fd, etag=item.etag, start=start, length=length, whole=whole
        )
        return length, crcs

    def _ought_to_fit(self, item: SelectedObject) -> bool:
        """Whether what the store tells of an object is sure to hold."""
        return self._storage.seal(self._bucket, item.key, item.etag, sure=True) is not None

    def _finish(self, item: SelectedObject, path: str, size_bytes: int) -> None:
        with self._lock:
            if self._stopped:
                return
            os.rename(path, f"{self._directory}/{item.relative_path}")  # noqa: PTH104
            self._objects_done += 1
            self._bytes_done += size_bytes

    def _make_directory(self, relative: str) -> None:
        if relative in self._made:
            return
        self._make_directory(relative.rpartition("/")[0])
        path = Path(self._directory, relative)
        path.mkdir(exist_ok=True)
        path.chmod(_DIRECTORY_MODE)  # whatever the umask
        self._made.add(relative)


def _create(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    os.fchmod(fd, _FILE_MODE)
    return fd


def _write(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _clear(directory: Path, scratch: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)  # noqa: PTH108
    directory.chmod(_DIRECTORY_MODE)
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir(mode=0o700)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise InsufficientDisk(str(error)) from error
        raise
