"""Directory trees that job code has filled, as a sorted list of members that are safe to read.

Called by `archive`, `upload` and `mirror`. Job code chose every name and every link in the trees, and they are read outside its
sandbox: a link to /etc/passwd, or to the operator's home, must not bring that file's content into an artifact. So no
path is ever resolved by the kernel as a whole: each part is opened below its parent's descriptor without following
links, and links are followed here, by hand, as long as they stay inside their tree. That the job's processes have ended
is assumed for consistency, not for safety; whoever looks while they run says what to do about what is gone by then.

Links to files and directories inside the tree become what they point to (inferred; SageMaker does not say). A directory
link is followed only where no other one has been on the way, so that links cannot multiply a tree without bound.
Sockets, FIFOs, devices and links that lead out, nowhere or in circles are left out, and told of.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

_LINKS_MAX = 40  # Linux: as many as the kernel follows
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory: `path` as it shall be called, `parts` where it really is below `root`, without any link.

    `mode` holds the permission bits, `mtime_ns` is in nanoseconds since the epoch, `size_bytes` is 0 for a directory.
    """

    path: str
    root: Path
    parts: tuple[str, ...]
    is_directory: bool
    mode: int
    mtime_ns: int
    size_bytes: int
    inode: int


class _LeadsOut(Exception):
    """The path is not a file or directory inside its root."""


def walk(
    roots: Sequence[Path],
    *,
    seen_as: str | None = None,
    on_skip: Callable[[str, str], None] = lambda _path, _reason: None,
    on_lost: Callable[[str, OSError], None] | None = None,
) -> list[Member]:
    """The members of all roots as one tree, sorted by the bytes of their paths, so a directory before what is in it.

    Of two members with one path the one of the later root wins, and with it all or nothing of what is below
    (inferred). A root that does not exist is empty. `seen_as` is the absolute path at which the job saw each root:
    absolute links below it are followed too. `on_skip(path, reason)` is told what was left out. `on_lost(path, error)` is
    told of a directory that cannot be looked into, and a file that is gone is left out; without it, both raise `OSError`.
    """
    merged: dict[str, Member] = {}
    for root in roots:
        for member in _walk_root(root, seen_as, on_skip, on_lost):
            known = merged.get(member.path)
            if known is not None and known.is_directory and not member.is_directory:
                below = f"{member.path}/"
                for path in [path for path in merged if path.startswith(below)]:
                    del merged[path]
            _drop_file_above(merged, member.path)
            merged[member.path] = member
    return sorted(merged.values(), key=lambda member: os.fsencode(member.path))


def is_empty(roots: Sequence[Path]) -> bool:
    """Whether the roots hold no file or directory at all (what would be left out does not count)."""
    return not any(True for root in roots for _ in _walk_root(root, None, lambda _path, _reason: None))


@contextmanager
def open_member(member: Member) -> Iterator[int]:
    """A descriptor of a regular file. Raises `OSError`, also if the file is not the kind of thing it was."""
    with _open_root(member.root) as root_fd:
        try:
            fd, _ = _descend(root_fd, member.parts, _no_links)
        except _LeadsOut as error:
            raise OSError(errno.EINVAL, str(error), member.path) from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no longer a regular file", member.path)
        yield fd
    finally:
        os.close(fd)


def _walk_root(
    root: Path,
    seen_as: str | None,
    on_skip: Callable[[str, str], None],
    on_lost: Callable[[str, OSError], None] | None = None,
) -> Iterator[Member]:
    try:
        root_fd = os.open(root, _DIRECTORY_FLAGS)
    except FileNotFoundError:
        return
    try:
        yield from _Walker(root, root_fd, seen_as, on_skip, on_lost).members()
    finally:
        os.close(root_fd)


