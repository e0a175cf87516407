"""What to do about a job, decided from what is known: pure, total, and the same for a new job, a running one, a
stopping one and one that is found after a crash.

Called by `loop` in each pass with the job as stored and what `observe` saw of its instances. The answer is the job as it
should be written (perhaps unchanged) and the intents to act on after that write. An intent may be decided again and
again until its effect is observed: every verb of the compute port bears repetition.

The status says only what was observed, with the times of the observation: a controller that was away walks a job
through all that happened meanwhile, at the instants at which it happened.
"""

import msgspec

from clary.base.clock import Instant
from clary.compute.port import Observation
from clary.controller.intents import Intent, Launch, Release, Renew, Tell
from clary.jobs import transitions
from clary.jobs.failure import JobFailure, internal_error, program_failure
from clary.jobs.model import MetricData, TrainingJob
from clary.jobs.policy import may_restart_after_loss, may_retry
from clary.jobs.status import LAUNCHING_MESSAGE, PREPARING_MESSAGE, WAITING_MESSAGE, Event, SecondaryStatus
from clary.jobs.task import Snapshot, StopReason, Wishes

RENEW_BEFORE_MS = 6 * 3600 * 1000
"""Credentials are renewed this long before they end, so that a server that is away for less does no harm."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The job to write, and what to do after that."""

    job: TrainingJob
    intents: tuple[Intent, ...] = ()


def decide(job: TrainingJob, hosts: dict[str, Observation], *, now: Instant, may_launch: bool) -> Decision:
    """What to do about `job`, whose hosts of the present attempt look like `hosts`.

    `may_launch`: there is room for its instances. It is asked only for a job that has none yet.
    """
    if job.is_terminal:
        return _tidy(job, hosts)
    if job.attempt == 0:
        return _begin(job, now=now, may_launch=may_launch)
    snapshots = {host: seen.snapshot for host, seen in hosts.items() if seen.snapshot is not None}
    job = transitions.observe_image(job, next((s.image for s in snapshots.values() if s.image), None))
    if any(snapshot.lost for snapshot in snapshots.values()):
        return _restart(job, now=now) if may_restart_after_loss(job) else _give_up(job, now=now)
    if _is_broken(job, snapshots) and may_retry(job):
        return _restart(job, now=now)
    job = _follow(job, snapshots)
    if job.is_terminal:
        return Decision(job=job)
    intents: list[Intent] = []
    for host, seen in hosts.items():
        intents += _look_after(host, seen, now=now)
    intents += _wishes(job, hosts, snapshots)
    return Decision(job=job, intents=tuple(intents))


def _tidy(job: TrainingJob, hosts: dict[str, Observation]) -> Decision:
    """An ended job keeps nothing: release what exists, then note that nothing is left."""
    left = tuple(Release(host=host) for host, seen in hosts.items() if seen.exists)
    return Decision(job=job if left else transitions.release(job), intents=left)


def _begin(job: TrainingJob, *, now: Instant, may_launch: bool) -> Decision:
    """The attempt is committed before its instances exist, so that no crash in between can lose one."""
    if job.secondary_status is SecondaryStatus.STOPPING:
        return Decision(job=transitions.apply(job, Event.STOPPED, at=now, reason="stopped before launch"))
    if not may_launch:
        return Decision(job=transitions.say(job, WAITING_MESSAGE))
    job = transitions.launch(job, message=LAUNCHING_MESSAGE)
    return Decision(job=job, intents=tuple(Launch(host=host) for host in job.hosts))


def _restart(job: TrainingJob, *, now: Instant) -> Decision:
    """The attempt is given up and the next begins. Its time counts on: see `InstanceTask.max_runtime_s`."""
    released = tuple(Release(host=host, attempt=job.attempt) for host in job.hosts)
    job = transitions.apply(job, Event.RESTART, at=now, reason="restart after an internal error")
    job = transitions.launch(job, message=LAUNCHING_MESSAGE)
    return Decision(job=job, intents=(*released, *(Launch(host=host) for host in job.hosts)))


