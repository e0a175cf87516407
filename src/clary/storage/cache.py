"""The input cache: objects that a File mode channel brought, kept on this machine for the next job that wants them.

Called by `instance.cached_channels`, and by whoever reads single objects (`open_object`). Keyed by endpoint, bucket, key and ETag; a
selection that was laid out once is kept as a tree, so that it costs the next job a listing and one request. Several processes
use one directory at the same time: each object comes once, within the bound, and nothing breaks when any of them is killed.

The cache is a favour: what goes wrong with it (a full disk, a broken directory) is logged, and the caller downloads as without.

Whoever asks has listed the objects with credentials of its own, and must also be allowed to read one of them, chosen at random.
"""

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from clary.base.telemetry import get_logger
from clary.storage.cache_durability import drop_doubtful, make_durable
from clary.storage.cache_eviction import evict
from clary.storage.cache_fill import Fill, on_their_way, runs, sweep
from clary.storage.cache_names import (
    IndexedFile,
    directories_of,
    indexed,
    object_name,
    object_space,
    tree_name,
    tree_space,
)
from clary.storage.cache_place import CachePlace, add_user, remove_user
from clary.storage.port import Changed, ObjectStorage
from clary.storage.selection import SelectedObject, Selection
from clary.storage.transfer import Cancelled, InsufficientDisk, Progress, download

_ATTEMPTS = 50  # others may die, or take away, while we wait
_LOOK_AGAIN_S = 0.02
_DURABLE_FROM_BYTES = 16 << 20

_log = get_logger("storage")


class _NoRoom(Exception):
    """What is wanted does not fit within the bound, beside what must stay."""


