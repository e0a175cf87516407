"""The operations that change a training job which is there: UpdateTrainingJob and DeleteTrainingJob.

Called by the gateway through `operations`. A job is deleted only when the controller is done with it: then no late write
can bring it back, and no instance of it is left that a later job of the same name could be taken for. Its logs and its
artifacts stay, as on SageMaker.

Source: API model; texts are inferred unless a comment says otherwise.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from clary.aws.errors import ResourceInUse, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.base.clock import Clock
from clary.base.telemetry import get_logger
from clary.jobs import transitions
from clary.jobs.model import TrainingJob
from clary.jobs.status import TrainingJobStatus
from clary.service.debugger_rules import check_profiler
from clary.service.members import refuse_unsupported
from clary.service.named_resources import named_job, rejected
from clary.service.update_members import REFUSED_UPDATE_MEMBERS
from clary.store.port import NoSuchJob, StaleVersion, Store

RELEASE_PATIENCE_S = 10.0
RELEASE_POLL_S = 0.02
"""How long, and how often, a delete looks whether the instances of an ended job are gone. Mostly they are at once."""

_log = get_logger("service")


class TrainingJobChanges:
    """The operations. `wake` tells the controller to look at a job, by its name."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        wake: Callable[[str], None],
        release_patience_s: float = RELEASE_PATIENCE_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._release_patience_s = release_patience_s

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {"UpdateTrainingJob": self.update, "DeleteTrainingJob": self.delete}

    async def update(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateTrainingJob: members of ProfilerConfig that are not given stay what they were (inferred)."""
        name = params["TrainingJobName"]
        if params.keys() == {"TrainingJobName"}:
            # observed text, without a full stop
            raise ValidationException("Invalid UpdateTrainingJobRequest, the request cannot be empty")
        refuse_unsupported(params, REFUSED_UPDATE_MEMBERS)
        check_profiler(params.get("ProfilerConfig", {}))
        while True:
            job = await named_job(self._store, name)
            if "ProfilerConfig" in params:
                if job.training_job_status is not TrainingJobStatus.IN_PROGRESS:
                    raise ValidationException(rejected(job))
                present = job.request.recorded.get("ProfilerConfig", {})
                now = self._clock.now()
                updated = transitions.record(job, {"ProfilerConfig": present | params["ProfilerConfig"]})
                try:
                    await self._store.commit(transitions.touch(updated, now))
                except (StaleVersion, NoSuchJob):
                    continue  # somebody else wrote in between: read again
            return {"TrainingJobArn": job.training_job_arn}

    async def delete(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """DeleteTrainingJob. When this answers, the job is gone and its name is free.

        A job that has ended a moment ago may still have instances; they are waited for.
        """
        name = params["TrainingJobName"]
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + self._release_patience_s
        woken = False
        while True:
            job = await named_job(self._store, name)
            if not job.is_terminal:
                raise ResourceInUse(rejected(job))
            if job.released:
                await self._end_of_its_last_second(job)
                try:
                    await self._store.delete(job)
                except (StaleVersion, NoSuchJob):
                    continue  # somebody else wrote or deleted it in between: read again
                _log.info("job deleted", training_job_arn=job.training_job_arn)
                return
            if loop.time() >= patient_until:
                raise ResourceInUse("The ML instances of the training job are still being released. Try again later.")
            if not woken:
                woken = True
                self._wake(name)
            await asyncio.sleep(RELEASE_POLL_S)

    async def _end_of_its_last_second(self, job: TrainingJob) -> None:
        """Log streams are named by the second in which a program starts: a later job of the name must get another one."""
        ended_at = job.training_end_time or job.last_modified_time
        remaining_ms = 1000 - ended_at % 1000 - (self._clock.now() - ended_at)
        if 0 < remaining_ms <= 1000:
            await asyncio.sleep(remaining_ms / 1000)
