"""Connections to a SQLite file: how they are opened, and what their errors mean.

Used by `sqlite`. A connection is used by one thread at a time, not always by the one that opened it.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from clary.base.files import sync_directory
from clary.store.errors import DatabaseUnavailable
from clary.store.migrations import NewerDatabase, migrate

WRITE_PATIENCE_S = 5.0
READ_PATIENCE_S = 0.2
"""How many seconds to wait for a lock. Readers of a write-ahead log wait for nobody in ordinary life, and one of them sits
on the event loop: it must rather fail than hold up everybody."""

CACHE_KIB = 16 * 1024
WAL_LIMIT_BYTES = 64 * 1024 * 1024


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes; makes the file (mode 0600) and brings it to the newest shape.

    A COMMIT of this connection returns when the data are on the disk.
    """
    with unavailable(path):
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_directory(path.parent)  # else a crash could leave acknowledged jobs in a file without a name
        connection = _connect(path, timeout_s=WRITE_PATIENCE_S)
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise DatabaseUnavailable(f"{path}: this file system cannot hold a write-ahead log (mode: {mode})")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    with unavailable(path):
        connection = _connect(path, timeout_s=READ_PATIENCE_S)
        connection.execute("PRAGMA query_only = ON")
        return connection


@contextlib.contextmanager
def unavailable(path: Path) -> Iterator[None]:
    """Inside, what SQLite or the file system raises becomes `DatabaseUnavailable`, with the path and what happened."""
    try:
        yield
    except (sqlite3.Error, OSError, NewerDatabase) as error:
        raise DatabaseUnavailable(f"{path}: {error}") from error


def _connect(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection
