"""Keeps the objects below a prefix as a directory in which a program is writing: how checkpoints get to S3.

Called by the instance's `sync_checkpoints`, in turns, each of which looks at the directory once, and does what `plan`
says. There is no watching in between: a look costs some 10 microseconds a file, and the caller decides how often it can be
afforded. inotify would miss nothing that a look finds, wants a watch for every directory, of which a user has a few
thousand in all, and says nothing of what happened while nobody listened.

The directory is read outside the program's sandbox: see `tree` for how links are treated. Which objects are ours is kept
in a file, before they are made, so that whoever is killed at any point leaves no object that nobody would delete. If that
file is lost, the objects that still have a file count as ours; the others may be somebody else's.
"""

import errno
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from clary.base import faults, typed
from clary.base.files import write_atomically
from clary.storage.mirror_plan import Look, Mark, is_synced, look_at, plan
from clary.storage.port import ObjectStorage, StorageError
from clary.storage.tree import Member, walk
from clary.storage.upload import FileChanged, abandon_leftovers, is_text, upload_as_found
from clary.storage.uri import S3Location

_AT_ONCE = 4

T = TypeVar("T")

faults.declare("mirror.noted", "mirror.uploaded", "mirror.deleted")


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn did. `look_s` is the processor time that its look took, in seconds.

    `whole`: nothing was left out because a file changed under its hands.
    """

    uploaded: int
    deleted: int
    whole: bool
    look_s: float


class Mirror:
    """Makes the objects below `location`, whose key ends in a slash or is "", the files of `root`. For one thread at a time.

    `record` is the file that tells which objects are ours. `seen_as` is the path at which the program sees the root;
    `on_skip(path, reason)` is told at each look what is no file and no link to one inside the root.
    """

    def __init__(
        self,
        storage: ObjectStorage,
        location: S3Location,
        root: Path,
        record: Path,
        *,
        seen_as: str,
        on_skip: Callable[[str, str], None] = lambda _path, _reason: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._storage = storage
        self._location = location
        self._root = root
        self._record = record
        self._seen_as = seen_as
        self._on_skip = on_skip
        self._cancelled = cancelled
        self._known: dict[str, Mark | None] | None = None
        self._before = Look(marks=frozenset(), gone=frozenset())

    def turn(self, *, settled: bool) -> Turn:
        """Look once, and upload and delete what is due; everything if `settled`, which says that nobody writes any more.

        Raises `StorageError`, `OSError` and `Cancelled`; the next turn goes on with what is left. Files and directories that
        cannot be read keep nobody else from being uploaded, but nothing is deleted as long as there are some.
        """
        began_s = time.thread_time()
        trouble: list[Exception] = []
        hidden: list[str] = []
        files = self._look(trouble, hidden)
        members = {member.path: member for member in files if is_synced(member.path)}
        found = {path: _mark(member) for path, member in members.items()}
        known = self._known = self._remember(found) if self._known is None else self._known
        unsynced = (_mark(member) for member in files if not is_synced(member.path))
        look = look_at(found, known, unsynced=unsynced, hidden=hidden)
        todo = plan(found, known, look, None if settled else self._before)
        self._before = look
        look_s = time.thread_time() - began_s
        changed = 0
        if todo.in_the_way or todo.uploads or todo.deletions:
            known |= dict.fromkeys(todo.uploads)
            write_record(self._record, known)
            faults.point("mirror.noted")
            try:
                self._delete(todo.in_the_way, known)
                changed = self._upload([members[path] for path in todo.uploads], known, trouble)
                faults.point("mirror.uploaded")
                if not trouble:
                    self._delete(todo.deletions, known)
                faults.point("mirror.deleted")
            finally:
                write_record(self._record, known)
        if trouble:
            raise trouble[0]
        deleted = len(todo.in_the_way) + len(todo.deletions)
        return Turn(uploaded=len(todo.uploads) - changed, deleted=deleted, whole=not changed, look_s=look_s)

    def _look(self, trouble: list[Exception], hidden: list[str]) -> list[Member]:
        """The files whose names a key can have."""

        def on_lost(path: str, error: OSError) -> None:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:  # as when another has taken its place
                hidden.append(path)
                trouble.append(OSError(error.errno, error.strerror, path))

        files = []
        for member in walk([self._root], seen_as=self._seen_as, on_skip=self._on_skip, on_lost=on_lost):
            if member.is_directory:
                continue
            if is_text(member.path):
                files.append(member)
            elif is_synced(member.path):
                name = os.fsencode(member.path)
                trouble.append(StorageError(f"the file name {name!r} is not UTF-8, as the key of an object must be"))
        return files

    def _remember(self, found: Mapping[str, Mark]) -> dict[str, Mark | None]:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            known = typed.from_json(self._record.read_bytes(), dict[str, Mark | None])
            unfinished = {self._location.key + path for path, mark in known.items() if mark is None}
            if unfinished:  # whoever noted them was killed, and their files may never be uploaded again
                abandon_leftovers(self._storage, self._location.bucket, unfinished)
            return known
        paths = (
            info.key.removeprefix(self._location.key)
            for info in self._storage.list_objects(self._location.bucket, self._location.key)
        )
        return {path: None for path in paths if path in found}

    def _upload(self, members: Sequence[Member], known: dict[str, Mark | None], trouble: list[Exception]) -> int:
        """Upload them; how many were not there any more as they had been found. Raises `StorageError`, `Cancelled`."""
        changed = 0
        with closing(_each(self._upload_one, members)) as each:
            for member, error in each:
                match error:
                    case None:
                        known[member.path] = _mark(member)
                    case FileChanged() | OSError(errno=errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.EINVAL):
                        changed += 1
                    case OSError():
                        trouble.append(OSError(error.errno, error.strerror, member.path))
                    case _:
                        raise error
        return changed

    def _upload_one(self, member: Member) -> None:
        key = self._location.key + member.path
        upload_as_found(self._storage, self._location.bucket, key, member, cancelled=self._cancelled)

    def _delete(self, paths: Sequence[str], known: dict[str, Mark | None]) -> None:
        with closing(_each(self._delete_one, paths)) as each:
            for path, error in each:
                if error is not None:
                    raise error
                del known[path]

    def _delete_one(self, path: str) -> None:
        self._storage.delete(self._location.bucket, self._location.key + path)


def write_record(record: Path, known: Mapping[str, Mark | None]) -> None:
    """Note which objects are ours, by path below the location. Raises OSError."""
    write_atomically(record, msgspec.json.encode(known))


def note_restored(record: Path, root: Path, paths: Iterable[str]) -> None:
    """Note that the files of `root` were just made from the objects of the same paths. Raises OSError."""
    write_record(record, {path: mark_of((root / path).lstat()) for path in paths})


def mark_of(status: os.stat_result) -> Mark:
    """The mark of a file."""
    return Mark(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


def _mark(member: Member) -> Mark:
    return Mark(size_bytes=member.size_bytes, mtime_ns=member.mtime_ns, inode=member.inode)


def _each(work: Callable[[T], None], items: Iterable[T]) -> Generator[tuple[T, BaseException | None], None, None]:
    """Do the work for each item, some at once; each with its error as it ends. Stopped early, it leaves none under way."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mirror")
    under_way = {pool.submit(work, item): item for item in items}
    try:
        for future in as_completed(under_way):
            yield under_way[future], future.exception()
    finally:
        # An upload that ended only after the next one of the same file would have the last word.
        pool.shutdown(wait=True, cancel_futures=True)
