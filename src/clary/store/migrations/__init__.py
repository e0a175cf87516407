"""The shape of the SQLite database, as numbered SQL files: 0001_…, 0002_…; a file that was released never changes.

`migrate` brings a database to the newest shape, one transaction for each file. `PRAGMA user_version` is the number of the
last file that was applied.
"""

import sqlite3
from collections.abc import Iterator
from importlib import resources


class NewerDatabase(Exception):
    """The database has a shape that this code does not know."""


def migrations() -> dict[int, str]:
    """The SQL of each migration by its number, in order."""
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql"))
    return {
        int(file.name.split("_")[0]): file.read_text(encoding="utf-8") for file in sorted(files, key=lambda f: f.name)
    }


def migrate(connection: sqlite3.Connection, known: dict[int, str] | None = None) -> None:
    """Apply what is missing of `known` (all migrations if None); a database that lacks nothing is only read.

    Raises `NewerDatabase` if the database is newer than `known`, and sqlite3.Error; a migration that fails leaves
    the database as it was before that migration.
    """
    known = migrations() if known is None else known
    newest = max(known)
    for number in [n for n in known if n > _version(connection, newest)]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked again inside: another process may have migrated while this one waited for the lock.
            if _version(connection, newest) < number:
                for statement in _statements(known[number]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection, newest: int) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise NewerDatabase(
            f"a newer Clary wrote this database (version {version}; this one knows {newest}): run that one, or a later one"
        )
    return version


def _statements(script: str) -> Iterator[str]:
    """The statements one by one: `executescript` would commit behind our back."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
