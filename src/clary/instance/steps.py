"""What every step of the instance's life is: the port between `lifecycle` and the steps."""

from typing import Protocol

from clary.instance.state import State


class Step(Protocol):
    """One step. It is taken in turns, each of which is over within a fraction of a second.

    A step that a crash or a restart interrupted is simply taken again: what its turns do may be done twice with the
    effect of once, and what has been done is in the journal.
    """

    @property
    def name(self) -> str:
        """What it is called in the log."""
        ...

    @property
    def message(self) -> str | None:
        """How far it is, for the user."""
        ...

    def is_done(self, state: State) -> bool:
        """Whether nothing is left for it to do, or nothing any more. Pure."""
        ...

    def turn(self) -> float:
        """Do some of it; answers after how many seconds at most the next turn is due."""
        ...

    def leave(self) -> None:
        """Give back what is held here. The step may go on in another instance program."""
        ...