class _Walker:
    def __init__(
        self,
        root: Path,
        root_fd: int,
        seen_as: str | None,
        on_skip: Callable[[str, str], None],
        on_lost: Callable[[str, OSError], None] | None,
    ) -> None:
        self._root = root
        self._root_fd = root_fd
        self._seen_as = PurePosixPath(seen_as).parts if seen_as is not None else None
        self._on_skip = on_skip
        self._on_lost = on_lost
        self._todo: list[tuple[str, tuple[str, ...], bool]] = []  # path, place, whether a link led there

    def members(self) -> Iterator[Member]:
        """Everything in the tree, each directory before what is in it. Depth is bounded by the disk alone."""
        self._todo.append(("", (), False))
        while self._todo:
            path, parts, linked = self._todo.pop()
            try:
                found = self._look_into(parts)
            except OSError as error:
                if self._on_lost is None:
                    raise
                self._on_lost(path, error)
                continue
            for name, status in found:
                called = f"{path}/{name}" if path else name
                if stat.S_ISLNK(status.st_mode):
                    yield from self._link(called, (*parts, name), linked=linked)
                elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                    yield self._member(called, (*parts, name), status, linked=linked)
                else:
                    self._on_skip(called, "neither file, directory nor link")

    def _look_into(self, parts: tuple[str, ...]) -> list[tuple[str, os.stat_result]]:
        found = []
        fd, _ = _descend(self._root_fd, parts, _no_links)
        try:
            with os.scandir(fd) as entries:
                names = [entry.name for entry in entries]
            for name in names:
                try:
                    found.append((name, os.stat(name, dir_fd=fd, follow_symlinks=False)))
                except FileNotFoundError:
                    if self._on_lost is None:
                        raise
        finally:
            os.close(fd)
        return found

    def _link(self, called: str, parts: tuple[str, ...], *, linked: bool) -> Iterator[Member]:
        try:
            fd, real = _descend(self._root_fd, parts, self._target)
        except (_LeadsOut, OSError) as error:
            self._on_skip(called, f"link that cannot be followed inside the directory: {error}")
            return
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        if stat.S_ISREG(status.st_mode):
            yield self._member(called, real, status, linked=linked)
        elif not stat.S_ISDIR(status.st_mode):
            self._on_skip(called, "link to neither file nor directory")
        elif linked:
            self._on_skip(called, "directory link below another directory link")
        elif parts[: len(real)] == real:
            self._on_skip(called, "link to a directory that it lies in")
        else:
            yield self._member(called, real, status, linked=True)

    def _target(self, text: str) -> tuple[bool, list[str]]:
        """Whether a link starts again at the root, and the parts to go on with."""
        target = PurePosixPath(text)
        if not target.is_absolute():
            return False, list(target.parts)
        if self._seen_as is None or target.parts[: len(self._seen_as)] != self._seen_as:
            raise _LeadsOut("it leads out")
        return True, list(target.parts[len(self._seen_as) :])

    def _member(self, path: str, parts: tuple[str, ...], status: os.stat_result, *, linked: bool) -> Member:
        """The member; a directory is looked into later."""
        is_directory = stat.S_ISDIR(status.st_mode)
        if is_directory:
            self._todo.append((path, parts, linked))
        return Member(
            path=path,
            root=self._root,
            parts=parts,
            is_directory=is_directory,
            mode=stat.S_IMODE(status.st_mode),
            mtime_ns=status.st_mtime_ns,
            size_bytes=0 if is_directory else status.st_size,
            inode=status.st_ino,
        )


def _no_links(_text: str) -> tuple[bool, list[str]]:
    raise OSError(errno.ELOOP, "a link where none was")


def _descend(
    root_fd: int, wanted: Sequence[str], target: Callable[[str], tuple[bool, list[str]]]
) -> tuple[int, tuple[str, ...]]:
    """Open what lies at `wanted` below the root; answers the descriptor and the same place without links.

    `target` reads a link. Raises `_LeadsOut`, or `OSError`.
    """
    todo = list(wanted[::-1])
    names: list[str] = []
    links = 0
    fd = os.dup(root_fd)
    try:
        while todo:
            name = todo.pop()
            if name == ".":
                continue
            if name == "..":
                if not names:
                    raise _LeadsOut("it leads out")
                # Again from the root: the directory may have been moved, and its ".." be anywhere by now.
                todo += names[:-1][::-1]
                names.clear()
                fd = _replace(fd, os.dup(root_fd))
                continue
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                from_root, parts = target(os.readlink(name, dir_fd=fd))
                if from_root:
                    names.clear()
                    fd = _replace(fd, os.dup(root_fd))
                todo += parts[::-1]
            elif stat.S_ISDIR(mode):
                fd = _replace(fd, os.open(name, _DIRECTORY_FLAGS, dir_fd=fd))
                names.append(name)
            elif todo:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
            elif stat.S_ISREG(mode):
                fd = _replace(fd, os.open(name, _FILE_FLAGS, dir_fd=fd))
                names.append(name)
            else:
                raise _LeadsOut("it is neither file nor directory")  # to open a device can have effects of its own
    except BaseException:
        os.close(fd)
        raise
    return fd, tuple(names)


def _replace(old_fd: int, new_fd: int) -> int:
    os.close(old_fd)
    return new_fd


@contextmanager
def _open_root(root: Path) -> Iterator[int]:
    fd = os.open(root, _DIRECTORY_FLAGS)
    try:
        yield fd
    finally:
        os.close(fd)


def _drop_file_above(merged: dict[str, Member], path: str) -> None:
    """A later root's directory replaces an earlier root's file of that name. Directories come before their members."""
    parent = path.rpartition("/")[0]
    known = merged.get(parent)
    if known is not None and not known.is_directory:
        del merged[parent]
