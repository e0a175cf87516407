"""The loop over a scripted compute and a store in memory: what it brings about, also when parts fail under it.

Excludes the decisions themselves (test_decide) and real processes (tests/faults). Waiting here is on states, with short
polls of the loop under test; no test depends on how long anything takes.
"""

import asyncio
import contextlib

import pytest

from clary.base.clock import FixedClock, Instant
from clary.compute.scripted import Machine, ScriptedCompute
from clary.controller.act import Actor
from clary.controller.loop import Controller
from clary.controller.queue import InstanceQueue
from clary.controller.tasks import Site
from clary.jobs import transitions
from clary.jobs.status import Event, SecondaryStatus
from clary.jobs.task import InstanceTask, StopReason, StorageGrant
from clary.storage.port import Unreachable as StorageAway
from clary.storage.session_policy import Grant
from clary.store.errors import DatabaseUnavailable
from clary.store.faulty import Fault, FaultyStore
from clary.store.memory import MemoryStore
from clary.store.port import NoSuchJob, StaleVersion
from factories import make_groups, make_job, make_request

S = SecondaryStatus


SITE = Site(region="us-east-1", s3_endpoint_url="http://s3")


class Grants:
    """Credentials that name what they open."""

    async def grant(self, grants, *, duration_s, session_name):
        return tuple(
            StorageGrant(
                access=grant.access,
                bucket=grant.bucket,
                prefix=grant.prefix,
                access_key_id=session_name,
                secret_access_key="s",
                session_token="t",
                expiration=Instant(2**52),
            )
            for grant in grants
        )


@contextlib.asynccontextmanager
async def controlling(store, compute, *, instance_count=4, **acting):
    clock = FixedClock()
    actor = Actor(compute=compute, grants=Grants(), clock=clock, site=lambda: SITE, **acting)
    controller = Controller(
        store=store,
        compute=compute,
        actor=actor,
        clock=clock,
        instance_count=instance_count,
        poll_interval_s=0.01,
    )
    task = asyncio.create_task(controller.run())
    await asyncio.sleep(0)  # let it subscribe to the hints of compute
    try:
        yield controller
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition):
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  states of a store send no events
            await asyncio.sleep(0.002)  # the loop under test works in between


async def submitted(store, controller, name="job", **request):
    job = make_job(name, request=make_request(name, **request))
    await store.create(job)
    controller.submit(job)
    return job


def reaches(store, name, *statuses):
    async def reached():
        return (await store.get(name)).secondary_status in statuses

    return reached


def is_released(store, name="job"):
    async def released():
        return (await store.get(name)).released

    return released


def run(scenario):
    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("instance_count", "instances"),
    [(1, {"instance_count": 1}), (3, {"instance_count": 3}), (4, {"resource_config": make_groups(a=1, b=3)})],
    ids=["one", "three", "two groups"],
)
def test_a_job_comes_to_its_end_and_leaves_nothing(instance_count, instances):
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock(), walks=True)
        async with controlling(store, compute) as controller:
            await submitted(store, controller, **instances)
            await until(is_released(store))

        job = await store.get("job")
        assert job.secondary_status is S.COMPLETED
        assert compute.machine.instances == {}
        assert set(compute.machine.launches.values()) == {1}
        assert len(compute.machine.launches) == instance_count

    run(scenario)


def test_a_job_whose_manifest_cannot_be_read_now_waits_for_the_store():
    """Nothing is launched with less than it may need, and nothing is lost: once the store answers the job runs."""
    named = Grant(access="read", bucket="elsewhere", prefix="pool/")
    asked = []

    async def named_by_manifests(job):
        asked.append(job.training_job_name)
        if len(asked) <= 3:
            assert compute.machine.launches == {}
            raise StorageAway("connection refused")
        return (named,)

    store, compute = MemoryStore(), ScriptedCompute(FixedClock(), walks=True)

    async def scenario():
        async with controlling(store, compute, named_by_manifests=named_by_manifests) as controller:
            await submitted(store, controller)
            await until(is_released(store))

        assert (await store.get("job")).secondary_status is S.COMPLETED
        assert set(compute.machine.launches.values()) == {1}
        assert len(asked) >= 4

    run(scenario)


