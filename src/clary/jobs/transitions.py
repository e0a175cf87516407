"""Moves a job from status to status. The only writer of a job's state, and pure.

Called by `service` (a new job, a stop asked for, an update) and by `controller.decide`. Each move ends the present
transition at the very millisecond at which the next begins, as SageMaker's descriptions show; a move whose time lies
before the present transition (clocks of hosts differ) happens when that one began. A move that the table does not know
raises `IllegalTransition` and changes nothing.
"""

from typing import Any

import msgspec

from clary.base.clock import Instant
from clary.jobs.failure import JobFailure
from clary.jobs.model import MetricData, Program, SecondaryStatusTransition, Tag, TrainingJob, TrainingJobRequest
from clary.jobs.status import MESSAGES, TERMINAL, TRANSITIONS, Event, SecondaryStatus


class IllegalTransition(Exception):
    """The job is in a status in which this event cannot happen."""


def create(
    request: TrainingJobRequest,
    *,
    training_job_arn: str,
    program: Program,
    now: Instant,
    tags: tuple[Tag, ...] = (),
) -> TrainingJob:
    """A new job, Starting."""
    first = SecondaryStatusTransition(
        status=SecondaryStatus.STARTING,
        start_time=now,
        status_message=MESSAGES[SecondaryStatus.STARTING],
        reason="CreateTrainingJob",
    )
    return TrainingJob(
        training_job_name=request.training_job_name,
        training_job_arn=training_job_arn,
        request=request,
        program=program,
        creation_time=now,
        last_modified_time=now,
        secondary_status_transitions=(first,),
        tags=tags,
    )


def apply(
    job: TrainingJob, event: Event, *, at: Instant, reason: str, failure: JobFailure | None = None
) -> TrainingJob:
    """The job after `event`, which happened at `at` because of `reason`.

    A FAILED event brings its `failure`. TrainingStartTime is the end of Starting; both times are set on every terminal
    job, since clients index them there (Airflow, SDK v2 analytics).
    """
    current = job.secondary_status_transitions[-1]
    target = TRANSITIONS[current.status].get(event)
    if target is None:
        raise IllegalTransition(f"{job.training_job_name}: {event} while {current.status}")
    if (event is Event.FAILED) != (failure is not None):
        raise ValueError("a failure comes with the event FAILED, and only with it")
    at = max(at, current.start_time)
    terminal = target in TERMINAL
    entered = SecondaryStatusTransition(
        status=target,
        start_time=at,
        end_time=at if terminal else None,
        status_message=MESSAGES[target],
        reason=reason,
    )
    left = msgspec.structs.replace(current, end_time=at)
    started = job.training_start_time
    if event is Event.INSTANCES_READY and started is None:
        started = at
    return msgspec.structs.replace(
        job,
        secondary_status_transitions=(*job.secondary_status_transitions[:-1], left, entered),
        last_modified_time=max(at, job.last_modified_time),
        training_start_time=(started or at) if terminal else started,
        training_end_time=at if terminal else None,
        failure=failure,
    )


def launch(job: TrainingJob, *, message: str) -> TrainingJob:
    """The job with a new attempt begun: its instances may exist from now on, under names that carry the attempt."""
    return say(msgspec.structs.replace(job, attempt=job.attempt + 1), message)


def say(job: TrainingJob, message: str) -> TrainingJob:
    """The job with another StatusMessage on its present status; only the latest is kept, as on SageMaker."""
    current = job.secondary_status_transitions[-1]
    if current.status_message == message:
        return job
    changed = msgspec.structs.replace(current, status_message=message)
    return msgspec.structs.replace(job, secondary_status_transitions=(*job.secondary_status_transitions[:-1], changed))


def observe_metrics(job: TrainingJob, metrics: tuple[MetricData, ...]) -> TrainingJob:
    """The job with the last values of its metrics."""
    return (
        job if metrics == job.final_metric_data_list else msgspec.structs.replace(job, final_metric_data_list=metrics)
    )


def observe_image(job: TrainingJob, image: str | None) -> TrainingJob:
    """The job with what names exactly its image; what is known stays: a restart runs the same image."""
    return job if job.image_digest or image is None else msgspec.structs.replace(job, image_digest=image)


def keep_artifacts(job: TrainingJob, s3_model_artifacts: str) -> TrainingJob:
    """The job with the place of its model."""
    return msgspec.structs.replace(job, s3_model_artifacts=s3_model_artifacts)


def retag(job: TrainingJob, tags: tuple[Tag, ...]) -> TrainingJob:
    """The job with these tags instead of its own."""
    return msgspec.structs.replace(job, tags=tags)


def record(job: TrainingJob, members: dict[str, Any]) -> TrainingJob:
    """The job with other values of members that Describe shows and that do not act, by their wire names."""
    request = msgspec.structs.replace(job.request, recorded=job.request.recorded | members)
    return msgspec.structs.replace(job, request=request)


def release(job: TrainingJob) -> TrainingJob:
    """The job, ended, with nothing left of its instances: the controller is done with it."""
    return msgspec.structs.replace(job, released=True)


def touch(job: TrainingJob, now: Instant) -> TrainingJob:
    """The job as written now: LastModifiedTime never lies before the last transition."""
    return msgspec.structs.replace(job, last_modified_time=max(now, job.last_modified_time))
