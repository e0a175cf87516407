"""The FIFOs of one Pipe mode channel, an epoch after the other, and a note of where the channel is that survives us.

Used by `pipes`. The directory belongs to the training program, which may put anything in the place of a FIFO: names are
looked up in a directory that was opened before, no link is followed, and nothing but a FIFO is opened for writing. What can
be replaced is replaced; for anything else see `Displaced`.

A reader takes a writer that dies for the end of the epoch. So the note says in which epoch a reader may have had a writer:
whoever finds it set knows that data were lost, and that the program must not go on. Source: input-data facts, Pipe mode.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from clary.base import faults

PIPE_BYTES = 1 << 20
"""What a FIFO holds: 3.2 times the byte rate of the kernel's own 64 KiB, and what an ordinary user may ask for."""

_IDLE, _AT_IT = 0, 1
_NOTE = struct.Struct("<QQ")

# What a program causes that removes, replaces or closes its directories.
_PROGRAMS_DOING = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EPERM,
        errno.EROFS,
    }
)

faults.declare("pipe.opened", "pipe.noted", "pipe.closed")


class Displaced(Exception):
    """The program has put something in the way of a FIFO that is not ours to remove, or has closed its directory."""


class Note:
    """Epoch and whether a reader may be reading it; in a file that is mapped, so that a note costs no call."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _NOTE.size)  # on a full disk a page of a hole would kill us
            self._map = mmap.mmap(fd, _NOTE.size)
        finally:
            os.close(fd)

    @property
    def epoch(self) -> int:
        """The present epoch, from 0."""
        return int(_NOTE.unpack_from(self._map)[0])

    @property
    def at_it(self) -> bool:
        """Whether a reader may have had a writer in this epoch."""
        return bool(_NOTE.unpack_from(self._map)[1] == _AT_IT)

    def write(self, epoch: int, *, at_it: bool) -> None:
        """Note it."""
        _NOTE.pack_into(self._map, 0, epoch, _AT_IT if at_it else _IDLE)

    def close(self) -> None:
        """Forget the mapping; the file stays."""
        self._map.close()


class Fifos:
    """The FIFOs `<channel>_<epoch>` in `directory`, made in `staging`, which is private and on the same file system.

    Every method raises `Displaced`, or another `OSError` for a fault of this machine.
    """

    def __init__(self, channel: str, directory: Path, staging: Path) -> None:
        self._channel = channel
        self._staging = staging
        with _displaced():
            self._directory = _open_directory(directory)

    def make(self, epoch: int) -> None:
        """Have the FIFO of an epoch, also where another file lies. Whoever runs the program may open it."""
        name = self._name(epoch)
        if self._is_fifo(name):
            return
        new = self._staging / f"{name}.fifo"
        new.unlink(missing_ok=True)
        os.mkfifo(new, 0o600)
        new.chmod(0o666)  # here, where nobody can put a link in its place; the mode above passes through the umask
        with _displaced():
            os.rename(new, name, dst_dir_fd=self._directory)

    def open(self, epoch: int) -> int | None:
        """The FIFO for writing, if somebody has opened it for reading; one that is gone is made again."""
        self.make(epoch)
        with _displaced():
            # Found first, then opened: a device that lies there must not even be touched.
            found = os.open(self._name(epoch), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                if not stat.S_ISFIFO(os.fstat(found).st_mode):
                    return None  # until the next look, which replaces it
                fd = os.open(f"/proc/self/fd/{found}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return None
                raise
            finally:
                os.close(found)
        os.set_blocking(fd, True)
        with contextlib.suppress(OSError):  # the user has used up his pipes: it is slower then
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return fd

    def remove(self, epoch: int) -> None:
        """Take the FIFO of an epoch away."""
        with contextlib.suppress(OSError):  # the program did so itself, or has put a directory there
            os.unlink(self._name(epoch), dir_fd=self._directory)

    def close(self) -> None:
        """Give the directory back."""
        os.close(self._directory)

    def _name(self, epoch: int) -> str:
        return f"{self._channel}_{epoch}"

    def _is_fifo(self, name: str) -> bool:
        try:
            with _displaced():
                found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except Displaced:
            return False
        return stat.S_ISFIFO(found.st_mode)


def feed_epoch(
    fifos: Fifos,
    note: Note,
    epoch: int,
    blocks: Callable[[], Iterable[bytes | memoryview]],
    wait: Callable[[], bool],
    hold: Callable[[Exception], None],
) -> bool:
    """Feed one epoch to its reader; false if `wait`, called between two looks for a reader, says that there is none to come.

    What `blocks` raises is given to `hold`, and comes out of here when that has returned: until then the reader sees no end
    of the data. A reader that closes early ends the epoch; that is normal. Raises `Displaced` before there is a reader.
    """
    note.write(epoch, at_it=False)
    while True:
        note.write(epoch, at_it=True)  # before: if we die right after, a reader may have seen a writer
        try:
            fd = fifos.open(epoch)
        except BaseException:
            note.write(epoch, at_it=False)
            raise
        if fd is not None:
            break
        note.write(epoch, at_it=False)
        if not wait():
            return False
    try:
        faults.point("pipe.opened")
        with contextlib.suppress(OSError, Displaced):  # it shows when that epoch is to begin
            fifos.make(epoch + 1)
        for block in blocks():
            if not _write(fd, block):
                break
        # All that the reader gets is in the FIFO: our end after this is as good as our closing it. It is taken away before,
        # or somebody could open it in between and wait for ever.
        note.write(epoch + 1, at_it=False)
        faults.point("pipe.noted")
        fifos.remove(epoch)
    except Exception as error:
        hold(error)
        raise
    finally:
        os.close(fd)
    faults.point("pipe.closed")
    return True


def _write(fd: int, block: bytes | memoryview) -> bool:
    """Write all of it; false if the reader has gone."""
    view = memoryview(block)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BrokenPipeError:
            return False
    return True


@contextlib.contextmanager
def _displaced() -> Iterator[None]:
    """Raises `Displaced` for what a program did."""
    try:
        yield
    except OSError as error:
        if error.errno in _PROGRAMS_DOING:
            raise Displaced(f"{error.strerror}: {error.filename}") from error
        raise


def _open_directory(path: Path) -> int:
    """A directory below ours, no part of whose last three names is a link: the program could have put one there."""
    fd = os.open(path.parents[2], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.parts[-3:]:
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd
