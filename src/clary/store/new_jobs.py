"""Inserts new jobs, as many at once as wait: a statement for many rows costs little more than one for a single row.

Used by `sqlite` on the thread of `group_commit`. What counts there is less SQLite's work than how often the thread must
wait for the interpreter's lock, which it gives up in each statement and which the event loop then holds.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from clary.store.port import NameTaken
from clary.store.search_index import note

AT_ONCE = 16
"""Rows of one statement: each number of rows is a statement of its own, and a connection remembers 128 of them."""

# A conflict would undo the whole transaction, but none is left when these run; in exchange SQLite keeps no journal of the
# statement, which would cost as much again as the insertion.
_INSERT = """
    INSERT OR ROLLBACK INTO training_job (training_job_name, training_job_arn, creation_time, last_modified_time,
        training_end_time, secondary_status, version, status, released)
    VALUES """
_INSERT_DOCUMENT = "INSERT OR ROLLBACK INTO training_job_document (id, document) VALUES "
_TAKEN = """
    SELECT training_job_name, training_job_arn FROM training_job INDEXED BY training_job_by_any_case
    WHERE training_job_name COLLATE NOCASE IN """


class NewJob(NamedTuple):
    """A job's columns, and the whole of it as JSON."""

    training_job_name: str
    training_job_arn: str
    creation_time: int
    changing: tuple[str | int | None, ...]
    document: bytes


def insert_jobs(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[NameTaken | None]:
    """Insert the jobs whose names are free, letter case aside; says of each whether it was refused."""
    outcomes: list[NameTaken | None] = []
    for first in range(0, len(jobs), AT_ONCE):
        outcomes += _insert_some(connection, jobs[first : first + AT_ONCE])
    return outcomes


def _insert_some(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[NameTaken | None]:
    names = [job.training_job_name for job in jobs]
    found = connection.execute(f"{_TAKEN} {_places(len(names))}", names).fetchall()
    taken: dict[str, str] = {name.lower(): arn for name, arn in found}  # names are ASCII, as NOCASE has it
    outcomes: list[NameTaken | None] = []
    free: list[NewJob] = []
    for job in jobs:
        name = job.training_job_name.lower()
        outcomes.append(NameTaken(taken[name]) if name in taken else None)
        if name not in taken:
            taken[name] = job.training_job_arn
            free.append(job)
    if free:
        _insert(connection, free)
    return outcomes


def _insert(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> None:
    columns = [value for job in jobs for value in (*job[:3], *job.changing)]
    added = connection.execute(_INSERT + _rows(len(jobs), 9), columns)
    last = added.lastrowid or 0
    rows = range(last - len(jobs) + 1, last + 1)  # SQLite counts on by one while nobody else writes
    documents = [value for row, job in zip(rows, jobs, strict=True) for value in (row, job.document)]
    connection.execute(_INSERT_DOCUMENT + _rows(len(jobs), 2), documents)
    note(connection, *rows)


def _rows(count: int, columns: int) -> str:
    return ", ".join([_places(columns)] * count)


def _places(count: int) -> str:
    return f"({', '.join('?' * count)})"
