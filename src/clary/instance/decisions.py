"""What an instance is to do, decided from what is known and the time. Pure; asked by the steps.

Deadlines hang on stored instants, so that no restart of the instance program stretches them.
"""

from clary.base.clock import Instant, later
from clary.instance.state import State
from clary.jobs.task import InstanceTask, StopReason, Wishes

GRACE_S = 120.0
"""From SIGTERM to SIGKILL. Source: API model, StopTrainingJob."""

BARREN_STARTS_MAX = 5
"""How often an instance program may die without having noted anything, before the job is given up."""

_QUICK_S = 0.01
_LAZY_S = 0.25


def stop_due(state: State, wishes: Wishes, *, now: Instant, max_runtime_s: int) -> StopReason | None:
    """Why the instance must begin to stop now; None if it need not, or has begun to, or has nothing left to stop."""
    if state.stopping_at is not None or state.ended_at is not None:
        return None
    if wishes.stop is not None:
        return wishes.stop
    if state.ready_at is not None and now >= later(state.ready_at, max_runtime_s):
        return StopReason.MAX_RUNTIME_EXCEEDED
    return None


def kill_due(state: State, *, now: Instant, grace_s: float) -> bool:
    """Whether a program that was told to end has had its time."""
    return state.stopping_at is not None and now >= later(state.stopping_at, grace_s)


def uploads(state: State, task: InstanceTask) -> bool:
    """Whether this host has artifacts to upload: the leader has, if its program ran to an end that was seen."""
    return task.is_leader and state.failure is None and not state.lost and state.exit_code is not None


def syncs(state: State, task: InstanceTask) -> bool:
    """Whether checkpoints are brought to S3 once more: if the program ran to an end that was seen."""
    ran = state.failure is None and not state.lost and state.exit_code is not None
    return ran and task.checkpoint_config is not None


def may_start(wishes: Wishes, task: InstanceTask) -> bool:
    """Whether all hosts have their data: with several, the controller says so."""
    return len(task.hosts) == 1 or wishes.start


def may_upload(wishes: Wishes, task: InstanceTask) -> bool:
    """Whether all that is to be uploaded has been written: with several hosts, the controller says so."""
    return len(task.hosts) == 1 or wishes.upload


def keeps_empty_model(state: State) -> bool:
    """Whether an empty /opt/ml/model still becomes a model artifact: not if the program failed of its own accord."""
    return state.exit_code == 0 or state.stopping_at is not None


def failed_by_itself(state: State) -> bool:
    """Whether the program's own exit code is what failed the job, so that later trouble is not its reason."""
    return bool(state.exit_code) and state.stopping_at is None


def is_hopeless(state: State) -> bool:
    """Whether instance programs die here again and again before they get anything done."""
    return state.barren_starts > BARREN_STARTS_MAX


def watch_again_s(quiet_s: float) -> float:
    """When to look at a program again that has said nothing for `quiet_s` seconds.

    A tenth of the silence, from 10 to 250 ms: what comes is seen at most 10 % later, and a silent job costs four looks
    a second.
    """
    return min(_LAZY_S, max(_QUICK_S, quiet_s / 10))


def look_again_s(look_s: float) -> float:
    """When to look at the checkpoints again, after a look that took `look_s` seconds of a processor.

    After a second; after longer, up to a minute, where the looks would take more than a hundredth of a processor.
    """
    return min(60.0, max(1.0, 100 * look_s))


def try_again_s(failures: int) -> float:
    """How long to wait after that many failures in a row: from half a second, doubling, to 15 seconds."""
    return float(min(15.0, 0.5 * 2 ** min(failures - 1, 10)))
