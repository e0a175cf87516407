"""Search and GetSearchSuggestions, for training jobs.

Called by the gateway through `operations`. What an expression means is in `clary.jobs.search`, how jobs are found in the
store; here the request is read, and a job becomes a record.

Source: API model. The page size without MaxResults, the number of suggestions and the texts of refusals are inferred.
"""

from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.jobs.model import TrainingJob
from clary.jobs.search import Kind, Record, SearchQuery
from clary.service.search_expression import parse
from clary.service.search_properties import MEMBERS, resolve
from clary.service.shapes import to_description
from clary.store.port import SearchCursor, Store

RESOURCE = "TrainingJob"
DEFAULT_PAGE_SIZE = 10
SUGGESTIONS_MAX = 100


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a token holds: where to go on, and how many results there were so far."""

    cursor: SearchCursor
    hits: int


class Search:
    """The operations."""

    def __init__(self, *, store: Store, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {"Search": self.search, "GetSearchSuggestions": self.suggest}

    async def search(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """Search. A page may be short, even empty, and have a NextToken. TotalHits counts the results up to this page."""
        _check_resource(params)
        if params.get("CrossAccountFilterOption", "SameAccount") != "SameAccount":
            raise ValidationException("CrossAccountFilterOption is not supported: there are no other accounts here.")
        if params.get("VisibilityConditions"):
            raise ValidationException("VisibilityConditions is not supported; use a filter on Tags.<key> instead.")
        query = _query(params)
        key = {"operation": "Search", "query": msgspec.to_builtins(query)}
        token = params.get("NextToken")
        place = typed.convert(self._tokens.read(token, key), _Place) if token else None
        page = await self._store.search(
            query,
            limit=params.get("MaxResults", DEFAULT_PAGE_SIZE),
            record=to_record,
            after=None if place is None else place.cursor,
        )
        hits = len(page.records) + (0 if place is None else place.hits)
        answer: dict[str, Any] = {
            "Results": [{RESOURCE: record} for record in page.records],
            "TotalHits": {"Value": hits, "Relation": "EqualTo" if page.cursor is None else "GreaterThanOrEqualTo"},
        }
        if page.cursor is not None:
            answer["NextToken"] = self._tokens.issue(_Place(cursor=page.cursor, hits=hits), key)
        return answer

    async def suggest(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GetSearchSuggestions: names of hyperparameters, metrics and tags that begin with the hint, in order."""
        _check_resource(params)
        hint = params.get("SuggestionQuery", {}).get("PropertyNameQuery", {}).get("PropertyNameHint", "")
        names = await self._store.property_names(hint, limit=SUGGESTIONS_MAX)
        return {"PropertyNameSuggestions": [{"PropertyName": name} for name in names]}


def to_record(job: TrainingJob) -> Record:
    """A job as Search shows it, and judges it: what Describe says, as far as a TrainingJob record has it, and the tags."""
    record = {name: value for name, value in to_description(job).items() if name in MEMBERS}
    if job.tags:
        record["Tags"] = msgspec.to_builtins(job.tags)
    return record


def _query(params: dict[str, Any]) -> SearchQuery:
    sort_by = resolve(params.get("SortBy", "LastModifiedTime"))
    if sort_by.kind is Kind.GROUP:
        raise ValidationException(f"Results cannot be sorted by {sort_by.name}: it is no single value.")
    expression = params.get("SearchExpression")
    return SearchQuery(
        sort_by=sort_by,
        expression=None if expression is None else parse(expression),
        descending=params.get("SortOrder", "Descending") == "Descending",
    )


def _check_resource(params: dict[str, Any]) -> None:
    if params["Resource"] != RESOURCE:
        raise ValidationException(
            f"The resource {params['Resource']} is not supported: only {RESOURCE} can be searched here."
        )
