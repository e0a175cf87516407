"""What tests of the controller lean on in the scripted compute, beyond what every compute promises."""

import asyncio

import pytest

from clary.base.clock import FixedClock
from clary.compute.port import ABSENT, LaunchFailed, Unreachable
from clary.compute.scripted import ScriptedCompute
from clary.jobs.task import StopReason, Wishes, instance_name
from factories import make_task

NAME = instance_name("job", 1, "algo-1")
STOP = Wishes(stop=StopReason.STOP_TRAINING_JOB)


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def compute(clock):
    return ScriptedCompute(clock)


def test_the_steps_come_in_order_and_each_once(compute, clock):
    """ready, staged, ended, finished: each at the clock's time, each a newer report, and nothing after the last."""

    async def play():
        await compute.launch(make_task(), ())
        instance = compute.machine.instances[NAME]
        for step in ("ready", "staged", "ended", "finished"):
            clock.advance(1)
            assert instance.next_step == step
            compute.advance(NAME, exit_code=3)
            assert getattr(instance.snapshot, f"{step}_at") == clock.now()
        compute.advance(NAME)
        assert instance.snapshot.sequence == 4
        assert instance.snapshot.program_end.exit_code == 3
        assert not (await compute.observe(NAME)).alive

    asyncio.run(play())


def test_it_may_walk_by_itself(clock):
    """Each observation moves it on by one step."""

    async def play():
        compute = ScriptedCompute(clock, walks=True)
        await compute.launch(make_task(), ())
        for _ in range(4):
            found = await compute.observe(NAME)
        assert found.snapshot.finished_at is not None

    asyncio.run(play())


def test_unreachable_is_not_gone(compute):
    """While it does not answer every call raises; afterwards it is as it was. Gone is absent."""

    async def play():
        await compute.launch(make_task(), ())
        compute.unreachable.add(NAME)
        for call in (compute.observe(NAME), compute.tell(NAME, STOP), compute.release(NAME)):
            with pytest.raises(Unreachable):
                await call
        compute.unreachable.clear()
        assert (await compute.observe(NAME)).alive
        compute.vanish(NAME)
        assert await compute.observe(NAME) == ABSENT
        assert compute.machine.released == []

    asyncio.run(play())


def test_a_wish_to_stop_is_reported_once(compute, clock):
    """The report says when and why; the program ends with a later step. After the end it is too late."""

    async def play():
        await compute.launch(make_task(), ())
        await compute.tell(NAME, STOP)
        first = compute.machine.instances[NAME].snapshot
        clock.advance(5)
        await compute.tell(NAME, STOP)
        assert compute.machine.instances[NAME].snapshot == first
        assert first.stop_reason is StopReason.STOP_TRAINING_JOB
        assert first.ended_at is None

    asyncio.run(play())


def test_a_lost_program_and_a_dead_instance_program_differ(compute):
    """The one is reported and final, the other is launched again."""

    async def play():
        await compute.launch(make_task(), ())
        compute.die(NAME)
        assert not (await compute.observe(NAME)).alive
        await compute.launch(make_task(), ())
        compute.lose(NAME)
        assert (await compute.observe(NAME)).snapshot.lost
        await compute.launch(make_task(), ())
        assert compute.machine.launches[NAME] == 2

    asyncio.run(play())


def test_a_slow_machine_and_a_full_one(compute):
    """Calls wait while it is slow; a launch that fails leaves nothing."""

    async def play():
        compute.launch_fails = "no room"
        with pytest.raises(LaunchFailed, match="no room"):
            await compute.launch(make_task(), ())
        assert await compute.stray() == ()
        compute.open.clear()
        waiting = asyncio.create_task(compute.observe(NAME))
        await asyncio.sleep(0)  # lets the task begin
        assert not waiting.done()
        compute.open.set()
        assert await waiting == ABSENT

    asyncio.run(play())