def test_an_instance_gets_its_task_and_credentials_for_its_own_data_alone():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute) as controller:
            await submitted(store, controller, "Job")

            async def launched():
                return "Job-a1-algo-1" in compute.machine.instances

            await until(launched)

        instance = compute.machine.instances["Job-a1-algo-1"]
        assert isinstance(instance.task, InstanceTask)
        assert instance.task.s3_output_prefix == "s3://models/out/Job/output"
        assert [(g.access, g.bucket, g.prefix) for g in instance.grants] == [
            ("read", "data", "train/"),
            ("write", "models", "out/Job/output/"),
        ]

    run(scenario)


def test_jobs_wait_for_room_are_told_so_and_start_in_the_order_in_which_they_came():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute, instance_count=2) as controller:
            await submitted(store, controller, "first", instance_count=1)
            await submitted(store, controller, "big", resource_config=make_groups(a=1, b=1))
            await submitted(store, controller, "small", instance_count=1)

            async def told():
                job = await store.get("big")
                return job.secondary_status_transitions[-1].status_message == "Waiting for free ML instances"

            await until(told)
            assert set(compute.machine.launches) == {"first-a1-algo-1"}

            compute.finish("first-a1-algo-1")

            async def big_runs():
                return {"big-a1-algo-1", "big-a1-algo-2"} <= compute.machine.launches.keys()

            await until(big_runs)
            assert "small-a1-algo-1" not in compute.machine.launches, "a big job is not overtaken"

    run(scenario)


def test_a_job_that_is_stopped_while_it_waits_ends_at_once():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute, instance_count=1) as controller:
            await submitted(store, controller, "first")
            job = await submitted(store, controller, "second")
            job = await store.get("second")
            at = job.creation_time
            await store.commit(transitions.apply(job, Event.STOP, at=at, reason=StopReason.STOP_TRAINING_JOB))
            controller.wake("second")

            await until(is_released(store, "second"))
            assert (await store.get("second")).secondary_status is S.STOPPED
            assert "second-a1-algo-1" not in compute.machine.launches

    run(scenario)


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("verb", ["get", "commit"])
@pytest.mark.parametrize("error", [DatabaseUnavailable("locked"), StaleVersion("job")])
def test_a_database_that_fails_here_and_there_changes_nothing_in_the_end(verb, after_effect, error):
    async def scenario():
        faults = [Fault(verb=verb, error=error, on_call=n, after_effect=after_effect) for n in (1, 3, 6)]
        inner = MemoryStore()
        store = FaultyStore(inner, faults)
        compute = ScriptedCompute(FixedClock(), walks=True)
        async with controlling(store, compute) as controller:
            await submitted(inner, controller)
            await until(is_released(inner))

        job = await inner.get("job")
        assert job.secondary_status is S.COMPLETED
        assert job.attempt == 1
        assert dict(compute.machine.launches) == {"job-a1-algo-1": 1}

    run(scenario)


def test_a_second_controller_finds_what_the_first_launched():
    async def scenario():
        store, machine = MemoryStore(), Machine()
        first = ScriptedCompute(FixedClock(), machine=machine)
        async with controlling(store, first) as controller:
            await submitted(store, controller)

            async def launched():
                return "job-a1-algo-1" in machine.instances

            await until(launched)
            first.advance("job-a1-algo-1")
            await until(reaches(store, "job", S.DOWNLOADING))
        first.advance("job-a1-algo-1")  # goes on while nobody looks

        async with controlling(store, ScriptedCompute(FixedClock(), machine=machine, walks=True)):
            await until(is_released(store))

        assert (await store.get("job")).secondary_status is S.COMPLETED
        assert dict(machine.launches) == {"job-a1-algo-1": 1}

    run(scenario)


