"""What is known of a training job beyond the members of DescribeTrainingJob: one operation, which is not on the wire.

The console asks it in-process, so that it needs no way of its own to the store and the instances. Every SageMaker client
sees the same, as far as SageMaker has words for it: how far downloads are stands in the StatusMessage, too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from clary.aws.handlers import Handler, RequestContext
from clary.compute.port import Observation, Unreachable
from clary.jobs.model import TrainingJob
from clary.jobs.status import SecondaryStatus
from clary.jobs.task import ChannelProgress, Phase, instance_name
from clary.service.members import recorded_members
from clary.service.named_resources import named_job
from clary.service.shapes import to_description
from clary.store.port import Store

Observe = Callable[[str], Awaitable[Observation]]
"""How an instance is, by its name; raises `Unreachable`."""

HOSTS_SEEN = 32
"""At so many hosts of a job that is Downloading it is looked, the first ones: each costs reading its files."""


class HostDownload(msgspec.Struct, frozen=True, kw_only=True):
    """How far a host is with the channel that it downloads."""

    host: str
    progress: ChannelProgress


class RecordedMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the request that is recorded and does not act, by its path, and why."""

    path: str
    why: str


class TrainingJobExecution(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job's request.

    `reference` is the image that the container engine runs, None where a local environment stands for it; `image_digest` as in `TrainingJob`.
    `downloads` are there while the job is Downloading, for hosts that have begun to.
    """

    reference: str | None
    image_digest: str | None
    downloads: tuple[HostDownload, ...]
    recorded: tuple[RecordedMember, ...]


class TrainingJobExecutions:
    """The operation."""

    def __init__(self, *, store: Store, observe: Observe) -> None:
        self._store = store
        self._observe = observe

    def handlers(self) -> dict[str, Handler]:
        """The operation by its name."""
        return {"DescribeTrainingJobExecution": self.describe}

    async def describe(self, _context: RequestContext, params: dict[str, Any]) -> TrainingJobExecution:
        """DescribeTrainingJobExecution, by TrainingJobName. Raises `ValidationException` if there is no such job."""
        job = await named_job(self._store, params["TrainingJobName"])
        return TrainingJobExecution(
            reference=job.program.reference,
            image_digest=job.image_digest,
            downloads=await self._downloads(job),
            recorded=tuple(
                RecordedMember(path=member.path, why=member.why) for member in recorded_members(to_description(job))
            ),
        )

    async def _downloads(self, job: TrainingJob) -> tuple[HostDownload, ...]:
        if job.secondary_status is not SecondaryStatus.DOWNLOADING:
            return ()
        hosts = job.hosts[:HOSTS_SEEN]
        seen = await asyncio.gather(*(self._download(job, host) for host in hosts))
        return tuple(each for each in seen if each is not None)

    async def _download(self, job: TrainingJob, host: str) -> HostDownload | None:
        try:
            seen = await self._observe(instance_name(job.training_job_name, job.attempt, host))
        except Unreachable:
            return None  # the controller waits for it as well; the page shows the last StatusMessage
        snapshot = seen.snapshot
        if snapshot is None or snapshot.downloading is None or snapshot.phase is not Phase.DOWNLOADING:
            return None
        return HostDownload(host=host, progress=snapshot.downloading)
