"""How the input cache stays within its bound: what goes first, and how it goes.

Called by `cache` and `cache_fill`, under the lock. Trees go as a whole, the one first that was used longest ago, with those of
their objects that no other tree has. One that a job uses stays: its overlay reads it where it is.
"""

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from clary.storage.cache_names import object_space, tree_space
from clary.storage.cache_place import CachePlace


class HeldTree(msgspec.Struct, frozen=True, kw_only=True):
    """A tree that might go; `used_at_ns` is when it was last used, in nanoseconds since the epoch."""

    name: str
    used_at_ns: int
    in_use: bool


def eviction_order(trees: Iterable[HeldTree]) -> list[str]:
    """The names of the trees that may go, the first one first. Pure."""
    return [tree.name for tree in sorted(trees, key=lambda tree: (tree.used_at_ns, tree.name)) if not tree.in_use]


def held_trees(place: CachePlace) -> list[HeldTree]:
    """All trees. Users that are gone are forgotten."""
    found = []
    for name in place.names(place.trees):
        used_at_ns = 0
        with contextlib.suppress(FileNotFoundError):
            used_at_ns = (place.trees / name / "used").stat().st_mtime_ns
        found.append(HeldTree(name=name, used_at_ns=used_at_ns, in_use=_in_use(place.trees / name)))
    return found


def evict(place: CachePlace, space_bytes: int, *, kept: Collection[str] = ()) -> tuple[int, list[Path]]:
    """Take so much away, or all that may go; how much that was, in bytes, and what is left to be deleted without the lock.

    Objects named in `kept` stay. The book is kept.
    """
    freed, doomed = 0, []
    for name in eviction_order(held_trees(place)):
        if freed >= space_bytes:
            break
        more, gone = remove_tree(place, name, kept)
        freed += more
        doomed.append(gone)
    if freed < space_bytes:
        freed += _remove_lone_objects(place, space_bytes - freed, kept)
    place.book(-freed)
    return freed, doomed


def remove_tree(place: CachePlace, name: str, kept: Collection[str]) -> tuple[int, Path]:
    """Take a tree away with its objects; the space that was freed, and what is left to be deleted. The book is not kept."""
    index = place.index(name)
    gone = place.doom(place.trees / name)
    freed = tree_space(len(index.files), index.directories)
    for file in index.files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{gone}/lower/files/{file.path}")  # noqa: PTH108 - there are thousands
        if file.name not in kept:
            freed += _remove_if_lone(place.object_path(file.name))
    return freed, gone


def taken(place: CachePlace) -> int:
    """The space that objects and trees take, in bytes: counted, which takes seconds for a million."""
    total = 0
    for part in place.names(place.objects):
        for entry in os.scandir(place.objects / part):
            total += object_space(entry.stat(follow_symlinks=False).st_size)
    for name in place.names(place.trees):
        index = place.index(name)
        total += tree_space(len(index.files), index.directories)
    return total


def _remove_lone_objects(place: CachePlace, space_bytes: int, kept: Collection[str]) -> int:
    """Objects that no tree has: of downloads that did not come to an end. The oldest first."""
    lone = []
    for part in place.names(place.objects):
        for entry in os.scandir(place.objects / part):
            about = entry.stat(follow_symlinks=False)
            if about.st_nlink == 1 and entry.name not in kept:
                lone.append((about.st_atime_ns, entry.path))
    freed = 0
    for _, path in sorted(lone):
        if freed >= space_bytes:
            break
        freed += _remove_if_lone(path)
    return freed


def _remove_if_lone(path: str) -> int:
    """Remove an object that is in no tree and in no fill; the space that was freed, in bytes."""
    try:
        about = os.stat(path)  # noqa: PTH116
        if about.st_nlink > 1:
            return 0
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return 0
    return object_space(about.st_size)


def _in_use(tree: Path) -> bool:
    used = False
    with contextlib.suppress(FileNotFoundError):
        for record in sorted((tree / "users").iterdir()):
            if os.path.lexists(os.fsdecode(record.read_bytes())):
                used = True
            else:
                record.unlink(missing_ok=True)
    return used
