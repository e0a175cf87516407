"""Deleting what training programs leave behind: closed directories, deep nests, odd files.

Called by `local`. Works through a trash directory: what is to go is moved there by one rename, so that a crash leaves it
either whole in its place or in the trash, where the next call goes on. Never follows a symbolic link.
"""

import os
import stat
import uuid
from pathlib import Path


def move_to_trash(path: Path, trash: Path) -> None:
    """Take the directory away from its place; without effect if it is not there. Raises OSError."""
    trash.mkdir(mode=0o700, exist_ok=True)
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _open_up(path.name, parent)  # to move a directory elsewhere one must be allowed to write in it
            finally:
                os.close(parent)
        path.rename(trash / uuid.uuid4().hex)
    except FileNotFoundError:
        return


def empty_trash(trash: Path) -> None:
    """Delete everything in the trash. Raises OSError.

    Directories inside a directory are moved up before they are deleted: a nest ten thousand deep needs neither a long
    path nor a deep stack.
    """
    try:
        top = os.open(trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        while names := os.listdir(top):  # noqa: PTH208  of a descriptor, so that no link can take its place
            for name in names:
                _delete_flat(name, top)
    finally:
        os.close(top)


def _delete_flat(name: str, top: int) -> None:
    """Delete one thing directly in the trash; the directories in it become things of the trash themselves."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return
    _open_up(name, top)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for child, is_directory in found:
            if is_directory:
                _open_up(child, fd)  # to move a directory elsewhere one must be allowed to write in it
                os.rename(child, uuid.uuid4().hex, src_dir_fd=fd, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top)


def _open_up(name: str, parent: int) -> None:
    """Let the owner read, write and search a directory. O_PATH: it opens what may not be read, and no link."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            Path(f"/proc/self/fd/{fd}").chmod(0o700)
    finally:
        os.close(fd)
