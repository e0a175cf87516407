"""A tree of the input cache as a private copy: clones where the file system makes them, which cost no space and no time, else bytes.

Called by `instance.cached_channels` where no overlay can be mounted. Source: ioctl_ficlonerange(2).
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clary.storage.cache_names import directories_of
from clary.storage.selection import SelectedObject, Selection
from clary.storage.transfer import Cancelled, InsufficientDisk

_FICLONE = 0x40049409
_PIECE_BYTES = 64 << 20
_BATCH = 256


def copy_tree(
    tree: Path,
    selection: Selection,
    directory: Path,
    *,
    concurrency: int = 4,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Make `directory` hold what `tree` holds, the selection, as `transfer.download` does: it may be run again after a crash.

    Raises `InsufficientDisk`, `Cancelled` within a second or so, or another `OSError`.
    """
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    free = os.statvfs(directory)
    if selection.size_bytes > free.f_bavail * free.f_frsize:
        raise InsufficientDisk(f"{selection.size_bytes} bytes do not fit into {free.f_bavail * free.f_frsize}")
    for path in directories_of(selection)[1:]:
        (directory / path).mkdir()
        (directory / path).chmod(0o755)  # whatever the umask

    def copy(items: tuple[SelectedObject, ...]) -> None:
        for item in items:
            _copy(f"{tree}/{item.relative_path}", f"{directory}/{item.relative_path}", item.size_bytes, cancelled)

    objects = selection.objects
    batches = [objects[start : start + _BATCH] for start in range(0, len(objects), _BATCH)]
    with ThreadPoolExecutor(concurrency, thread_name_prefix="copy") as pool:
        under_way = [pool.submit(copy, batch) for batch in batches]
        try:
            for future in under_way:
                future.result()
        except OSError as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InsufficientDisk(str(error)) from error
            raise
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy(source: str, target: str, size_bytes: int, cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled
    from_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        to_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(to_fd, 0o644)
            try:
                fcntl.ioctl(to_fd, _FICLONE, from_fd)
            except OSError:
                _copy_bytes(from_fd, to_fd, size_bytes, cancelled)
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)


def _copy_bytes(from_fd: int, to_fd: int, size_bytes: int, cancelled: Callable[[], bool]) -> None:
    done = 0
    while done < size_bytes:
        if cancelled():
            raise Cancelled
        moved = os.sendfile(to_fd, from_fd, done, min(_PIECE_BYTES, size_bytes - done))
        if moved == 0:
            raise OSError(errno.EIO, "a file of the input cache is shorter than it was")
        done += moved