def _give_up(job: TrainingJob, *, now: Instant) -> Decision:
    """The program is lost and shall not be started again."""
    if job.secondary_status is SecondaryStatus.STOPPING:
        return Decision(job=transitions.apply(job, _stop_event(job), at=now, reason="program lost while stopping"))
    return Decision(job=launch_failed(job, "The training program was lost.", now=now))


def launch_failed(job: TrainingJob, message: str, *, now: Instant) -> TrainingJob:
    """The job whose instances could not be had."""
    return transitions.apply(job, Event.FAILED, at=now, reason="instance lost", failure=internal_error(message))


def _follow(job: TrainingJob, snapshots: dict[str, Snapshot]) -> TrainingJob:
    """The job moved through everything that its instances report, each step at its own time."""
    job = transitions.observe_metrics(job, _metrics(job, snapshots))
    reports = [snapshots[host] for host in job.hosts if host in snapshots]
    everywhere = len(reports) == len(job.hosts)

    def latest(moment: str) -> Instant | None:
        times = [getattr(report, moment) for report in reports]
        return max(times) if everywhere and all(time is not None for time in times) else None

    stopping = [(r.stopping_at, r.stop_reason) for r in reports if r.stopping_at and r.stop_reason is not None]
    asked = [(at, why) for at, why in stopping if why is not StopReason.PEER_ENDED]
    # In the order of the state machine. A stop closes the way to the later ones: `Stopping` has no such moves.
    if job.secondary_status is SecondaryStatus.STARTING:
        ready_at = latest("ready_at")
        if ready_at is not None:
            job = transitions.apply(job, Event.INSTANCES_READY, at=ready_at, reason="instances ready")
        elif reports:
            job = transitions.say(job, PREPARING_MESSAGE)
    if job.secondary_status is SecondaryStatus.DOWNLOADING:
        staged_at = latest("staged_at")
        if staged_at is not None:
            job = transitions.apply(job, Event.INPUT_READY, at=staged_at, reason="input ready")
        else:
            busy = [report.message for report in reports if report.staged_at is None and report.message]
            job = transitions.say(job, busy[0]) if busy else job
    if asked and job.secondary_status in {
        SecondaryStatus.STARTING,
        SecondaryStatus.DOWNLOADING,
        SecondaryStatus.TRAINING,
    }:
        at, why = min(asked)
        job = transitions.apply(job, Event.STOP, at=at, reason=why)
    if job.secondary_status is SecondaryStatus.TRAINING:
        ended_at = latest("ended_at")
        if ended_at is not None:
            job = transitions.apply(job, Event.PROGRAM_ENDED, at=ended_at, reason="program ended")
    finished_at = latest("finished_at")
    if finished_at is None:
        return job
    leader = snapshots[job.hosts[0]]
    if leader.s3_model_artifacts is not None:
        job = transitions.keep_artifacts(job, leader.s3_model_artifacts)
    return _end(job, reports, at=finished_at)


def _end(job: TrainingJob, reports: list[Snapshot], *, at: Instant) -> TrainingJob:
    """The job in its last status. All instances have finished.

    A job that was told to stop ends Stopped whatever its exit code (container.md 10), unless an instance failed: a
    model that could not be uploaded must not look like one that was.
    """
    failure = _failure(reports, ignore_exit_codes=job.secondary_status is SecondaryStatus.STOPPING)
    if failure is not None:
        return transitions.apply(job, Event.FAILED, at=at, reason=failure.kind, failure=failure)
    if job.secondary_status is SecondaryStatus.STOPPING:
        return transitions.apply(job, _stop_event(job), at=at, reason="stopped")
    if job.secondary_status is not SecondaryStatus.UPLOADING:
        # An instance that finished without ever running a program and without a failure: no such thing is known.
        unknown = internal_error()
        return transitions.apply(job, Event.FAILED, at=at, reason=unknown.kind, failure=unknown)
    return transitions.apply(job, Event.SUCCEEDED, at=at, reason="all hosts succeeded")


def _stop_event(job: TrainingJob) -> Event:
    """Which kind of stop it was: the reason that began `Stopping` says it."""
    why = job.secondary_status_transitions[-1].reason
    return Event.RUNTIME_EXCEEDED if why == StopReason.MAX_RUNTIME_EXCEEDED else Event.STOPPED


