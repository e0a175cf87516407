"""Rules of a job's life that are neither states nor steps. Pure; asked by `controller`."""

from clary.base.clock import Instant
from clary.jobs.model import TrainingJob
from clary.jobs.status import SecondaryStatus

RESTARTS_AFTER_LOSS = 2
"""How often a job whose program vanished (reboot, a killed supervisor) is started again of our own accord: it should
reach the end that an undisturbed run reaches."""


def may_restart_after_loss(job: TrainingJob) -> bool:
    """Whether another attempt may follow one whose program vanished. A job that is stopping never starts again."""
    allowed = max(RESTARTS_AFTER_LOSS, _retries(job))
    return job.secondary_status is not SecondaryStatus.STOPPING and job.attempt <= allowed


def may_retry(job: TrainingJob) -> bool:
    """Whether another attempt may follow an InternalServerError (Source: API model, RetryStrategy)."""
    return job.attempt <= _retries(job)


def remaining_runtime_s(job: TrainingJob, now: Instant) -> int:
    """Seconds that an attempt launched now may run: MaxRuntimeInSeconds is the total of all attempts; at least 1."""
    limit = job.request.stopping_condition.max_runtime_in_seconds
    if job.training_start_time is None:
        return limit
    return max(1, limit - (now - job.training_start_time) // 1000)


def _retries(job: TrainingJob) -> int:
    retry = job.request.retry_strategy
    return retry.maximum_retry_attempts if retry else 0
