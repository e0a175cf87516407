"""Where jobs are kept: the port that `service` and `controller` speak, whatever the database.

A store never changes a job by itself: it takes jobs that `clary.jobs.transitions` made, and writes one only if nobody
else wrote it in between. When `create` or `commit` returns, the write is durable. Any method may raise
`errors.DatabaseUnavailable`. Adapters: `sqlite`, `memory` (for tests), `faulty` (fails on purpose).
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from clary.base.clock import Instant
from clary.jobs.model import TrainingJob
from clary.jobs.search import Record, SearchQuery, ToRecord
from clary.jobs.status import TrainingJobStatus


class NameTaken(Exception):
    """A job with this name, letter case aside, exists already. Carries the ARN of that job."""

    def __init__(self, training_job_arn: str) -> None:
        super().__init__(training_job_arn)
        self.training_job_arn = training_job_arn


class NoSuchJob(Exception):
    """No job has this name."""


class StaleVersion(Exception):
    """Somebody else wrote the job since it was read, or deleted it and used its name: read it again, decide again."""


class SortBy(StrEnum):
    """What a list is sorted by (Source: API model, SortBy). Ties are broken by name."""

    NAME = "Name"
    CREATION_TIME = "CreationTime"
    STATUS = "Status"


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs, in which order. Time bounds are exclusive (inferred); `name_contains` minds letter case (inferred).

    Names and statuses are sorted as ASCII is: capitals before small letters (inferred).
    """

    sort_by: SortBy = SortBy.CREATION_TIME
    descending: bool = True
    status_equals: TrainingJobStatus | None = None
    name_contains: str | None = None
    creation_time_after: Instant | None = None
    creation_time_before: Instant | None = None
    last_modified_time_after: Instant | None = None
    last_modified_time_before: Instant | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a job."""

    training_job_name: str
    training_job_arn: str
    creation_time: Instant
    last_modified_time: Instant
    training_end_time: Instant | None
    training_job_status: TrainingJobStatus
    secondary_status: str


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The last job of a page: the value that the list is sorted by, and its name."""

    value: str | int
    name: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some jobs, and where to go on; `cursor` is None on the last page.

    A page with a cursor may be shorter than asked for, even empty, where a store would have to search long: go on.
    Source: SageMaker's "filter after page" (API reference, ListTrainingJobs), which clients must page through as well.
    """

    summaries: tuple[Summary, ...]
    cursor: Cursor | None


class SearchCursor(msgspec.Struct, frozen=True, kw_only=True):
    """A job's place in the order of a search: the rank of its sort key, its value, and what tells it from its equals.

    Without value: where the rank begins. What `tie` is, a store alone knows.
    """

    rank: int
    value: str | int | float | None
    tie: str | int | None


class SearchPage(msgspec.Struct, frozen=True, kw_only=True):
    """The records of some jobs, and where to go on, as `Page` has it: perhaps fewer than asked for, even none."""

    records: tuple[Record, ...]
    cursor: SearchCursor | None


class Store(Protocol):
    """Keeps training jobs. Safe to use from one event loop."""

    async def create(self, job: TrainingJob) -> None:
        """Keep a new job, at the version that it has. Raises `NameTaken`; then nothing was written."""
        ...

    async def get(self, training_job_name: str) -> TrainingJob:
        """The job of that name, spelt exactly. Raises `NoSuchJob`."""
        ...

    async def find(self, training_job_name: str) -> TrainingJob:
        """The job of that name, letter case aside, as an ARN has it. Raises `NoSuchJob`."""
        ...

    async def commit(self, job: TrainingJob) -> TrainingJob:
        """Replace the job if it is still at `job.version`; the answer carries the next version.

        Raises `StaleVersion` (nothing was written) and `NoSuchJob`. A job that was deleted stays so, also when its name
        was used again: a job is told from a later one of its name by its creation time.
        """
        ...

    async def delete(self, job: TrainingJob) -> None:
        """Forget the job if it is still at `job.version`; afterwards its name is free, in any letter case.

        Raises `StaleVersion` (nothing was deleted) and `NoSuchJob`.
        """
        ...

    async def list(self, query: ListQuery, *, limit: int, after: Cursor | None = None) -> Page:
        """At most `limit` jobs of the query, those after the cursor, which must come from the same query.

        Jobs created or deleted between two pages never repeat or hide another. A job whose status or time changes meanwhile may move
        across the cursor, if that is what the list is sorted or filtered by.
        """
        ...

    async def search(
        self, query: SearchQuery, *, limit: int, record: ToRecord, after: SearchCursor | None = None
    ) -> SearchPage:
        """At most `limit` jobs of the query, those after the cursor, which must come from the same query.

        A job is among them if `clary.jobs.search.matches` says so of its record, and in the order of `sort_key`; equals
        stand in an order that is the same on every page. Every job is found that was written before the call. What was
        said about lists and jobs that change between two pages holds here too. `record` is called from another thread.
        """
        ...

    async def property_names(self, prefix: str, *, limit: int) -> tuple[str, ...]:
        """Names of hyperparameters, metrics and tags of jobs, as searches have them, that begin with `prefix`; sorted."""
        ...

    async def unreleased(self) -> tuple[str, ...]:
        """The names of all jobs that the controller still has to look at, oldest first."""
        ...

    async def close(self) -> None:
        """Finish writing and let go of the database."""
        ...
