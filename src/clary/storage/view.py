"""A `Selection` as a tree of names that is kept on disk: what a lazy view of objects must know before any byte is read.

Written when a FastFile channel is staged, read by whoever serves the view: `read_ahead` brings the bytes. It is an SQLite
file, so that a million objects cost a hundred megabytes of disk and next to no memory, and a server that is started
again shows the same tree with the same numbers. Files are numbered in the order of the selection, from 16 on, and then the
directories; 1 is the root.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clary.base.clock import Instant
from clary.base.files import sync_directory
from clary.storage.reading import ReadObject
from clary.storage.selection import Selection

ROOT = 1
_FIRST = 16

_TABLES = (
    "CREATE TABLE about (bucket TEXT NOT NULL, staged_at INTEGER NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    """CREATE TABLE node (number INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL, key BLOB,
    size INTEGER NOT NULL, etag TEXT NOT NULL)""",
)
_INDEXES = (
    "CREATE UNIQUE INDEX by_name ON node (parent, name)",
    "CREATE INDEX by_number ON node (parent, number)",
)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A file or, where `entry` is None, a directory. `number` is its own, and stays."""

    number: int
    entry: ReadObject | None = None


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A name in a directory."""

    name: str
    number: int
    is_directory: bool


def write_view(path: Path, bucket: str, selection: Selection, *, staged_at: Instant) -> None:
    """Make the file whole, or leave none. What was there is replaced. Raises OSError, sqlite3.Error."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    database = sqlite3.connect(new, isolation_level=None)
    try:
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "BEGIN", *_TABLES):
            database.execute(statement)
        directories = _Directories(_FIRST + len(selection.objects))
        database.executemany(
            "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    number,
                    directories.number(item.relative_path.rpartition("/")[0]),
                    os.fsencode(item.relative_path.rpartition("/")[2]),
                    _bytes(item.key),
                    item.size_bytes,
                    item.etag,
                )
                for number, item in enumerate(selection.objects, start=_FIRST)
            ),
        )
        for name in selection.directories:
            directories.number(name)
        database.executemany("INSERT INTO node VALUES (?, ?, ?, NULL, 0, '')", directories.rows())
        database.execute(
            "INSERT INTO about VALUES (?, ?, ?, ?)", (bucket, staged_at, len(selection.objects), selection.size_bytes)
        )
        for statement in (*_INDEXES, "COMMIT"):
            database.execute(statement)
    finally:
        database.close()
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.rename(path)
    sync_directory(path.parent)


class View:
    """The tree. Thread-safe. `staged_at`: when it was made; `files` and `bytes`: how many it has."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        [(self._bucket, self.staged_at, self.files, self.bytes)] = self._ask("SELECT * FROM about")

    def find(self, path: str) -> Node | None:
        """What is at a path below the root, "" for the root itself."""
        node = Node(number=ROOT)
        for part in path.split("/") if path else ():
            rows = self._ask(
                "SELECT number, key, size, etag FROM node WHERE parent = ? AND name = ?", node.number, os.fsencode(part)
            )
            if not rows:
                return None
            node = self._node(*rows[0])
        return node

    def children(self, directory: int, *, after: int = 0, limit: int = 1000) -> list[Child]:
        """What is in a directory, by number: so many behind the number `after`."""
        rows = self._ask(
            "SELECT name, number, key IS NULL FROM node WHERE parent = ? AND number > ? ORDER BY number LIMIT ?",
            directory,
            after,
            limit,
        )
        return [
            Child(name=os.fsdecode(name), number=number, is_directory=bool(is_directory))
            for name, number, is_directory in rows
        ]

    def following(self, number: int, limit: int) -> list[Node]:
        """The next files in the order of the selection."""
        rows = self._ask(
            "SELECT number, key, size, etag FROM node WHERE number > ? AND key IS NOT NULL ORDER BY number LIMIT ?",
            number,
            limit,
        )
        return [self._node(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _node(self, number: int, key: bytes | None, size: int, etag: str) -> Node:
        if key is None:
            return Node(number=number)
        text = key.decode("utf-8", "surrogateescape")
        return Node(number=number, entry=ReadObject(bucket=self._bucket, key=text, size_bytes=size, etag=etag))

    def _ask(self, question: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            return self._database.execute(question, values).fetchall()


class _Directories:
    """Numbers the directories as they are met, the outer ones first."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._known: dict[str, int] = {}
        self._parents: list[int] = []

    def number(self, path: str) -> int:
        """The number of a directory, which is made if it is new, with those above it."""
        if path == "":
            return ROOT
        if path not in self._known:
            parent = self.number(path.rpartition("/")[0])
            self._known[path] = self._first + len(self._parents)
            self._parents.append(parent)
        return self._known[path]

    def rows(self) -> Iterator[tuple[int, int, bytes]]:
        """Number, parent and name of each."""
        for (path, number), parent in zip(self._known.items(), self._parents, strict=True):
            yield number, parent, os.fsencode(path.rpartition("/")[2])


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
