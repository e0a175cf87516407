"""The operations on algorithms: Create, Describe, List, Delete; and the look-up of the algorithm that a training job names.

Called by the gateway through `operations`, and by `training_jobs`. An algorithm is Completed at once: there are no
validation profiles to run and nothing is scanned.

Source: API model. "Algorithm … does not exist." is an observed text; that of a name which is taken is inferred from the
one of model package groups. Both are ValidationExceptions, as the model has no error of its own for them.
"""

from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.base.arn import algorithm_arn
from clary.base.clock import Clock
from clary.jobs.algorithm import Algorithm, AlgorithmRequest
from clary.service.algorithm_members import REFUSED_ALGORITHM_MEMBERS
from clary.service.algorithm_rules import check_input_modes, check_specification
from clary.service.images import ImageCatalogue
from clary.service.members import refuse_unsupported
from clary.service.shapes import instant, seconds
from clary.service.tags import new_tags
from clary.store.algorithm_port import (
    AlgorithmCursor,
    AlgorithmNameTaken,
    AlgorithmQuery,
    AlgorithmSortBy,
    AlgorithmStore,
    AlgorithmSummary,
    NoSuchAlgorithm,
)

DEFAULT_PAGE_SIZE = 10


class Algorithms:
    """The operations."""

    def __init__(self, *, store: AlgorithmStore, images: ImageCatalogue, tokens: PageTokens, clock: Clock) -> None:
        self._store = store
        self._images = images
        self._tokens = tokens
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "CreateAlgorithm": self.create,
            "DescribeAlgorithm": self.describe,
            "ListAlgorithms": self.list,
            "DeleteAlgorithm": self.delete,
        }

    async def create(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """CreateAlgorithm. When this answers, the algorithm is durable and ready."""
        refuse_unsupported(params, REFUSED_ALGORITHM_MEMBERS)
        tags = new_tags(params)
        request = typed.convert(params, AlgorithmRequest)
        specification = request.training_specification
        check_input_modes(specification)
        check_specification(specification)
        self._images.resolve(specification.pinned_image)  # an image that nothing can run is refused here already
        algorithm = Algorithm(
            algorithm_name=request.algorithm_name,
            algorithm_arn=algorithm_arn(context.region, context.account_id, request.algorithm_name),
            request=request,
            creation_time=self._clock.now(),
            tags=tags,
        )
        try:
            await self._store.create(algorithm)
        except AlgorithmNameTaken as taken:
            raise ValidationException(f"Algorithm already exists: {taken.algorithm_arn}") from None
        return {"AlgorithmArn": algorithm.algorithm_arn}

    async def describe(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeAlgorithm, by name or ARN."""
        algorithm = await self.named(context, params["AlgorithmName"])
        answer: dict[str, Any] = msgspec.to_builtins(algorithm.request)
        return answer | {
            "AlgorithmArn": algorithm.algorithm_arn,
            "CreationTime": seconds(algorithm.creation_time),
            "AlgorithmStatus": algorithm.algorithm_status,
            "AlgorithmStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},  # (inferred)
        }

    async def list(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListAlgorithms: oldest first unless told otherwise (documented); ten a page without MaxResults (inferred)."""
        query = AlgorithmQuery(
            sort_by=AlgorithmSortBy(params.get("SortBy", AlgorithmSortBy.CREATION_TIME)),
            descending=params.get("SortOrder") == "Descending",
            name_contains=params.get("NameContains"),
            creation_time_after=instant(params.get("CreationTimeAfter")),
            creation_time_before=instant(params.get("CreationTimeBefore")),
        )
        key = {"operation": "ListAlgorithms", "query": msgspec.to_builtins(query)}
        token = params.get("NextToken")
        after = typed.convert(self._tokens.read(token, key), AlgorithmCursor) if token else None
        page = await self._store.list(query, limit=params.get("MaxResults", DEFAULT_PAGE_SIZE), after=after)
        answer: dict[str, Any] = {"AlgorithmSummaryList": [_summary(summary) for summary in page.summaries]}
        if page.cursor is not None:
            answer["NextToken"] = self._tokens.issue(page.cursor, key)
        return answer

    async def delete(self, context: RequestContext, params: dict[str, Any]) -> None:
        """DeleteAlgorithm, by name. Training jobs that use it keep what they took from it (inferred)."""
        algorithm = await self.named(context, params["AlgorithmName"])
        try:
            await self._store.delete(algorithm.algorithm_name)
        except NoSuchAlgorithm:
            raise _does_not_exist(algorithm.algorithm_arn) from None

    async def named(self, context: RequestContext, name_or_arn: str) -> Algorithm:
        """The algorithm of that name, spelt exactly, or of that ARN, letter case of the name aside (inferred).

        Raises `ValidationException` if there is none.
        """
        name = name_or_arn.rpartition("/")[2]
        by_arn = name != name_or_arn
        arn = algorithm_arn(context.region, context.account_id, name)
        if by_arn and name_or_arn[: -len(name)] != arn[: -len(name)]:
            raise _does_not_exist(name_or_arn)  # something else, or of another account, region or partition
        try:
            algorithm = await self._store.get(name)
        except NoSuchAlgorithm:
            raise _does_not_exist(arn) from None
        if not by_arn and algorithm.algorithm_name != name:
            raise _does_not_exist(arn)
        return algorithm


def _does_not_exist(arn: str) -> ValidationException:
    return ValidationException(f"Algorithm {arn} does not exist.")


def _summary(summary: AlgorithmSummary) -> dict[str, Any]:
    """One entry of AlgorithmSummaryList."""
    shown: dict[str, Any] = {
        "AlgorithmName": summary.algorithm_name,
        "AlgorithmArn": summary.algorithm_arn,
        "CreationTime": seconds(summary.creation_time),
        "AlgorithmStatus": summary.algorithm_status,
    }
    if summary.algorithm_description is not None:
        shown["AlgorithmDescription"] = summary.algorithm_description
    return shown
