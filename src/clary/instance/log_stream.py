"""The name of the log stream that a training program is to have. Pure; called by `run_training`."""

from collections.abc import Callable

from clary.base.clock import Instant
from clary.jobs.task import InstanceTask


def log_stream(task: InstanceTask, now: Instant, is_there: Callable[[str], bool]) -> str:
    """<job>/<host>-<seconds since the epoch>, as on SageMaker; of a later second if `is_there` knows that one.

    An attempt may begin in the second in which the last one began, and its lines would pass for lines that have come.
    """
    second = now // 1000
    while is_there(name := f"{task.training_job_name}/{task.host}-{second}"):
        second += 1
    return name
