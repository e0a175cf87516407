"""What is to be uploaded and deleted so that objects equal a directory in which a program is still writing. Pure.

Called by `mirror`, once for each look at the directory. A file that may still be written to is left alone: it is settled
once two looks, a second or more apart, have found the same size, time and inode. It may have been renamed in between, also
from a name that is not synchronised, so that a program which writes to one name and renames to another keeps nobody
waiting. A file counts as deleted once two looks have missed it.

So a file that is written to all the time, such as a log, is uploaded when the program has ended, and not before; and one
that lives for less than two looks may never be.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

UNSYNCED = (".sagemaker-ignore", ".sagemaker-uploading", ".sagemaker-uploaded")
"""Endings of names that are no checkpoints: a program's half-written files, and SageMaker's notes on uploads.

Source: the public XGBoost container. That the notes are not brought back is inferred.
"""


class Mark(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What tells one content of a file from another without reading it; `mtime_ns` in nanoseconds since the epoch.

    The inode finds a file that another one of the same size and time was renamed over. The time of the last change of
    inode would find more, but also changes when the owner does.
    """

    size_bytes: int
    mtime_ns: int
    inode: int


Known = Mapping[str, Mark | None]
"""The objects that are ours, by path: the file that each was made from. None: it may be there, with any content."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the next look must know of this one: all files that were there, and the known ones that were not."""

    marks: frozenset[Mark]
    gone: frozenset[str]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Paths, to be dealt with in the order of these three.

    `in_the_way`: objects to delete where a file has become a directory or the other way round: both together could never be
    restored. `deletions` come last, so that a program which replaces one checkpoint by the next has one at any time.
    """

    in_the_way: tuple[str, ...]
    uploads: tuple[str, ...]
    deletions: tuple[str, ...]


def is_synced(path: str) -> bool:
    """Whether a file of that name has an object."""
    return not path.endswith(UNSYNCED)


def look_at(
    found: Mapping[str, Mark], known: Known, *, unsynced: Iterable[Mark] = (), hidden: Collection[str] = ()
) -> Look:
    """The look that found these files, and `unsynced` others. `hidden` are directories that could not be looked into:
    nothing there is gone.
    """
    gone = (path for path in known if path not in found and not any(above in hidden for above in _above(path)))
    return Look(marks=frozenset((*found.values(), *unsynced)), gone=frozenset(gone))


def plan(found: Mapping[str, Mark], known: Known, look: Look, before: Look | None) -> Plan:
    """What to do after `look`, which found `found`. Without the look `before`, everything is settled: nobody writes."""
    changed = {path: mark for path, mark in found.items() if known.get(path) != mark}
    uploads = [path for path, mark in changed.items() if before is None or mark in before.marks]
    conflicting = _conflicts(look.gone, uploads)
    settled = look.gone if before is None else look.gone & before.gone
    return Plan(
        in_the_way=tuple(sorted(conflicting)),
        uploads=tuple(uploads),
        deletions=tuple(sorted(settled - conflicting)),
    )


def _conflicts(gone: frozenset[str], uploads: Iterable[str]) -> frozenset[str]:
    files = set(uploads)
    directories = {above for path in files for above in _above(path)}
    return frozenset(path for path in gone if path in directories or any(above in files for above in _above(path)))


def _above(path: str) -> Iterator[str]:
    """The directories that a path lies in, the root "" last."""
    while path:
        path = path.rpartition("/")[0]
        yield path
