"""The last step: notes that nothing more will happen."""

from clary.base.clock import Clock
from clary.instance.journal import Journal
from clary.instance.state import Finished, State


class Finish:
    """See `steps.Step`."""

    name = "finish"
    message = None

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return state.finished_at is not None

    def turn(self) -> float:
        """See `steps.Step`."""
        self._journal.note(Finished(at=self._clock.now()))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
