"""ML instances that exist only in memory and do what a test says. For tests of the controller.

A test moves an instance on by `advance`, or lets each observation move it by one step (`walks=True`). `steps` are the
moments of `Snapshot` in order: ready, staged, ended, finished; of several hosts, each stands by for the word to start. A second `ScriptedCompute` on the same `machine` finds
what the first launched, as after a restart of the server.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec

from clary.base.clock import Clock
from clary.compute.port import ABSENT, Capabilities, LaunchFailed, Observation, Unreachable
from clary.jobs.failure import JobFailure
from clary.jobs.task import InstanceTask, Phase, ProgramEnd, Snapshot, StorageGrant, Wishes

STEPS = ("ready", "staged", "ended", "finished")


class ScriptedInstance:
    """What a test may look at: what the instance was given and told, and its newest report."""

    def __init__(self, task: InstanceTask, grants: tuple[StorageGrant, ...]) -> None:
        self.task = task
        self.grants = grants
        self.wishes = Wishes()
        self.snapshot: Snapshot | None = None
        self.alive = True

    def report(self, **facts: object) -> None:
        """Report the last snapshot with these facts changed."""
        last = self.snapshot or Snapshot(sequence=0, phase=Phase.PREPARING)
        self.snapshot = msgspec.structs.replace(last, sequence=last.sequence + 1, **facts)

    @property
    def next_step(self) -> str | None:
        """The step that comes next; None when finished."""
        reached = 0
        for number, step in enumerate(STEPS, start=1):
            if self.snapshot is not None and getattr(self.snapshot, f"{step}_at") is not None:
                reached = number
        return STEPS[reached] if reached < len(STEPS) else None


class Machine:
    """The instances by name, and how often a program was started for each."""

    def __init__(self) -> None:
        self.instances: dict[str, ScriptedInstance] = {}
        self.launches: Counter[str] = Counter()
        self.released: list[str] = []


class ScriptedCompute:
    """A `Compute`. `problem` is what `capabilities` says is wrong."""

    def __init__(
        self, clock: Clock, *, machine: Machine | None = None, walks: bool = False, problem: str | None = None
    ) -> None:
        self.machine = machine or Machine()
        self.unreachable: set[str] = set()
        self.launch_fails: str | None = None
        self.open = asyncio.Event()
        self.open.set()
        self._clock = clock
        self._walks = walks
        self._problem = problem
        self._wake: Callable[[str], None] = lambda _name: None

    # What tests do.

    def advance(
        self,
        instance_name: str,
        *,
        exit_code: int | None = 0,
        failure_text: str = "",
        failure: JobFailure | None = None,
        s3_model_artifacts: str | None = None,
    ) -> None:
        """Take the next step now. The exit code, failure text and failure count when the step is "ended", the
        artifacts when it is "finished". Nothing happens once it is finished.
        """
        instance = self.machine.instances[instance_name]
        now = self._clock.now()
        match instance.next_step:
            case "ready":
                instance.report(phase=Phase.DOWNLOADING, ready_at=now)
            case "staged" if len(instance.task.hosts) > 1 and not instance.wishes.start:
                instance.report(phase=Phase.DOWNLOADING, standing_by_at=now)
            case "staged":
                instance.report(phase=Phase.TRAINING, staged_at=now, log_stream=f"{instance_name}-{now // 1000}")
            case "ended":
                end = ProgramEnd(exit_code=exit_code, failure_text=failure_text)
                instance.report(phase=Phase.ENDED, ended_at=now, program_end=end, failure=failure)
            case "finished":
                instance.report(phase=Phase.FINISHED, finished_at=now, s3_model_artifacts=s3_model_artifacts)
                instance.alive = False
            case _:
                return
        self._wake(instance_name)

    def finish(self, instance_name: str, *, exit_code: int = 0) -> None:
        """Take all steps that are left."""
        while self.machine.instances[instance_name].next_step is not None:
            self.advance(instance_name, exit_code=exit_code)

    def lose(self, instance_name: str) -> None:
        """The training program vanished without an exit code; the instance reports it and is finished."""
        now = self._clock.now()
        instance = self.machine.instances[instance_name]
        instance.report(phase=Phase.FINISHED, lost=True, ended_at=now, finished_at=now)
        instance.alive = False
        self._wake(instance_name)

    def die(self, instance_name: str) -> None:
        """The instance program died and reports nothing more, until it is launched again."""
        self.machine.instances[instance_name].alive = False
        self._wake(instance_name)

    def vanish(self, instance_name: str) -> None:
        """The instance is gone, and nobody released it."""
        del self.machine.instances[instance_name]

    # The port. While `open` is cleared, every call waits: a machine that has become slow.

    def capabilities(self) -> Capabilities:
        """See `Compute`."""
        return Capabilities(problem=self._problem)

    async def launch(self, task: InstanceTask, grants: tuple[StorageGrant, ...]) -> None:
        """See `Compute`. Fails with the text of `launch_fails`, if there is one."""
        await self._reach(task.instance_name)
        if self.launch_fails is not None:
            raise LaunchFailed(self.launch_fails)
        instance = self.machine.instances.get(task.instance_name)
        if instance is None:
            instance = self.machine.instances[task.instance_name] = ScriptedInstance(task, grants)
        elif instance.alive or instance.next_step is None:
            return
        instance.alive = True
        instance.grants = grants
        self.machine.launches[task.instance_name] += 1

    async def observe(self, instance_name: str) -> Observation:
        """See `Compute`. Raises `Unreachable` for the names in `unreachable`."""
        await self._reach(instance_name)
        instance = self.machine.instances.get(instance_name)
        if instance is None:
            return ABSENT
        if self._walks and instance.alive:
            self.advance(instance_name)
        return Observation(
            exists=True,
            alive=instance.alive,
            snapshot=instance.snapshot,
            grants_expire_at=min((grant.expiration for grant in instance.grants), default=None),
            wishes=instance.wishes,
        )

    async def tell(self, instance_name: str, wishes: Wishes) -> None:
        """See `Compute`. A wish to stop is reported at once; the program ends with the next step."""
        await self._reach(instance_name)
        instance = self.machine.instances.get(instance_name)
        if instance is None:
            return
        told = instance.wishes
        instance.wishes = told.and_also(wishes)
        running = instance.snapshot is None or instance.snapshot.ended_at is None
        if instance.wishes.stop is not None and told.stop is None and instance.alive and running:
            instance.report(stopping_at=self._clock.now(), stop_reason=instance.wishes.stop)
            self._wake(instance_name)

    async def renew(self, instance_name: str, grants: tuple[StorageGrant, ...]) -> None:
        """See `Compute`."""
        await self._reach(instance_name)
        if instance_name in self.machine.instances:
            self.machine.instances[instance_name].grants = grants

    async def release(self, instance_name: str) -> None:
        """See `Compute`."""
        await self._reach(instance_name)
        if self.machine.instances.pop(instance_name, None) is not None:
            self.machine.released.append(instance_name)

    async def stray(self) -> tuple[str, ...]:
        """See `Compute`."""
        await self.open.wait()
        return tuple(sorted(self.machine.instances))

    def on_change(self, wake: Callable[[str], None]) -> None:
        """See `Compute`. `wake` is called within the call that brought the change."""
        self._wake = wake

    async def _reach(self, instance_name: str) -> None:
        await self.open.wait()
        if instance_name in self.unreachable:
            raise Unreachable(f"{instance_name} does not answer")
