"""Carries out intents: the only code of the controller with an effect outside the store.

Called by `loop` after the decision is committed. An intent that fails is not kept: it will be decided again as long as
its effect is not observed.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from clary.base.clock import Clock
from clary.base.telemetry import get_logger
from clary.compute.port import Compute
from clary.controller.intents import Intent, Launch, Release, Renew, Tell
from clary.controller.tasks import Site, instance_task, storage_grants
from clary.jobs.model import TrainingJob
from clary.jobs.task import StorageGrant, instance_name
from clary.storage.session_policy import Grant

GRANT_DURATION_S = 12 * 3600

_log = get_logger("controller")


class GrantSource(Protocol):
    """Gives temporary credentials that are limited to grants."""

    async def grant(self, grants: tuple[Grant, ...], *, duration_s: int, session_name: str) -> tuple[StorageGrant, ...]:
        """Credentials for exactly these grants. Raises `LaunchFailed` if they are refused for good; anything else is
        worth another try.
        """
        ...


async def _no_manifests(_job: TrainingJob) -> tuple[Grant, ...]:
    return ()


class Actor:
    """Acts on the instances of jobs. `site` tells what they are all told, as it is now; `named_by_manifests`, what a job
    may read beside its channels' own locations.
    """

    def __init__(
        self,
        *,
        compute: Compute,
        grants: GrantSource,
        clock: Clock,
        site: Callable[[], Site],
        named_by_manifests: Callable[[TrainingJob], Awaitable[tuple[Grant, ...]]] = _no_manifests,
    ) -> None:
        self._compute = compute
        self._grants = grants
        self._named_by_manifests = named_by_manifests
        self._clock = clock
        self._site = site

    async def act(self, job: TrainingJob, intents: Iterable[Intent]) -> None:
        """Carry out the intents of one job, in order. Raises `LaunchFailed` and whatever else stood in the way."""
        for intent in intents:
            match intent:
                case Launch(host=host):
                    task = instance_task(job, host, site=self._site(), now=self._clock.now())
                    await self._compute.launch(task, await self._credentials(job))
                    _log.info("instance launched", training_job_arn=job.training_job_arn, instance=task.instance_name)
                case Renew(host=host):
                    await self._compute.renew(_name(job, host), await self._credentials(job))
                case Tell(host=host, wishes=wishes):
                    await self._compute.tell(_name(job, host), wishes)
                case Release(host=host, attempt=attempt):
                    name = instance_name(job.training_job_name, attempt or job.attempt, host)
                    await self._compute.release(name)
                    _log.info("instance released", training_job_arn=job.training_job_arn, instance=name)

    async def _credentials(self, job: TrainingJob) -> tuple[StorageGrant, ...]:
        grants = (*storage_grants(job), *await self._named_by_manifests(job))
        return await self._grants.grant(grants, duration_s=GRANT_DURATION_S, session_name=job.training_job_name)


def _name(job: TrainingJob, host: str) -> str:
    return instance_name(job.training_job_name, job.attempt, host)
