"""The operations on training jobs: Create, Describe, List, Stop.

Called by the gateway through `operations`, with parameters that obey the API model. Each operation records a wish in one
short transaction, wakes the controller and answers; nothing here acts on an instance.

Source: API model; error texts as SageMaker gives them.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from clary.aws.errors import ResourceInUse, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.base.arn import training_job_arn
from clary.base.clock import Clock
from clary.compute.port import Capabilities
from clary.jobs import transitions
from clary.jobs.model import Program, TrainingJob, TrainingJobRequest
from clary.jobs.status import Event, SecondaryStatus, TrainingJobStatus
from clary.jobs.task import StopReason
from clary.service.algorithm_use import metrics_of, under_algorithm
from clary.service.algorithms import Algorithms
from clary.service.checkpoint_rules import check_checkpoints
from clary.service.data_checks import DataChecks
from clary.service.images import ImageCatalogue
from clary.service.members import refuse_unsupported
from clary.service.named_resources import named_job, rejected
from clary.service.registry_logins import provider_arn
from clary.service.rules import check_kms_key, check_needed, check_request
from clary.service.shapes import instant, to_description, to_request, to_summary
from clary.service.tags import new_tags
from clary.store.port import Cursor, ListQuery, NameTaken, NoSuchJob, SortBy, StaleVersion, Store

DEFAULT_PAGE_SIZE = 10
DELETING = "Deleting"
"""A status of the API model that no job here is ever in: it is deleted in one step."""


class TrainingJobs:
    """The operations. `find_key` answers or refuses a KMS key; `submit` gives a new job to the controller; `wake` tells it, by name, that another has changed."""

    def __init__(
        self,
        *,
        store: Store,
        images: ImageCatalogue,
        algorithms: Algorithms,
        checks: DataChecks,
        tokens: PageTokens,
        clock: Clock,
        find_key: Callable[[str | None], object],
        capabilities: Callable[[Program], Capabilities],
        submit: Callable[[TrainingJob], None],
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._images = images
        self._algorithms = algorithms
        self._checks = checks
        self._tokens = tokens
        self._clock = clock
        self._find_key = find_key
        self._capabilities = capabilities
        self._submit = submit
        self._wake = wake

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list,
            "StopTrainingJob": self.stop,
        }

    async def create(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """CreateTrainingJob. When this answers, the job is durable."""
        check_needed(params)
        refuse_unsupported(params)
        tags = new_tags(params)
        request, program = await self._resolve(context, params)
        check_request(request, self._capabilities(program))
        check_kms_key(request.output_data_config.kms_key_id, self._find_key)
        check_checkpoints(request.checkpoint_config, program)
        await self._checks.check(request)
        arn = training_job_arn(context.region, context.account_id, request.training_job_name)
        job = transitions.create(request, training_job_arn=arn, program=program, now=self._clock.now(), tags=tags)
        try:
            await self._store.create(job)
        except NameTaken as taken:
            raise ResourceInUse(
                "Training job names must be unique within an AWS account and region, and a training job with this name "
                f"already exists ({taken.training_job_arn})"
            ) from None
        self._submit(job)
        return {"TrainingJobArn": arn}

    async def describe(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeTrainingJob."""
        return to_description(await named_job(self._store, params["TrainingJobName"]))

    async def list(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListTrainingJobs: newest first unless told otherwise. A filter on status never leaves a page short."""
        query = _query(params)
        if params.get("StatusEquals") == DELETING:
            return {"TrainingJobSummaries": []}
        key = {"operation": "ListTrainingJobs", "query": msgspec.to_builtins(query)}
        token = params.get("NextToken")
        after = typed.convert(self._tokens.read(token, key), Cursor) if token else None
        page = await self._store.list(query, limit=params.get("MaxResults", DEFAULT_PAGE_SIZE), after=after)
        answer: dict[str, Any] = {"TrainingJobSummaries": [to_summary(summary) for summary in page.summaries]}
        if page.cursor is not None:
            answer["NextToken"] = self._tokens.issue(page.cursor, key)
        return answer

    async def stop(self, _context: RequestContext, params: dict[str, Any]) -> None:
        """StopTrainingJob: Stopping at once. Stopping a job that is stopping is accepted (inferred)."""
        name = params["TrainingJobName"]
        while True:
            job = await named_job(self._store, name)
            if job.is_terminal:
                raise ValidationException(rejected(job))
            if job.secondary_status is SecondaryStatus.STOPPING:
                break
            now = self._clock.now()
            stopping = transitions.apply(job, Event.STOP, at=now, reason=StopReason.STOP_TRAINING_JOB)
            try:
                await self._store.commit(transitions.touch(stopping, now))
            except (StaleVersion, NoSuchJob):
                continue  # somebody else wrote or deleted it in between: read again
            break
        self._wake(name)

    async def _resolve(self, context: RequestContext, params: dict[str, Any]) -> tuple[TrainingJobRequest, Program]:
        """The typed request with what its image or its algorithm adds, and the program that stands for the image."""
        specification = params["AlgorithmSpecification"]
        if "AlgorithmName" not in specification:
            image = self._images.resolve(specification["TrainingImage"], provider_arn=provider_arn(specification))
            return to_request(params, image_metrics=image.metric_definitions), image.program
        algorithm = await self._algorithms.named(context, specification["AlgorithmName"])
        pinned = algorithm.request.training_specification.pinned_image
        image = self._images.resolve(pinned, provider_arn=provider_arn(specification))
        request = to_request(params, image_metrics=metrics_of(algorithm, image.metric_definitions))
        return under_algorithm(request, algorithm), image.program


def _query(params: dict[str, Any]) -> ListQuery:
    for name in ("WarmPoolStatusEquals", "TrainingPlanArnEquals"):
        if params.get(name):
            raise ValidationException(
                f"The filter {name} is not supported: there are no warm pools and training plans."
            )
    status = params.get("StatusEquals")
    return ListQuery(
        sort_by=SortBy(params.get("SortBy", SortBy.CREATION_TIME)),
        descending=params.get("SortOrder", "Descending") == "Descending",
        status_equals=None if status in {None, DELETING} else TrainingJobStatus(status),
        name_contains=params.get("NameContains"),
        creation_time_after=instant(params.get("CreationTimeAfter")),
        creation_time_before=instant(params.get("CreationTimeBefore")),
        last_modified_time_after=instant(params.get("LastModifiedTimeAfter")),
        last_modified_time_before=instant(params.get("LastModifiedTimeBefore")),
    )
