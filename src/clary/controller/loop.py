"""The reconcile loop: observe, decide, commit, act, for every job that is not done.

Started by `app`. A job is looked at when somebody wakes it (a request, a report of an instance) and, whatever wakes get
lost, every `poll_interval_s`. One pass at a time for each job, many jobs side by side. Only jobs that are not done are
known here, so that the cost of a pass, and of the loop, does not grow with the number of finished jobs.

The commit comes before the act: a controller that lost a race learns it there and touches nothing. An act that failed is
logged and decided again at the next pass.

Cancelling `run` is a shutdown, not a stop: instances go on, and the next loop finds them.
"""

import asyncio
import contextlib
import re
from itertools import islice

from clary.base import faults
from clary.base.clock import Clock
from clary.base.telemetry import get_logger
from clary.compute.port import Compute, LaunchFailed, Unreachable
from clary.controller.act import Actor
from clary.controller.decide import decide, launch_failed
from clary.controller.observe import leftovers, observe
from clary.controller.queue import InstanceQueue
from clary.jobs import transitions
from clary.jobs.model import TrainingJob
from clary.jobs.status import SecondaryStatus
from clary.jobs.task import instance_name
from clary.store.port import NoSuchJob, StaleVersion, Store

faults.declare("controller.decided", "controller.committed", "controller.acted")

SWEEP_INTERVAL_S = 60.0
TELL_AT_ONCE = 100
"""To how many waiting jobs each poll tells that they wait."""

_INSTANCE_NAME = re.compile(r"(.+)-a\d+-algo-\d+")

_log = get_logger("controller")


