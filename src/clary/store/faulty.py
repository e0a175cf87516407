"""A store that fails on purpose, by rule, around one that works: for tests of what must survive a failing database."""

from collections.abc import Sequence
from dataclasses import dataclass

from clary.jobs.model import TrainingJob
from clary.jobs.search import SearchQuery, ToRecord
from clary.store.port import Cursor, ListQuery, Page, SearchCursor, SearchPage, Store


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Raise `error` in calls of the method `verb`, beginning with call number `on_call` (from 1), `times` times.

    With `training_job_name` only calls for that job count. With `after_effect` the inner store has done its work before
    the error is raised: the answer was lost on its way, as when a database dies right behind its commit.
    """

    verb: str
    error: Exception
    on_call: int = 1
    times: int = 1
    training_job_name: str | None = None
    after_effect: bool = False


class FaultyStore:
    """See `port.Store`; `calls` is every call made so far, as (verb, name of the job or "")."""

    def __init__(self, inner: Store, faults: Sequence[Fault] = ()) -> None:
        self._inner = inner
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)
        self.calls: list[tuple[str, str]] = []

    async def create(self, job: TrainingJob) -> None:
        """See `port.Store`."""
        late = self._call("create", job.training_job_name)
        await self._inner.create(job)
        _raise(late)

    async def get(self, training_job_name: str) -> TrainingJob:
        """See `port.Store`."""
        late = self._call("get", training_job_name)
        job = await self._inner.get(training_job_name)
        _raise(late)
        return job

    async def find(self, training_job_name: str) -> TrainingJob:
        """See `port.Store`."""
        late = self._call("find", training_job_name)
        job = await self._inner.find(training_job_name)
        _raise(late)
        return job

    async def commit(self, job: TrainingJob) -> TrainingJob:
        """See `port.Store`."""
        late = self._call("commit", job.training_job_name)
        written = await self._inner.commit(job)
        _raise(late)
        return written

    async def delete(self, job: TrainingJob) -> None:
        """See `port.Store`."""
        late = self._call("delete", job.training_job_name)
        await self._inner.delete(job)
        _raise(late)

    async def list(self, query: ListQuery, *, limit: int, after: Cursor | None = None) -> Page:
        """See `port.Store`."""
        late = self._call("list", "")
        page = await self._inner.list(query, limit=limit, after=after)
        _raise(late)
        return page

    async def search(
        self, query: SearchQuery, *, limit: int, record: ToRecord, after: SearchCursor | None = None
    ) -> SearchPage:
        """See `port.Store`."""
        late = self._call("search", "")
        page = await self._inner.search(query, limit=limit, record=record, after=after)
        _raise(late)
        return page

    async def property_names(self, prefix: str, *, limit: int) -> tuple[str, ...]:
        """See `port.Store`."""
        late = self._call("property_names", "")
        names = await self._inner.property_names(prefix, limit=limit)
        _raise(late)
        return names

    async def unreleased(self) -> tuple[str, ...]:
        """See `port.Store`."""
        late = self._call("unreleased", "")
        names = await self._inner.unreleased()
        _raise(late)
        return names

    async def close(self) -> None:
        """See `port.Store`."""
        late = self._call("close", "")
        await self._inner.close()
        _raise(late)

    def _call(self, verb: str, name: str) -> Exception | None:
        """Count the call; raise what fails before the effect, return what fails after it."""
        self.calls.append((verb, name))
        late: Exception | None = None
        for index, fault in enumerate(self._faults):
            if fault.verb == verb and fault.training_job_name in {None, name}:
                self._seen[index] += 1
                if fault.on_call <= self._seen[index] < fault.on_call + fault.times:
                    if not fault.after_effect:
                        raise fault.error
                    late = late or fault.error
        return late


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
