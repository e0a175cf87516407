"""The fifth step, of jobs of several hosts: holds the program back until every host has its data.

Without it, the first host to start would write checkpoints while another one still restores, and the hosts of one job
would go on from different ones; and a host would train for nothing while another's download fails. The controller sees
all hosts, and gives the word to start. Source: inferred; SageMaker's status is Downloading until all hosts have their data.
"""

from clary.base import faults
from clary.base.clock import Clock
from clary.instance.decisions import may_start
from clary.instance.journal import Journal
from clary.instance.state import Ended, PeersReady, StandingBy, State
from clary.instance.stops import Stops
from clary.instance.wishes import WishesFile
from clary.jobs.task import InstanceTask

_LOOK_AGAIN_S = 0.5

faults.declare("instance.standing_by")


class AwaitPeers:
    """See `steps.Step`."""

    name = "await peers"
    message: str | None = None

    def __init__(self, task: InstanceTask, journal: Journal, wishes: WishesFile, stops: Stops, clock: Clock) -> None:
        self._task = task
        self._journal = journal
        self._wishes = wishes
        self._stops = stops
        self._clock = clock

    def is_done(self, state: State) -> bool:
        """See `steps.Step`. A program that an earlier version of this one has started awaits nobody any more."""
        alone = len(self._task.hosts) == 1
        return alone or state.peers_ready or state.program_start_at is not None or state.ended_at is not None

    def turn(self) -> float:
        """See `steps.Step`."""
        now = self._clock.now()
        if self._stops.begun():
            self._journal.note(Ended(at=now))
            return 0
        if self._journal.state.standing_by_at is None:
            self._journal.note(StandingBy(at=now))
            faults.point("instance.standing_by")
            return 0
        if not may_start(self._wishes.read(), self._task):
            return _LOOK_AGAIN_S
        self._journal.note(PeersReady(at=now))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