def test_an_instance_program_that_died_is_started_again_on_the_same_instance():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute) as controller:
            await submitted(store, controller)

            async def launched(times):
                return compute.machine.launches["job-a1-algo-1"] == times

            await until(lambda: launched(1))
            compute.die("job-a1-algo-1")
            await until(lambda: launched(2))
            compute.finish("job-a1-algo-1")
            await until(is_released(store))

        assert (await store.get("job")).attempt == 1

    run(scenario)


def test_an_instance_that_cannot_be_reached_is_not_given_up():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute) as controller:
            await submitted(store, controller)

            async def launched():
                return "job-a1-algo-1" in compute.machine.instances

            await until(launched)
            compute.unreachable.add("job-a1-algo-1")
            compute.finish("job-a1-algo-1")
            for _ in range(20):
                await asyncio.sleep(0.01)  # several polls, none of which may end the job
            assert (await store.get("job")).training_job_status == "InProgress"
            compute.unreachable.clear()
            await until(is_released(store))

        assert dict(compute.machine.launches) == {"job-a1-algo-1": 1}

    run(scenario)


def test_instances_that_cannot_be_had_fail_the_job_with_the_reason():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        compute.launch_fails = "no room on the disk"
        async with controlling(store, compute) as controller:
            await submitted(store, controller)
            await until(is_released(store))

        assert (await store.get("job")).failure.reason == "InternalServerError: no room on the disk"

    run(scenario)


def test_an_instance_that_belongs_to_no_job_is_released():
    async def scenario():
        store, machine = MemoryStore(), Machine()
        other = MemoryStore()
        async with controlling(other, ScriptedCompute(FixedClock(), machine=machine)) as controller:
            await submitted(other, controller, "lost")

            async def launched():
                return "lost-a1-algo-1" in machine.instances

            await until(launched)

        async def gone():
            return "lost-a1-algo-1" not in machine.instances

        async with controlling(store, ScriptedCompute(FixedClock(), machine=machine)):
            await until(gone)

    run(scenario)


def test_a_lost_program_runs_again_as_the_next_attempt():
    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute) as controller:
            await submitted(store, controller)

            async def launched(name):
                return name in compute.machine.instances

            await until(lambda: launched("job-a1-algo-1"))
            compute.lose("job-a1-algo-1")
            await until(lambda: launched("job-a2-algo-1"))
            compute.finish("job-a2-algo-1")
            await until(is_released(store))

        job = await store.get("job")
        assert [t.status for t in job.secondary_status_transitions][:2] == [S.STARTING, S.STARTING]
        assert job.secondary_status is S.COMPLETED
        assert "job-a1-algo-1" in compute.machine.released

    run(scenario)


def test_a_job_counts_as_released_only_when_nothing_of_any_attempt_is_left():
    """Else a later job of its name would find what it left, and take it for its own."""

    async def scenario():
        store, compute = MemoryStore(), ScriptedCompute(FixedClock())
        async with controlling(store, compute) as controller:
            await submitted(store, controller)

            async def launched(name):
                return name in compute.machine.instances

            await until(lambda: launched("job-a1-algo-1"))
            left = compute.machine.instances["job-a1-algo-1"]
            compute.lose("job-a1-algo-1")
            await until(lambda: launched("job-a2-algo-1"))
            compute.machine.instances["job-a1-algo-1"] = left  # as if the server had died before it was released
            compute.unreachable.add("job-a1-algo-1")
            compute.finish("job-a2-algo-1")
            await until(reaches(store, "job", S.COMPLETED))
            for _ in range(20):
                await asyncio.sleep(0.01)  # several polls, none of which may call it released
            assert not (await store.get("job")).released
            compute.unreachable.clear()
            await until(is_released(store))

        assert compute.machine.instances == {}

    run(scenario)


class SlowStore(MemoryStore):
    """A store in which others may get in between a question and its answer."""

    def __init__(self):
        super().__init__()
        self.on_get = None

    async def get(self, training_job_name):
        job = await super().get(training_job_name)
        if self.on_get is not None and job.released:
            intruder, self.on_get = self.on_get, None
            await intruder(job)
        return job


