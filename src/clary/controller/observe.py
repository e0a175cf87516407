"""Looks at the instances of a job. Called by `loop` before each decision."""

import asyncio

from clary.compute.port import Compute, Observation
from clary.controller.intents import Release
from clary.jobs.model import TrainingJob
from clary.jobs.task import instance_name


async def observe(job: TrainingJob, compute: Compute) -> dict[str, Observation]:
    """How each host's instance of the present attempt is, by host, algo-1 first; nothing before the first attempt. Raises `Unreachable`."""
    if job.attempt == 0:
        return {}
    names = [instance_name(job.training_job_name, job.attempt, host) for host in job.hosts]
    seen = await asyncio.gather(*(compute.observe(name) for name in names))
    return dict(zip(job.hosts, seen, strict=True))


async def leftovers(job: TrainingJob, compute: Compute) -> tuple[Release, ...]:
    """How to be rid of instances of earlier attempts, which a crash left. Raises `Unreachable`."""
    earlier = [(attempt, host) for attempt in range(1, job.attempt) for host in job.hosts]
    seen = [await compute.observe(instance_name(job.training_job_name, attempt, host)) for attempt, host in earlier]
    return tuple(
        Release(host=host, attempt=attempt)
        for (attempt, host), there in zip(earlier, seen, strict=True)
        if there.exists
    )
