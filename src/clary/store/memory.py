"""Jobs in a dictionary: the store of tests that are about something else, and the model that others are measured by.

Nothing lasts, everything is plain: what a list shows is the filter and the sort written down.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from clary.jobs.model import TrainingJob
from clary.jobs.search import LACKING, SearchQuery, ToRecord, matches, sort_key
from clary.store.port import (
    Cursor,
    ListQuery,
    NameTaken,
    NoSuchJob,
    Page,
    SearchCursor,
    SearchPage,
    SortBy,
    StaleVersion,
    Summary,
)

_SORTED_BY: dict[SortBy, Callable[[TrainingJob], str | int]] = {
    SortBy.NAME: lambda job: job.training_job_name,
    SortBy.CREATION_TIME: lambda job: job.creation_time,
    SortBy.STATUS: lambda job: job.training_job_status.value,
}


class MemoryStore:
    """See `port.Store`. Its pages are always full."""

    def __init__(self) -> None:
        self._jobs: dict[str, TrainingJob] = {}  # by the name in lower case

    async def create(self, job: TrainingJob) -> None:
        """See `port.Store`."""
        taken = self._jobs.setdefault(job.training_job_name.lower(), job)
        if taken is not job:
            raise NameTaken(taken.training_job_arn)

    async def get(self, training_job_name: str) -> TrainingJob:
        """See `port.Store`."""
        job = self._jobs.get(training_job_name.lower())
        if job is None or job.training_job_name != training_job_name:
            raise NoSuchJob(training_job_name)
        return job

    async def find(self, training_job_name: str) -> TrainingJob:
        """See `port.Store`."""
        job = self._jobs.get(training_job_name.lower())
        if job is None:
            raise NoSuchJob(training_job_name)
        return job

    async def commit(self, job: TrainingJob) -> TrainingJob:
        """See `port.Store`."""
        await self._check_unchanged(job)
        written = msgspec.structs.replace(job, version=job.version + 1)
        self._jobs[job.training_job_name.lower()] = written
        return written

    async def delete(self, job: TrainingJob) -> None:
        """See `port.Store`."""
        await self._check_unchanged(job)
        del self._jobs[job.training_job_name.lower()]

    async def list(self, query: ListQuery, *, limit: int, after: Cursor | None = None) -> Page:
        """See `port.Store`."""
        value = _SORTED_BY[query.sort_by]

        def key(job: TrainingJob) -> tuple[str | int, str]:
            return value(job), job.training_job_name

        found = sorted((job for job in self._jobs.values() if _fits(job, query)), key=key, reverse=query.descending)
        if after is not None:
            passed = (after.value, after.name)
            found = [job for job in found if (key(job) < passed if query.descending else key(job) > passed)]
        shown = found[:limit]
        cursor = None
        if len(found) > limit:
            cursor = Cursor(value=value(shown[-1]), name=shown[-1].training_job_name)
        return Page(summaries=tuple(_summary(job) for job in shown), cursor=cursor)

    async def search(
        self, query: SearchQuery, *, limit: int, record: ToRecord, after: SearchCursor | None = None
    ) -> SearchPage:
        """See `port.Store`."""
        records = {job.training_job_name: record(job) for job in self._jobs.values()}
        keys = {name: (*sort_key(query.sort_by, shown), name) for name, shown in records.items()}
        found = [key for name, key in keys.items() if matches(query.expression, records[name])]
        found.sort(reverse=query.descending)
        found.sort(key=lambda key: key[0] == LACKING)
        if after is not None:
            passed = (after.rank, after.value, after.tie)
            found = [key for key in found if _comes_later(key, passed, descending=query.descending)]
        shown = found[:limit]
        cursor = None
        if len(found) > limit:
            rank, value, tie = shown[-1]
            cursor = SearchCursor(rank=rank, value=value, tie=tie)
        return SearchPage(records=tuple(records[name] for _, _, name in shown), cursor=cursor)

    async def property_names(self, prefix: str, *, limit: int) -> tuple[str, ...]:
        """See `port.Store`."""
        names = {
            f"{family}.{name}"
            for job in self._jobs.values()
            for family, own in {
                "HyperParameters": list(job.request.hyper_parameters),
                "Metrics": [metric.metric_name for metric in job.final_metric_data_list],
                "Tags": [tag.key for tag in job.tags],
            }.items()
            for name in own
        }
        return tuple(sorted(name for name in names if name.startswith(prefix))[:limit])

    async def unreleased(self) -> tuple[str, ...]:
        """See `port.Store`."""
        waiting = [job for job in self._jobs.values() if not job.released]
        waiting.sort(key=lambda job: (job.creation_time, job.training_job_name))
        return tuple(job.training_job_name for job in waiting)

    async def close(self) -> None:
        """See `port.Store`; the jobs stay readable."""

    async def _check_unchanged(self, job: TrainingJob) -> None:
        kept = await self.get(job.training_job_name)
        if (kept.version, kept.creation_time) != (job.version, job.creation_time):
            raise StaleVersion(job.training_job_name)


def _comes_later(key: tuple[Any, ...], passed: tuple[Any, ...], *, descending: bool) -> bool:
    """Whether a key of a search lies behind another; what lacks the property lies behind all else."""
    lacks, lacked = bool(key[0] == LACKING), bool(passed[0] == LACKING)
    if lacks != lacked:
        return lacks
    return bool(key < passed if descending else key > passed)


def _fits(job: TrainingJob, query: ListQuery) -> bool:
    return (
        (query.status_equals is None or job.training_job_status is query.status_equals)
        and (query.name_contains is None or query.name_contains in job.training_job_name)
        and (query.creation_time_after is None or job.creation_time > query.creation_time_after)
        and (query.creation_time_before is None or job.creation_time < query.creation_time_before)
        and (query.last_modified_time_after is None or job.last_modified_time > query.last_modified_time_after)
        and (query.last_modified_time_before is None or job.last_modified_time < query.last_modified_time_before)
    )


def _summary(job: TrainingJob) -> Summary:
    return Summary(
        training_job_name=job.training_job_name,
        training_job_arn=job.training_job_arn,
        creation_time=job.creation_time,
        last_modified_time=job.last_modified_time,
        training_end_time=job.training_end_time,
        training_job_status=job.training_job_status,
        secondary_status=job.secondary_status.value,
    )