@pytest.mark.parametrize("hosts", [1, 2], ids=["with room", "without room"])
def test_a_job_that_takes_the_name_of_a_deleted_one_is_not_forgotten_with_it(hosts):
    """It is created while a pass is under way that still has the deleted one in hand."""

    async def scenario():
        store, compute = SlowStore(), ScriptedCompute(FixedClock())
        launches = compute.machine.launches
        async with controlling(store, compute, instance_count=2) as controller:

            async def launched(name, times=1):
                return launches[name] == times

            async def replace(job):
                await store.delete(job)
                later = make_job("job", at=job.creation_time + 5, request=make_request("job", instance_count=hosts))
                await store.create(later)
                controller.submit(later)

            await submitted(store, controller, "other")
            await submitted(store, controller, "job")
            await until(lambda: launched("other-a1-algo-1"))
            await until(lambda: launched("job-a1-algo-1"))
            store.on_get = replace
            compute.finish("job-a1-algo-1")

            async def replaced():
                return store.on_get is None

            await until(replaced)
            if hosts == 2:
                compute.finish("other-a1-algo-1")
            await until(lambda: launched("job-a1-algo-1", times=2))
            for host in (await store.get("job")).hosts:
                await until(lambda host=host: launched(f"job-a1-{host}", times=2 if host == "algo-1" else 1))
            assert (await store.get("job")).attempt == 1

    run(scenario)


def test_a_sweep_leaves_the_instances_of_a_job_that_took_the_name_of_a_deleted_one():
    """What it took for a stray when it began belongs to a job when it comes to releasing."""

    class Store(MemoryStore):
        hidden = 2  # the start and the first sweep do not see the job yet when they read what is left to do

        async def unreleased(self):
            if compute.machine.instances and self.hidden:
                self.hidden -= 1
                return ()
            return await super().unreleased()

    machine = Machine()
    store, compute = MemoryStore(), ScriptedCompute(FixedClock(), machine=machine)

    async def scenario():
        async with controlling(store, compute) as controller:
            await submitted(store, controller)

            async def launched():
                return "job-a1-algo-1" in machine.instances

            await until(launched)
        blind = Store()
        blind.__dict__.update(store.__dict__)
        async with controlling(blind, compute):
            for _ in range(5):
                await asyncio.sleep(0.01)  # lets the sweep end
            assert blind.hidden == 0
            assert machine.released == []

    run(scenario)


def test_a_job_that_is_deleted_while_the_controller_starts_does_no_harm():
    async def scenario():
        inner = MemoryStore()
        for name in ("gone", "there"):
            await inner.create(make_job(name))
        store = FaultyStore(inner, [Fault(verb="get", error=NoSuchJob("gone"), training_job_name="gone")])
        async with controlling(store, ScriptedCompute(FixedClock(), walks=True)):
            await until(is_released(inner, "there"))

    run(scenario)


class TestQueue:
    """The queue by itself."""

    def test_a_job_larger_than_everything_runs_alone_rather_than_never(self):
        queue = InstanceQueue(2)
        queue.wait("huge", 5)

        assert queue.may_launch("huge")

        queue.leave("huge")
        queue.wait("small", 1)
        queue.hold("small", 1)
        queue.wait("huge", 5)
        assert not queue.may_launch("huge")

    def test_a_job_that_holds_instances_does_not_queue_again(self):
        queue = InstanceQueue(2)
        queue.hold("job", 1)
        queue.wait("job", 1)

        assert not queue.is_waiting("job")
        assert queue.free == 1

    def test_the_next_is_the_first_for_which_there_is_room(self):
        queue = InstanceQueue(2)
        queue.hold("runs", 1)
        queue.wait("big", 2)
        queue.wait("small", 1)

        assert queue.next() is None
        queue.leave("runs")
        assert queue.next() == "big"
