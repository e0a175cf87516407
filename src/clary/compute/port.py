"""One ML instance: the port through which the controller gets, watches, tells and returns it.

Verbs may be repeated at any time with the same effect as once; instance names are known before the instance exists, so
that a controller which crashed between deciding and acting finds what it launched. Adapters: `local` (detached programs
on this machine), `scripted` (for tests).
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from clary.base.clock import Instant
from clary.jobs.task import InstanceTask, Snapshot, StorageGrant, Wishes


class Unreachable(Exception):
    """It cannot be told how the instance is. That is not the same as gone."""


class LaunchFailed(Exception):
    """The instance could not be had; the text says why, for the operator."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What instances of this compute can do; checked when a job is created.

    `problem` says, with its cure, why nothing can run here at all (None: it can). `instance_count_max` bounds a single
    job; `isolated_instance_count_max` one with EnableNetworkIsolation.
    """

    problem: str | None = None
    instance_count_max: int = 20
    isolated_instance_count_max: int = 1


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance is.

    `exists`: it was launched and not released. `alive`: its instance program runs. `snapshot`: the newest report, if
    any. `grants_expire_at`: when the first of the credentials that it was given ends.
    """

    exists: bool
    alive: bool = False
    snapshot: Snapshot | None = None
    grants_expire_at: Instant | None = None
    wishes: Wishes = Wishes()


ABSENT = Observation(exists=False)


class Compute(Protocol):
    """Launches, observes, tells and releases ML instances. Called from one event loop."""

    def capabilities(self) -> Capabilities:
        """What can run here. Cheap: asked at every CreateTrainingJob."""
        ...

    async def launch(self, task: InstanceTask, grants: tuple[StorageGrant, ...]) -> None:
        """Find or create the instance `task.instance_name` and see that its program runs. Raises `LaunchFailed`.

        An instance whose program died goes on where its journal ends; one that runs, or has finished, is left alone.
        """
        ...

    async def observe(self, instance_name: str) -> Observation:
        """How the instance is. Raises `Unreachable` when that cannot be told."""
        ...

    async def tell(self, instance_name: str, wishes: Wishes) -> None:
        """Make the wishes known to the instance; it need not be reached before this returns."""
        ...

    async def renew(self, instance_name: str, grants: tuple[StorageGrant, ...]) -> None:
        """Replace the instance's credentials."""
        ...

    async def release(self, instance_name: str) -> None:
        """End whatever is left of the instance and delete its disk. Its logs stay."""
        ...

    async def stray(self) -> tuple[str, ...]:
        """The names of all instances that exist, so that those of no job can be released."""
        ...

    def on_change(self, wake: Callable[[str], None]) -> None:
        """Call `wake(instance_name)`, on the event loop, when an instance has reported. A hint: it may be lost."""
        ...