def _is_broken(job: TrainingJob, snapshots: dict[str, Snapshot]) -> bool:
    """Whether all instances have finished with an error of the platform's own, in a job that nobody stopped."""
    if job.secondary_status is SecondaryStatus.STOPPING or len(snapshots) < len(job.hosts):
        return False
    failure = _failure(list(snapshots.values()), ignore_exit_codes=False)
    finished = all(snapshot.finished_at is not None for snapshot in snapshots.values())
    return finished and failure is not None and failure.may_be_retried


def _failure(reports: list[Snapshot], *, ignore_exit_codes: bool) -> JobFailure | None:
    """The failure that came first. A host that was stopped because a peer had ended is nobody's failure."""
    found: list[tuple[Instant, JobFailure]] = []
    for report in reports:
        at = report.ended_at or report.finished_at or Instant(0)
        end = report.program_end
        if report.failure is not None:
            found.append((at, report.failure))
        elif end is not None and end.exit_code and not ignore_exit_codes and report.stop_reason is None:
            found.append((at, program_failure(end.failure_text, end.exit_code, starved=end.out_of_memory)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _look_after(host: str, seen: Observation, *, now: Instant) -> list[Intent]:
    """An instance that should run does run, with credentials that hold."""
    finished = seen.snapshot is not None and seen.snapshot.finished_at is not None
    if finished:
        return []
    if not seen.exists or not seen.alive:
        return [Launch(host=host)]
    if seen.grants_expire_at is not None and seen.grants_expire_at - now < RENEW_BEFORE_MS:
        return [Renew(host=host)]
    return []


def _wishes(job: TrainingJob, hosts: dict[str, Observation], snapshots: dict[str, Snapshot]) -> list[Intent]:
    """What each host is to be told and has not been told yet."""
    stop = None
    if job.secondary_status is SecondaryStatus.STOPPING:
        stop = StopReason.STOP_TRAINING_JOB
    elif any(_ended_badly(snapshot) for snapshot in snapshots.values()):
        stop = StopReason.PEER_ENDED  # when one host fails, the job fails and the others are stopped (inferred)
    several, everywhere = len(job.hosts) > 1, len(snapshots) == len(job.hosts)
    # An instance program of an earlier version does not stand by.
    all_ready = everywhere and all(s.standing_by_at is not None or s.staged_at is not None for s in snapshots.values())
    all_ended = everywhere and all(s.ended_at is not None for s in snapshots.values())
    intents: list[Intent] = []
    for host, seen in hosts.items():
        if not seen.exists or (seen.snapshot is not None and seen.snapshot.finished_at is not None):
            continue
        ended = seen.snapshot is not None and seen.snapshot.ended_at is not None
        standing_by = seen.snapshot is not None and seen.snapshot.staged_at is None and not ended
        wishes = Wishes(
            stop=seen.wishes.stop or (None if ended else stop),
            start=seen.wishes.start or (several and all_ready and standing_by),
            upload=seen.wishes.upload or (several and all_ended and host == job.hosts[0]),
        )
        if wishes != seen.wishes:
            intents.append(Tell(host=host, wishes=wishes))
    return intents


def _ended_badly(snapshot: Snapshot) -> bool:
    return snapshot.failure is not None or (snapshot.program_end is not None and bool(snapshot.program_end.exit_code))


def _metrics(job: TrainingJob, snapshots: dict[str, Snapshot]) -> tuple[MetricData, ...]:
    """The last value of each metric over all hosts, in the order of the definitions."""
    latest = {metric.metric_name: metric for metric in job.final_metric_data_list}
    for host in job.hosts:
        for metric in snapshots[host].metrics if host in snapshots else ():
            known = latest.get(metric.metric_name)
            if known is None or metric.timestamp >= known.timestamp:
                latest[metric.metric_name] = metric
    names = dict.fromkeys(d.name for d in job.request.algorithm_specification.metric_definitions)
    return tuple(latest[name] for name in names if name in latest)
