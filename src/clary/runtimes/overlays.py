"""Directories of the input cache, lent to a program: mounted so that it can write, and what it writes lies elsewhere.

An `Overlays`, by its functions; `instance/__main__` chooses it, `app` releases what an instance had. Needs root, and a file system
below the program's own part that the kernel's overlays can write to: whether that is so is seen when one is mounted.

A mount is one call of the kernel, so that no crash leaves half of one. It is gone after a reboot.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from clary.base import faults
from clary.runtimes.volumes import mounted_below

_FLAGS = 0x2 | 0x4 | 0x400  # MS_NOSUID, MS_NODEV, MS_NOATIME: as volumes are mounted
_DETACH = 0x2 | 0x8  # MNT_DETACH, UMOUNT_NOFOLLOW

# A directory can be renamed, as in any other place (redirect_dir); what is written lies wholly above (metacopy); the same
# lower directory serves many (index).
_OPTIONS = "lowerdir=/proc/self/fd/{},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},redirect_dir=on,metacopy=off,index=off"

faults.declare("overlays.mounted")


def attach(lower: Path, own: Path) -> Path:
    """See `Overlays`."""
    if os.geteuid() != 0:
        raise PermissionError("only root can mount overlays")
    detach_below(own)
    if own.exists():
        shutil.rmtree(own)
    own.mkdir(mode=0o700, parents=True)
    for name in ("work", "upper", "at"):
        (own / name).mkdir()
        (own / name).chmod(0o755)
    _mount(lower, own)
    faults.point("overlays.mounted")
    return own / "at"


def attach_again(lower: Path, own: Path) -> None:
    """See `Overlays`."""
    if not os.path.ismount(own / "at"):
        _mount(lower, own)


def detach_below(directory: Path) -> None:
    """Unmount all that is mounted at a directory or below it, to be deleted; what is in use is gone from its place all the
    same. Raises `OSError`.
    """
    for mount_point in mounted_below(directory):
        _unmount(mount_point)
    while os.path.ismount(directory):
        _unmount(directory)


def _unmount(mount_point: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mount_point), _DETACH) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot be unmounted: {os.strerror(code)}", str(mount_point))


def _mount(lower: Path, own: Path) -> None:
    mount_point = own / "at"
    libc = ctypes.CDLL(None, use_errno=True)
    with _opened(lower, own / "upper", own / "work") as fds:
        # By descriptors: the kernel reads commas, colons and backslashes of a path as its own.
        options = _OPTIONS.format(*fds).encode()
        if libc.mount(b"overlay", os.fsencode(mount_point), b"overlay", ctypes.c_ulong(_FLAGS), options) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"no overlay can be mounted: {os.strerror(code)}", str(mount_point))


@contextlib.contextmanager
def _opened(*directories: Path) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        fds = []
        for directory in directories:
            fds.append(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        yield fds
