"""What every compute promises. What only the one on this machine can promise: tests/unit/compute/."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import clary
from clary.base.clock import FixedClock, Instant
from clary.compute.local import LocalCompute
from clary.compute.port import ABSENT, Compute, Observation
from clary.compute.scripted import Machine, ScriptedCompute
from clary.jobs.task import StopReason, StorageGrant, Wishes, instance_name
from factories import make_task

NAME = instance_name("job", 1, "algo-1")
STOP = Wishes(stop=StopReason.STOP_TRAINING_JOB)


def grants(*expirations: int) -> tuple[StorageGrant, ...]:
    return tuple(
        StorageGrant(
            access="read",
            bucket="bucket",
            prefix="in/",
            access_key_id="id",
            secret_access_key="secret",
            session_token="token",
            expiration=Instant(expiration),
        )
        for expiration in expirations
    )


class LocalRig:
    """LocalCompute with a small program in place of the instance program."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.killed: list[Path] = []
        self._made: list[LocalCompute] = []

    def make(self) -> LocalCompute:
        command = (sys.executable, str(Path(__file__).with_name("small_agent.py")))
        compute = LocalCompute(self.home, release_program=self.killed.append, command=command)
        self._made.append(compute)
        return compute

    def starts(self, name: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return len((self.home / "instances" / name / "starts").read_text())
        return 0

    def kill_agent(self, name: str) -> None:
        os.kill(int((self.home / "instances" / name / "agent.lock").read_text()), signal.SIGKILL)

    async def report(self, name: str) -> None:
        """The program reports by itself."""

    async def close(self) -> None:
        compute = self.make()
        for name in await compute.stray():
            await compute.release(name)
        for made in self._made:
            await made.close()


class ScriptedRig:
    """ScriptedCompute, one machine behind all that are made."""

    def __init__(self) -> None:
        self.machine = Machine()
        self._last = self.make()

    def make(self) -> ScriptedCompute:
        self._last = ScriptedCompute(FixedClock(), machine=self.machine)
        return self._last

    def starts(self, name: str) -> int:
        return self.machine.launches[name]

    def kill_agent(self, name: str) -> None:
        self._last.die(name)

    async def report(self, name: str) -> None:
        """Move on as the small program of the other rig does: to ready, and to the end when it was told to stop."""
        if name in self.machine.instances:
            self._last.advance(name)
            if self.machine.instances[name].wishes.stop is not None:
                self._last.finish(name)

    async def close(self) -> None:
        pass


@pytest.fixture
def monkey_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(clary.__file__).parents[1]))


@pytest.fixture(params=["local", "scripted"])
def scene(request, tmp_path, monkey_path):
    """Runs a test's coroutine with a rig, on an event loop of its own, and releases what is left."""

    def run(play: Callable) -> None:
        async def whole() -> None:
            rig = LocalRig(tmp_path) if request.param == "local" else ScriptedRig()
            try:
                await asyncio.wait_for(play(rig), 60)
            finally:
                await rig.close()

        asyncio.run(whole())

    return run


