"""The shape of the database: it comes from nothing, comes once, and is never guessed at."""

import asyncio
import sqlite3
import stat

import pytest

from clary.store.errors import DatabaseUnavailable
from clary.store.migrations import NewerDatabase, migrate, migrations
from clary.store.sqlite import SqliteStore
from factories import make_job


def _shape(connection):
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


@pytest.fixture
def connection(tmp_path):
    connection = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    yield connection
    connection.close()


def test_migrations_are_numbered_without_a_gap():
    """0001, 0002, …: and there is at least one, so that they are part of the installed package."""
    numbers = list(migrations())
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_an_empty_file_becomes_a_database_of_the_newest_version(connection):
    """From nothing, in one go."""
    migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (max(migrations()),)
    assert {"training_job", "training_job_document"} <= {name for _, name, _ in _shape(connection)}


def test_migrating_twice_changes_nothing(connection):
    """The second time there is nothing to do."""
    migrate(connection)
    before = _shape(connection)
    migrate(connection)
    assert _shape(connection) == before


def test_only_what_is_missing_is_applied(connection):
    """A later migration finds the rows that are there."""
    first = {1: "CREATE TABLE t (a);\nINSERT INTO t VALUES (1);"}
    migrate(connection, first)
    migrate(connection, first | {2: "ALTER TABLE t ADD COLUMN b DEFAULT 'x';\n-- a comment at the end\n"})
    assert connection.execute("SELECT * FROM t").fetchall() == [(1, "x")]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_migration_that_fails_leaves_the_version_before_it(connection):
    """All of it or nothing, its number too."""
    known = {1: "CREATE TABLE t (a);", 2: "CREATE TABLE u (a);\nCREATE TABLE u (a);"}
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, known)
    assert [name for _, name, _ in _shape(connection)] == ["t"]
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert not connection.in_transaction


def test_a_database_of_a_newer_version_is_refused_untouched(connection):
    """An older server must not write what it does not understand."""
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerDatabase, match="version 99"):
        migrate(connection)
    assert _shape(connection) == []


def test_opening_a_newer_database_says_so(tmp_path):
    """With the path, and what to do."""
    path = tmp_path / "jobs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseUnavailable, match=r"jobs\.db: a newer Clary wrote this database"):
        asyncio.run(SqliteStore.open(path))


def test_every_file_of_the_database_is_for_its_owner_alone(tmp_path):
    """Mode 0600, whatever the umask: environments and hyperparameters hold secrets."""

    async def modes():
        store = await SqliteStore.open(tmp_path / "jobs.db")
        await store.create(make_job())
        found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        await store.close()
        return found

    assert asyncio.run(modes()) == dict.fromkeys(("jobs.db", "jobs.db-wal", "jobs.db-shm"), 0o600)
