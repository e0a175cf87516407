"""Downloads into the input cache: who brings which object, so that each comes once, and what becomes of one that was cut short.

Called by `cache`. A fill claims objects before it brings them; it is alive for as long as its process holds its lock, which
the kernel gives back whatever ends the process. What a dead one had whole is kept.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from clary.base import faults, typed
from clary.base.files import is_locked
from clary.storage.cache_eviction import taken
from clary.storage.cache_names import IndexedFile, object_space, tree_space
from clary.storage.cache_place import CachePlace, TreeIndex, add_user

faults.declare("cache.claimed", "cache.adopted", "cache.laid_out", "cache.filled")


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a fill brings, and the space that was promised to it, in bytes."""

    files: tuple[IndexedFile, ...]
    space_bytes: int


class Fill:
    """A fill of this process, under way. `files` is where its objects go, by their paths."""

    def __init__(self, place: CachePlace, claimed: Sequence[IndexedFile], space_bytes: int) -> None:
        """Claim. Under the lock."""
        self._place = place
        self._root = place.fills / uuid.uuid4().hex
        self.files = self._root / "files"
        self.scratch = self._root / "scratch"
        self.claims = _Claims(files=tuple(claimed), space_bytes=space_bytes)
        self._come: list[IndexedFile] = []
        self._root.mkdir(mode=0o700)
        self.files.mkdir()
        self.files.chmod(0o755)
        self._lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (self._root / "claims").write_bytes(msgspec.msgpack.encode(self.claims))
            place.book(space_bytes)
        except BaseException:
            os.close(self._lock)
            raise
        faults.point("cache.claimed")

    def adopt(self) -> None:
        """Make objects of the files that have come. Each of them is whole: it was renamed into its place."""
        for file in self.claims.files:
            with contextlib.suppress(FileNotFoundError):
                self._place.add_object(f"{self.files}/{file.path}", file)
                self._come.append(file)
        faults.point("cache.adopted")

    def lay_out(self, name: str, wanted: Sequence[IndexedFile], directories: Sequence[str], user: Path) -> bool:
        """Make a tree of the files that came and of the objects that were there, which its user has; False if one of these has
        gone meanwhile. `directories` are all that it has.
        """
        for path in directories:
            directory = self.files / path
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)  # whatever the umask
        came = {file.path for file in self.claims.files}
        for file in wanted:
            if file.path not in came:
                try:
                    os.link(self._place.object_path(file.name), f"{self.files}/{file.path}")
                except FileNotFoundError:
                    return False
        tree = self._root / "tree"
        tree.mkdir(mode=0o700)
        (tree / "users").mkdir()
        (tree / "lower").mkdir()
        add_user(tree, user)
        index = TreeIndex(files=tuple(wanted), directories=len(directories))
        (tree / "index").write_bytes(msgspec.msgpack.encode(index))
        (tree / "used").touch()
        self.files.rename(tree / "lower" / "files")
        faults.point("cache.laid_out")
        with self._place.locked():
            try:
                tree.rename(self._place.trees / name)
                self._place.book(tree_space(len(wanted), len(directories)))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else somebody was faster
                    raise
        faults.point("cache.filled")
        return True

    def end(self) -> None:
        """Give up what was claimed, and what was promised beyond what came."""
        try:
            with self._place.locked():
                _settle(self._place, self._root, self.claims, self._come)
                gone = self._place.doom(self._root)
        finally:
            os.close(self._lock)
        self._place.delete([gone])


def on_their_way(place: CachePlace) -> dict[str, set[str]]:
    """The objects that others bring, by the tokens of their fills. Under the lock."""
    return {
        token: {file.name for file in _claims(place.fills / token).files}
        for token in place.names(place.fills)
        if runs(place, token)
    }


def runs(place: CachePlace, token: str) -> bool:
    """Whether a fill is still at work."""
    return is_locked(place.fills / token / "lock")


def sweep(place: CachePlace) -> list[Path]:
    """Keep what dead fills had whole, and put the book right. Under the lock; answers what is left to be deleted without."""
    doomed = [place.doomed / name for name in place.names(place.doomed)]
    dead = [token for token in place.names(place.fills) if not runs(place, token)]
    for token in dead:
        root = place.fills / token
        claims = _claims(root)
        for file in claims.files:
            path = f"{root}/files/{file.path}"
            with contextlib.suppress(OSError):
                if os.path.getsize(path) == file.size_bytes:  # noqa: PTH202 - there are thousands
                    place.add_object(path, file)
        _settle(place, root, claims, _here(place, claims))
        doomed.append(place.doom(root))
    if dead or place.ledger() is None:
        # A fill may have died, or an eviction, between what it did and the book.
        claims_alive = [_claims(place.fills / token) for token in place.names(place.fills)]
        promised = sum(claims.space_bytes - _space(_here(place, claims)) for claims in claims_alive)
        place.write_ledger(taken(place) + promised)
    return doomed


def _space(files: Iterable[IndexedFile]) -> int:
    return sum(object_space(file.size_bytes) for file in files)


def _here(place: CachePlace, claims: _Claims) -> list[IndexedFile]:
    """Those objects of a fill that are there."""
    return [file for file in claims.files if os.path.exists(place.object_path(file.name))]  # noqa: PTH110


def _settle(place: CachePlace, root: Path, claims: _Claims, here: Sequence[IndexedFile]) -> None:
    """Exchange the promise for what is here of it; objects that came without a tree are kept as one without files."""
    place.book(_space(here) - claims.space_bytes)
    if not here or not (root / "files").exists():  # the tree has them
        return
    rest = root / "rest"
    shutil.rmtree(rest, ignore_errors=True)
    rest.mkdir(mode=0o700)
    (rest / "index").write_bytes(msgspec.msgpack.encode(TreeIndex(files=tuple(here), directories=0)))
    (rest / "used").touch()
    rest.rename(place.trees / f"rest-{root.name}")
    place.book(tree_space(len(here), 0))


def _claims(root: Path) -> _Claims:
    try:
        return typed.from_msgpack((root / "claims").read_bytes(), _Claims)
    except (OSError, msgspec.DecodeError):  # killed before it was written: nothing was promised
        return _Claims(files=(), space_bytes=0)
