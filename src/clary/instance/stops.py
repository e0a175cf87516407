"""Notes that the instance must stop, when it must: a wish of the controller, or the end of its time.

Asked by the steps that can be stopped, and by them only while there is something to stop: a program that has ended by
itself is not stopped by a limit that passes afterwards.
"""

from clary.base.clock import Clock
from clary.base.telemetry import Logger
from clary.instance.decisions import stop_due
from clary.instance.journal import Journal
from clary.instance.state import Stopping
from clary.instance.wishes import WishesFile
from clary.jobs.task import InstanceTask


class Stops:
    """Whether this instance is to stop."""

    def __init__(self, task: InstanceTask, wishes: WishesFile, journal: Journal, clock: Clock, log: Logger) -> None:
        self._task = task
        self._wishes = wishes
        self._journal = journal
        self._clock = clock
        self._log = log

    def begun(self) -> bool:
        """Whether stopping has begun, perhaps at this very call."""
        now = self._clock.now()
        reason = stop_due(self._journal.state, self._wishes.read(), now=now, max_runtime_s=self._task.max_runtime_s)
        if reason is not None:
            self._log.info("stopping", reason=reason)
            self._journal.note(Stopping(at=now, reason=reason))
        return self._journal.state.stopping_at is not None
