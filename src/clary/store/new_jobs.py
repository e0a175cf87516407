"""Inserts new jobs, as many at once as wait: a statement for many rows costs little more than one for a single row.

Used by `sqlite` on the thread of `group_commit`. What counts there is less SQLite's work than how often the thread gives up
the interpreter's lock, as it does in each statement: the event loop takes it, and the thread must wait until it rests.
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from clary.store.port import NameTaken

AT_ONCE = 32
"""Rows of one statement: each number of rows is a statement of its own, and a connection remembers 128 of them."""

# SQLite keeps no journal of a statement that undoes the whole transaction; that would cost as much again as the insertion.
_INSERT = """
    INSERT OR ROLLBACK INTO training_job (training_job_name, training_job_arn, creation_time, last_modified_time,
        training_end_time, secondary_status, version, status, released)
    VALUES """
_INSERT_DOCUMENT = "INSERT OR ROLLBACK INTO training_job_document (id, document) VALUES "
_TAKEN = "SELECT training_job_arn FROM training_job WHERE training_job_name = ? COLLATE NOCASE"


class NewJob(NamedTuple):
    """A job's columns, and the whole of it as JSON."""

    training_job_name: str
    training_job_arn: str
    creation_time: int
    changing: tuple[str | int | None, ...]
    document: bytes


def insert_jobs(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> None:
    """Insert all of them. Raises sqlite3.IntegrityError if a name is taken; then the whole transaction is undone."""
    for first in range(0, len(jobs), AT_ONCE):
        _insert(connection, jobs[first : first + AT_ONCE])


def insert_job(job: NewJob, connection: sqlite3.Connection) -> None:
    """Insert one. Raises `NameTaken`, and has changed nothing then."""
    taken = connection.execute(_TAKEN, (job.training_job_name,)).fetchone()
    if taken is not None:
        raise NameTaken(taken[0])
    _insert(connection, [job])


def _insert(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> None:
    columns = [value for job in jobs for value in (*job[:3], *job.changing)]
    last = connection.execute(_INSERT + _rows(len(jobs), 9), columns).lastrowid or 0
    first = last - len(jobs) + 1  # SQLite counts on by one
    documents = [value for row, job in enumerate(jobs, first) for value in (row, job.document)]
    connection.execute(_INSERT_DOCUMENT + _rows(len(jobs), 2), documents)


@cache
def _rows(count: int, columns: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * count)
