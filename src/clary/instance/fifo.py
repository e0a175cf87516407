"""The FIFOs of one Pipe mode channel, an epoch after the other, and a note of where the channel is that survives us.

Used by `pipes`. The directory belongs to the training program, which may put anything in the place of a FIFO: names are
looked up in a directory that was opened before, no link is followed, and what is opened is checked.

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
from collections.abc import Callable, Iterable
from pathlib import Path

from clary.base import faults

PIPE_BYTES = 1 << 20
"""What a FIFO holds: 3.2 times the byte rate of the kernel's own 64 KiB, and what an ordinary user may ask for."""

_IDLE, _AT_IT = 0, 1
_NOTE = struct.Struct("<QQ")

faults.declare("pipe.opened", "pipe.closed")


class Note:
    """Epoch and whether a reader may be reading it; in a file that is mapped, so that a note costs no call."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(fd, _NOTE.size)
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
    """The FIFOs `<channel>_<epoch>` in `directory`, made in `staging`, which is private and on the same file system."""

    def __init__(self, channel: str, directory: Path, staging: Path) -> None:
        self._channel = channel
        self._staging = staging
        self._directory = _open_directory(directory)

    def make(self, epoch: int) -> None:
        """Have the FIFO of an epoch. Whoever runs the program may open it."""
        name = self._name(epoch)
        if self._is_fifo(name):
            return
        new = self._staging / f"{name}.fifo"
        new.unlink(missing_ok=True)
        os.mkfifo(new, 0o600)
        new.chmod(0o666)  # here, where nobody can put a link in its place; the mode above passes through the umask
        os.rename(new, name, dst_dir_fd=self._directory)

    def open(self, epoch: int) -> int | None:
        """The FIFO for writing, if somebody has opened it for reading. Raises `OSError` if it is there no more."""
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._name(epoch), flags, dir_fd=self._directory)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, "no FIFO any more", self._name(epoch))
        os.set_blocking(fd, True)
        with contextlib.suppress(PermissionError):  # the user has used up his pipes: it is slower then
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
            found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
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
    of the data. A reader that closes early ends the epoch; that is normal.
    """
    fifos.make(epoch)
    note.write(epoch, at_it=False)
    while True:
        note.write(epoch, at_it=True)  # before: if we die right after, a reader may have seen a writer
        fd = fifos.open(epoch)
        if fd is not None:
            break
        note.write(epoch, at_it=False)
        if not wait():
            return False
    try:
        faults.point("pipe.opened")
        fifos.make(epoch + 1)
        for block in blocks():
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass
    except Exception as error:
        hold(error)
        raise
    finally:
        os.close(fd)
    faults.point("pipe.closed")
    fifos.remove(epoch)
    note.write(epoch + 1, at_it=False)
    return True


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