class Controller:
    """Brings every job to its end."""

    def __init__(
        self,
        *,
        store: Store,
        compute: Compute,
        actor: Actor,
        clock: Clock,
        instance_count: int,
        poll_interval_s: float = 3.0,
    ) -> None:
        self._store = store
        self._compute = compute
        self._actor = actor
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._queue = InstanceQueue(instance_count)
        self._passes: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._open: set[str] = set()
        self._untold: dict[str, None] = {}
        self._closing = False

    def wake(self, training_job_name: str) -> None:
        """Look at this job soon. Must be called on the event loop."""
        if self._closing:
            return
        self._open.add(training_job_name)
        if training_job_name in self._passes:
            self._again.add(training_job_name)
        else:
            self._passes[training_job_name] = asyncio.create_task(self._work(training_job_name))

    def submit(self, job: TrainingJob) -> None:
        """Take up a job that has no instances yet. Must be called on the event loop.

        A job for which there is no room costs nothing here: a burst of requests is not slowed by its own queue. That it
        waits is written on it a little later, by the poll.
        """
        name = job.training_job_name
        self._open.add(name)
        self._queue.wait(name, job.request.resource_config.all_instances_count)
        # A pass may be under way on a job of that name which was deleted: at its end it forgets whom it knows by it.
        if self._queue.may_launch(name) or name in self._passes:
            self.wake(name)
        else:
            self._untold[name] = None

    async def run(self) -> None:
        """Work until cancelled; then let running passes end, and return with every instance left as it is."""
        self._compute.on_change(self._instance_changed)
        for job in await self._unreleased():
            name = job.training_job_name
            if job.attempt and not job.is_terminal:
                self._queue.hold(name, len(job.hosts))
            if job.attempt or job.secondary_status is not SecondaryStatus.STARTING:
                self.wake(name)
            else:
                self.submit(job)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll())
                group.create_task(self._sweep())
        finally:
            self._closing = True
            await asyncio.gather(*self._passes.values(), return_exceptions=True)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            for name in tuple(self._open):
                if not self._queue.is_waiting(name):
                    self.wake(name)
            for name in tuple(islice(self._untold, TELL_AT_ONCE)):
                self.wake(name)
            self._wake_next()

    async def _sweep(self) -> None:
        """Release instances that belong to no present attempt: what a crash in the middle of a release leaves."""
        while True:
            try:
                found = await self._compute.stray()  # before the jobs are read: one launched after this is not in it
                wanted = {name for job in await self._unreleased() for name in _instance_names(job)}
                for stray in set(found) - wanted:
                    if not await self._is_wanted(stray):
                        _log.warning("stray instance released", instance=stray)
                        await self._compute.release(stray)
            except Exception:  # noqa: BLE001  the next sweep tries again; a bad directory must not end the loop
                _log.error("sweep failed")
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def _unreleased(self) -> list[TrainingJob]:
        jobs = []
        for name in await self._store.unreleased():
            with contextlib.suppress(NoSuchJob):  # released and deleted since
                jobs.append(await self._store.get(name))
        return jobs

    async def _is_wanted(self, instance: str) -> bool:
        """Whether a job has this instance by now: a deleted job's name may have been used again since the sweep began."""
        match = _INSTANCE_NAME.fullmatch(instance)
        try:
            return match is not None and instance in _instance_names(await self._store.get(match[1]))
        except NoSuchJob:
            return False

    def _instance_changed(self, name: str) -> None:
        match = _INSTANCE_NAME.fullmatch(name)
        if match:
            self.wake(match[1])

    def _wake_next(self) -> None:
        waiting = self._queue.next()
        if waiting is not None:
            self.wake(waiting)

    async def _work(self, name: str) -> None:
        self._untold.pop(name, None)
        try:
            again = True
            while again and not self._closing:
                self._again.discard(name)
                again = await self._pass(name) or name in self._again
        except StaleVersion:
            self._again.add(name)  # somebody else wrote first: what was computed is dropped, the next pass sees theirs
        except Unreachable as reason:
            _log.warning("instance unreachable", training_job_name=name, why=str(reason))
        except NoSuchJob:
            self._forget(name)
        except Exception:  # noqa: BLE001  one job's trouble must not end the others; the poll comes back to it
            _log.error("pass failed", training_job_name=name)
        finally:
            del self._passes[name]
            if name in self._again:
                self.wake(name)

    async def _pass(self, name: str) -> bool:
        """One pass; the answer is whether the next should follow at once."""
        job = await self._store.get(name)
        if job.released:
            self._forget(name)
            return False
        self._open.add(name)  # again, if the pass before this one forgot a deleted job of the same name
        if job.is_terminal:
            # Before the job counts as released: from then on it may be deleted, and a new job of its name would find them.
            await self._actor.act(job, await leftovers(job, self._compute))
        if job.attempt == 0 and not job.is_terminal:
            self._queue.wait(name, len(job.hosts))
        hosts = await observe(job, self._compute)
        decision = decide(job, hosts, now=self._clock.now(), may_launch=self._queue.may_launch(name))
        faults.point("controller.decided")
        changed = decision.job != job
        if changed:
            job = await self._commit(decision.job, before=job)
            faults.point("controller.committed")
        try:
            await self._actor.act(job, decision.intents)
        except LaunchFailed as reason:
            _log.error("launch failed", training_job_arn=job.training_job_arn)
            job = await self._commit(launch_failed(job, str(reason), now=self._clock.now()), before=job)
            changed = True
        faults.point("controller.acted")
        return changed

    async def _commit(self, job: TrainingJob, *, before: TrainingJob) -> TrainingJob:
        written = await self._store.commit(transitions.touch(job, self._clock.now()))
        if written.secondary_status is not before.secondary_status:
            _log.info(
                "status changed", training_job_arn=written.training_job_arn, secondary_status=written.secondary_status
            )
        if written.attempt and not written.is_terminal:
            self._queue.hold(written.training_job_name, len(written.hosts))
            self._wake_next()
        elif written.is_terminal:
            self._queue.leave(written.training_job_name)
            self._wake_next()
        return written

    def _forget(self, name: str) -> None:
        self._open.discard(name)
        self._untold.pop(name, None)
        self._queue.leave(name)
        self._wake_next()


def _instance_names(job: TrainingJob) -> set[str]:
    """The instances that the job may have; none once it is released."""
    return set() if job.released else {instance_name(job.training_job_name, job.attempt, host) for host in job.hosts}
