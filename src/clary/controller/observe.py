"""Looks at the instances of a job's present attempt. Called by `loop` before each decision."""

import asyncio

from clary.compute.port import Compute, Observation
from clary.jobs.model import TrainingJob
from clary.jobs.task import instance_name


async def observe(job: TrainingJob, compute: Compute) -> dict[str, Observation]:
    """How each host's instance is, by host, algo-1 first; nothing before the first attempt. Raises `Unreachable`."""
    if job.attempt == 0:
        return {}
    names = [instance_name(job.training_job_name, job.attempt, host) for host in job.hosts]
    seen = await asyncio.gather(*(compute.observe(name) for name in names))
    return dict(zip(job.hosts, seen, strict=True))