async def seen(compute: Compute, name: str, condition: Callable[[Observation], bool]) -> Observation:
    """Observe until it is so, at most 20 seconds."""
    async with asyncio.timeout(20):
        while not condition(found := await compute.observe(name)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # what a poll of the controller is
    return found


def reported(found: Observation) -> bool:
    return found.snapshot is not None


def finished(found: Observation) -> bool:
    return found.snapshot is not None and found.snapshot.finished_at is not None


class TestCompute:
    def test_a_machine_that_works_has_no_problem(self, scene):
        """Something can run here."""

        async def play(rig):
            assert rig.make().capabilities().problem is None

        scene(play)

    def test_an_instance_that_never_was_is_absent(self, scene):
        """It is observed as absent; telling, renewing and releasing it do nothing."""

        async def play(rig):
            compute = rig.make()
            await compute.tell(NAME, STOP)
            await compute.renew(NAME, grants(5))
            await compute.release(NAME)
            assert await compute.observe(NAME) == ABSENT
            assert await compute.stray() == ()

        scene(play)

    def test_a_launched_instance_exists_lives_and_reports(self, scene):
        """At once it exists and is alive; its report follows."""

        async def play(rig):
            compute = rig.make()
            await compute.launch(make_task(), grants(7, 5, 9))
            found = await compute.observe(NAME)
            assert (found.exists, found.alive, found.grants_expire_at) == (True, True, 5)
            assert found.wishes == Wishes()
            await rig.report(NAME)
            assert (await seen(compute, NAME, reported)).snapshot.ready_at is not None
            assert await compute.stray() == (NAME,)

        scene(play)

    def test_an_instance_without_grants_has_none_that_end(self, scene):
        """No credentials, no time at which they end."""

        async def play(rig):
            compute = rig.make()
            await compute.launch(make_task(), ())
            assert (await compute.observe(NAME)).grants_expire_at is None

        scene(play)

    def test_launching_twice_starts_once(self, scene):
        """At once, together, and after it has reported."""

        async def play(rig):
            compute = rig.make()
            await asyncio.gather(*(compute.launch(make_task(), grants(5)) for _ in range(3)))
            await rig.report(NAME)
            await seen(compute, NAME, reported)
            await compute.launch(make_task(), grants(5))
            assert rig.starts(NAME) == 1

        scene(play)

    def test_a_second_compute_finds_the_first_ones_instances(self, scene):
        """Restore: launch, forget everything, observe again; launching again leaves one program, started once."""

        async def play(rig):
            first = rig.make()
            await first.launch(make_task(), grants(5))
            await rig.report(NAME)
            await seen(first, NAME, reported)
            second = rig.make()
            found = await second.observe(NAME)
            assert found.alive
            assert reported(found)
            await second.launch(make_task(), grants(5))
            await second.tell(NAME, STOP)
            await rig.report(NAME)
            await seen(second, NAME, finished)
            assert rig.starts(NAME) == 1

        scene(play)

    def test_an_instance_whose_program_died_goes_on(self, scene):
        """It is observed as not alive, with its last report; launching starts its program again, with new grants."""

        async def play(rig):
            compute = rig.make()
            await compute.launch(make_task(), grants(5))
            await rig.report(NAME)
            await seen(compute, NAME, reported)
            rig.kill_agent(NAME)
            found = await seen(compute, NAME, lambda found: not found.alive)
            assert found.exists
            assert reported(found)
            await compute.launch(make_task(), grants(8))
            await seen(compute, NAME, lambda found: found.alive and rig.starts(NAME) == 2)
            assert (await compute.observe(NAME)).grants_expire_at == 8

        scene(play)

    def test_a_finished_instance_is_left_alone(self, scene):
        """Launching it again starts nothing."""

        async def play(rig):
            compute = rig.make()
            await compute.launch(make_task(), grants(5))
            await compute.tell(NAME, STOP)
            await rig.report(NAME)
            await seen(compute, NAME, lambda found: finished(found) and not found.alive)
            await compute.launch(make_task(), grants(8))
            found = await compute.observe(NAME)
            assert (found.exists, found.alive, found.grants_expire_at) == (True, False, 5)
            assert rig.starts(NAME) == 1

        scene(play)

    def test_wishes_reach_a_running_instance_and_are_only_added(self, scene):
        """A later wish takes nothing back: the first reason to stop stays."""

        async def play(rig):
            compute = rig.make()
            await compute.launch(make_task(), grants(5))
            await rig.report(NAME)
            await seen(compute, NAME, reported)
            await compute.tell(NAME, Wishes(start=True))
            await compute.tell(NAME, Wishes(upload=True))
            assert (await compute.observe(NAME)).wishes == Wishes(start=True, upload=True)
            await compute.tell(NAME, STOP)
            await compute.tell(NAME, Wishes(stop=StopReason.PEER_ENDED))
            assert (await compute.observe(NAME)).wishes == Wishes(
                stop=StopReason.STOP_TRAINING_JOB, start=True, upload=True
            )
            await rig.report(NAME)
            await seen(compute, NAME, finished)

        scene(play)

    def test_renewed_grants_replace_the_old(self, scene):
        """What ends first is now that of the new ones."""

        async def play(rig):
            compute = rig.make()
            await compute.launch(make_task(), grants(5))
            await compute.renew(NAME, grants(30, 20))
            assert (await compute.observe(NAME)).grants_expire_at == 20

        scene(play)

    def test_a_released_instance_is_gone(self, scene):
        """Whatever it was doing. Releasing again does nothing, and its name may be launched anew."""

        async def play(rig):
            compute = rig.make()
            other = instance_name("job", 1, "algo-2")
            await compute.launch(make_task(), grants(5))
            await compute.launch(make_task(other), grants(5))
            await compute.release(NAME)
            assert await compute.observe(NAME) == ABSENT
            assert await compute.stray() == (other,)
            await compute.release(NAME)
            await compute.launch(make_task(), grants(5))
            assert (await compute.observe(NAME)).alive

        scene(play)

    def test_who_waits_is_woken_by_a_report(self, scene):
        """The wake names the instance."""

        async def play(rig):
            woken: asyncio.Queue[str] = asyncio.Queue()
            compute = rig.make()
            compute.on_change(woken.put_nowait)
            await compute.launch(make_task(), grants(5))
            await rig.report(NAME)
            assert await asyncio.wait_for(woken.get(), 20) == NAME

        scene(play)