class InputCache:
    """The cache in the directory `root`, which is made; at most `limit_bytes` of disk, for objects of one endpoint.

    Thread-safe, and safe beside other processes.
    """

    def __init__(self, root: Path, *, limit_bytes: int, endpoint_url: str) -> None:
        self._place = CachePlace(root)
        self._limit_bytes = limit_bytes
        self._endpoint_url = endpoint_url
        self._ready = False

    def bring(
        self,
        storage: ObjectStorage,
        bucket: str,
        selection: Selection,
        *,
        user: Path,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Path | None:
        """A directory that holds exactly the selection, files with mode 0644 and directories with 0755, to be read and never
        written to, alone in its parent; None if the cache is of no help.

        It stays for as long as the path `user` is there, and may go afterwards. Objects that are missing are downloaded, or
        waited for if somebody is at it. Raises `StorageError`, and `Cancelled` within a second.
        """
        if not selection.objects:
            return None
        try:
            self._prepare()
            return self._bring(storage, bucket, selection, user, on_progress, cancelled)
        except (_NoRoom, InsufficientDisk, OSError, UnicodeEncodeError) as error:
            _log.warning("input cache not used", bucket=bucket, reason=f"{type(error).__name__}: {error}")
            return None

    def has(self, tree: Path) -> bool:
        """Whether a tree that `bring` gave is there, and to be trusted: after a reboot it may not be. Raises `OSError`."""
        self._prepare()
        return tree.is_dir()

    def release(self, tree: Path, user: Path) -> None:
        """The user has no need of a tree any more: it may go."""
        with contextlib.suppress(OSError):
            remove_user(tree.parent.parent, user)

    def open_object(self, bucket: str, key: str, etag: str) -> int | None:
        """A descriptor of an object that is here, to be read and closed by the caller; None if it is not. No request is made.

        Only for who has seen the ETag with credentials that may read the object. That it is read so is no use in the sense of
        the bound: what goes meanwhile can be read to its end.
        """
        try:
            self._prepare()
            path = self._place.object_path(object_name(self._endpoint_url, bucket, key, etag))
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, UnicodeEncodeError):
            return None

    def make_room(self, size_bytes: int) -> None:
        """Give way to something else on the cache's disk that needs so much, as far as it lacks it."""
        with contextlib.suppress(OSError):
            self._prepare()
            disk = os.statvfs(self._place.root)
            lacking = size_bytes - disk.f_bavail * disk.f_frsize
            if lacking > 0:
                self._evict(lacking, ())

    def _prepare(self) -> None:
        """Have the directory, with nothing doubtful in it. Raises `OSError`."""
        if self._ready:
            return
        self._place.prepare()
        if not self._place.is_of_this_boot():
            doomed: list[Path] = []
            with self._place.locked():
                if not self._place.is_of_this_boot():
                    doomed = drop_doubtful(self._place)
                    self._place.note_boot()
            self._place.delete(doomed)
        self._ready = True

    def _bring(
        self,
        storage: ObjectStorage,
        bucket: str,
        selection: Selection,
        user: Path,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> Path:
        name = tree_name(self._endpoint_url, bucket, selection)
        wanted: tuple[IndexedFile, ...] = ()
        directories: Sequence[str] = ()
        brought: set[str] = set()  # paths
        gave_way = False
        for _ in range(_ATTEMPTS):
            if cancelled():
                raise Cancelled
            tree = self._take(name, user)
            if tree is not None:
                self._see_that_it_may_be_read(storage, bucket, selection, brought)
                return tree
            wanted = wanted or indexed(self._endpoint_url, bucket, selection)
            directories = directories or directories_of(selection)
            fill, others = self._claim(wanted, len(directories))
            if fill is not None:
                try:
                    self._fill(fill, storage, bucket, selection, on_progress, cancelled)
                    brought |= {file.path for file in fill.claims.files}
                    if not others:
                        fill.lay_out(name, wanted, directories, user)
                except InsufficientDisk:
                    if gave_way or not self._evict(fill.claims.space_bytes, {file.name for file in wanted}):
                        raise
                    gave_way = True
                finally:
                    fill.end()
            for token in others:
                while runs(self._place, token):
                    if cancelled():
                        raise Cancelled
                    time.sleep(_LOOK_AGAIN_S)
        raise OSError(errno.EIO, "objects go as fast as they come")

    def _take(self, name: str, user: Path) -> Path | None:
        """The tree, if it is there; it stays from now on."""
        files = self._place.tree_files(name)
        if not files.is_dir():
            return None
        with self._place.locked():
            if not files.is_dir():
                return None
            add_user(self._place.trees / name, user)
            os.utime(self._place.trees / name / "used")
        return files

    def _claim(self, wanted: Sequence[IndexedFile], directories: int) -> tuple[Fill | None, list[str]]:
        """What is ours to do, None if that is nothing, and the fills to be waited for. Raises `_NoRoom`."""
        place = self._place
        doomed: list[Path] = []
        try:
            with place.locked():
                doomed += sweep(place)
                missing = [file for file in wanted if not os.path.exists(place.object_path(file.name))]  # noqa: PTH110
                theirs = on_their_way(place)
                names = {file.name for file in missing}
                others = [token for token, claimed in theirs.items() if not names.isdisjoint(claimed)]
                taken = set().union(*(theirs[token] for token in others))
                mine = [file for file in missing if file.name not in taken]
                if others and not mine:
                    return None, others
                needed = sum(object_space(file.size_bytes) for file in mine) + tree_space(len(wanted), directories)
                self._have_room(needed, wanted, doomed)
                return Fill(place, mine, needed), others
        finally:
            place.delete(doomed)

    def _have_room(self, needed: int, wanted: Sequence[IndexedFile], doomed: list[Path]) -> None:
        """Evict what is beyond the bound with so many bytes more. Under the lock."""
        ledger = self._place.ledger()
        over = needed + (ledger.space_bytes if ledger else 0) - self._limit_bytes
        if over <= 0:
            return
        if needed <= self._limit_bytes:
            freed, gone = evict(self._place, over, kept={file.name for file in wanted})
            doomed += gone
            over -= freed
        if over > 0:
            raise _NoRoom(f"{needed} bytes more do not fit within {self._limit_bytes}, beside what is in use")

    def _fill(
        self,
        fill: Fill,
        storage: ObjectStorage,
        bucket: str,
        selection: Selection,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Bring what the fill has claimed."""
        paths = {file.path for file in fill.claims.files}
        if not paths:
            return
        mine = Selection(objects=tuple(item for item in selection.objects if item.relative_path in paths))
        here_objects = len(selection.objects) - len(mine.objects)
        here_bytes = selection.size_bytes - mine.size_bytes

        def tell(progress: Progress) -> None:
            on_progress(
                Progress(
                    objects_done=here_objects + progress.objects_done,
                    objects_total=len(selection.objects),
                    bytes_done=here_bytes + progress.bytes_done,
                    bytes_total=selection.size_bytes,
                )
            )

        try:
            download(storage, bucket, mine, fill.files, scratch=fill.scratch, on_progress=tell, cancelled=cancelled)
        finally:
            fill.adopt()
        if mine.size_bytes >= _DURABLE_FROM_BYTES:
            threading.Thread(target=self._make_durable, daemon=True, name="input-cache").start()

    def _see_that_it_may_be_read(
        self, storage: ObjectStorage, bucket: str, selection: Selection, brought: Collection[str]
    ) -> None:
        """Raise what a download would of an object that was here, if we may not read it or it is another one by now."""
        here: Sequence[SelectedObject] = selection.objects
        if brought:
            here = [item for item in here if item.relative_path not in brought]
        if here:
            item = secrets.choice(here)
            if storage.head(bucket, item.key).etag != item.etag:
                raise Changed(f"PreconditionFailed (412): s3://{bucket}/{item.key} has changed", status=412)

    def _evict(self, space_bytes: int, kept: Collection[str]) -> int:
        """Take so much away, if it may go; how much that was, in bytes."""
        with self._place.locked():
            doomed = sweep(self._place)
            freed, gone = evict(self._place, space_bytes, kept=kept)
        self._place.delete([*doomed, *gone])
        return freed

    def _make_durable(self) -> None:
        try:
            make_durable(self._place)
        except OSError as error:
            _log.warning("input cache not brought to the disk", error=str(error))
