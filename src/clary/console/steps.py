"""The way of a job as a row of steps, drawn from the table of the state machine. Pure; used by `job_page`.

Behind it lie the statuses that the job has been in, before it those that it is expected to come to.
"""

from collections.abc import Sequence

from clary.console.contexts import Stay, Step
from clary.jobs.status import STATUS_OF, TERMINAL, TRANSITIONS, Event, SecondaryStatus, TrainingJobStatus

_UNUSUAL = frozenset({Event.FAILED, Event.STOP, Event.RUNTIME_EXCEEDED, Event.RESTART})
"""The events that nobody expects: each row of the table has one other, but for those of the last statuses."""

_ENDS = {
    TrainingJobStatus.COMPLETED: "completed",
    TrainingJobStatus.FAILED: "failed",
    TrainingJobStatus.STOPPED: "stopped",
}


def steps(history: Sequence[Stay]) -> tuple[Step, ...]:
    """The steps of a job with that history, oldest first. What came before a restart is left out."""
    way: list[Stay] = []
    for stay in history:
        begun = next((n for n, earlier in enumerate(way) if earlier.status == stay.status), len(way))
        way[begun:] = [stay]
    current = SecondaryStatus(way[-1].status)
    behind = [_step(stay, "done") for stay in way[:-1]]
    here = _step(way[-1], _ENDS[STATUS_OF[current]] if current in TERMINAL else "current")
    return (*behind, here, *(_ahead(status) for status in expected_after(current)))


def expected_after(status: SecondaryStatus) -> tuple[SecondaryStatus, ...]:
    """The statuses that a job comes to if all goes well."""
    following: list[SecondaryStatus] = []
    while status not in TERMINAL:
        status = next(target for event, target in TRANSITIONS[status].items() if event not in _UNUSUAL)
        following.append(status)
    return tuple(following)


def _step(stay: Stay, state: str) -> Step:
    return Step(status=stay.status, state=state, start_time=stay.start_time, duration_s=stay.duration_s)


def _ahead(status: SecondaryStatus) -> Step:
    return Step(status=status, state="ahead", start_time=None, duration_s=None)
