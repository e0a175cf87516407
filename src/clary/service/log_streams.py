"""The operations of CloudWatch Logs that training clients use: groups, streams, events, and events by a filter pattern.

Called by the gateway through `operations`. The store answers with pages; here they get the API's names and limits.
Reading runs in a thread, since a page may touch a megabyte of files.

Source: API model of CloudWatch Logs; what clients cannot do without: a stream list without `nextToken` on its last page
(SDK v2 loops for ever otherwise) and a forward token that stays good.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from clary.aws.errors import AwsError, ResourceNotFoundException, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.base.arn import log_group_arn
from clary.base.clock import Instant
from clary.logs.port import (
    MAX_PAGE_EVENTS,
    MAX_PAGE_STREAMS,
    BadToken,
    GroupInfo,
    LogStore,
    NoSuchGroup,
    NoSuchStream,
    StreamOrder,
)
from clary.logs.tokens import ListPosition, event_id, list_token
from clary.service.filter_pattern import InvalidPattern, compile_pattern
from clary.service.log_filter import Cursor, Query, filter_events

_T = TypeVar("_T")
_REFUSED = "The specified nextToken is invalid."
_NEWEST_FIRST_SINCE = 1_704_067_200_000  # 2024-01-01 UTC, milliseconds. Source: API model, startFromHead


class LogStreams:
    """The operations."""

    def __init__(self, store: LogStore, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "DescribeLogGroups": self.describe_log_groups,
            "DescribeLogStreams": self.describe_log_streams,
            "FilterLogEvents": self.filter_log_events,
            "GetLogEvents": self.get_log_events,
        }

    async def describe_log_groups(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeLogGroups. `storedBytes` is left out: counting every stream's bytes has no bound.

        Every group is of the class STANDARD; there are no linked accounts.
        """
        wanted = _GroupFilter(params)
        limit = params.get("limit", MAX_PAGE_STREAMS)
        found: list[GroupInfo] = []
        token = params.get("nextToken")
        while True:
            page = await _read(partial(self._store.groups, prefix=wanted.prefix, token=token))
            found += [group for group in page.groups if wanted.admits(group.name)]
            token = page.token
            if token is None or len(found) > limit:
                break
        groups = []
        for group in found[:limit]:
            arn = log_group_arn(context.region, context.account_id, group.name)
            told: dict[str, Any] = {
                "logGroupName": group.name,
                "creationTime": group.creation_time,
                "arn": f"{arn}:*",
            }
            if "logGroupNamePattern" not in params:  # with it, these three are all (Source: API model)
                told |= {"metricFilterCount": 0, "logGroupClass": "STANDARD", "logGroupArn": arn}
            groups.append(told)
        answer: dict[str, Any] = {"logGroups": groups}
        if len(found) > limit:
            answer["nextToken"] = list_token(ListPosition(found[limit - 1].name, None))
        return answer

    async def filter_log_events(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """FilterLogEvents. `interleaved` is taken for true and `searchedLogStreams` is empty, as on AWS since 2020."""
        names, prefix = params.get("logStreamNames"), params.get("logStreamNamePrefix")
        if names and prefix:
            raise _invalid("logStreamNames and logStreamNamePrefix cannot both be given.")
        group, pattern = _group(params), params.get("filterPattern", "")
        try:
            matches = compile_pattern(pattern)
        except InvalidPattern as error:
            raise _invalid(f"Invalid filter pattern: {error}") from None
        start, end = params.get("startTime"), params.get("endTime")
        query = Query(
            group=group,
            names=tuple(names) if names else None,
            prefix=prefix or "",
            start_time=None if start is None else Instant(start),
            end_time=None if end is None else Instant(end),
            matches=matches,
            limit=params.get("limit", MAX_PAGE_EVENTS),
        )
        bound = {
            "operation": "FilterLogEvents",
            "group": group,
            "names": names,
            "prefix": prefix,
            "start": start,
            "end": end,
            "pattern": pattern,
        }
        cursor = self._cursor(params, bound)
        page = await _read(lambda: filter_events(self._store, query, cursor))
        answer: dict[str, Any] = {
            "events": [
                {
                    "logStreamName": stream,
                    "timestamp": event.timestamp,
                    "message": event.message,
                    "ingestionTime": event.ingestion_time,
                    "eventId": event_id(group, stream, event.number),
                }
                for stream, event in page.events
            ],
            "searchedLogStreams": [],
        }
        if page.cursor is not None:
            answer["nextToken"] = self._tokens.issue(page.cursor, bound)
        return answer

    def _cursor(self, params: dict[str, Any], bound: dict[str, Any]) -> Cursor:
        token = params.get("nextToken")
        if token is not None:
            try:
                return typed.convert(self._tokens.read(token, bound), Cursor)
            except (ValidationException, msgspec.ValidationError):
                raise _invalid(_REFUSED) from None
        from_head = params.get("startFromHead", True)
        if not from_head and params.get("startTime", 0) < _NEWEST_FIRST_SINCE:
            raise _invalid("startFromHead can be false only when startTime is on or after Jan 1, 2024 00:00:00 UTC.")
        return Cursor(from_head)

    async def describe_log_streams(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeLogStreams."""
        group = _group(params)
        order = StreamOrder(params.get("orderBy", StreamOrder.NAME))
        prefix = params.get("logStreamNamePrefix", "")
        if prefix and order is StreamOrder.LAST_EVENT_TIME:
            raise _invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        page = await _read(
            lambda: self._store.streams(
                group,
                prefix=prefix,
                order_by=order,
                descending=params.get("descending", False),
                limit=params.get("limit", MAX_PAGE_STREAMS),
                token=params.get("nextToken"),
            )
        )
        arn = log_group_arn(context.region, context.account_id, group)
        streams = []
        for info in page.streams:
            stream: dict[str, Any] = {
                "logStreamName": info.name,
                "creationTime": info.creation_time,
                "arn": f"{arn}:log-stream:{info.name}",
                "storedBytes": 0,  # CloudWatch has answered 0 since 2019 (Source: API model, LogStream.storedBytes)
            }
            if info.last_event_time is not None:
                stream["firstEventTimestamp"] = info.first_event_time
                stream["lastEventTimestamp"] = info.last_event_time
                stream["lastIngestionTime"] = info.last_ingestion_time
            streams.append(stream)
        answer: dict[str, Any] = {"logStreams": streams}
        if page.token is not None:
            answer["nextToken"] = page.token
        return answer

    async def get_log_events(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GetLogEvents. `unmask` is meaningless here: nothing is masked."""
        start, end = params.get("startTime"), params.get("endTime")
        page = await _read(
            lambda: self._store.read(
                _group(params),
                params["logStreamName"],
                start_time=None if start is None else Instant(start),
                end_time=None if end is None else Instant(end),
                from_head=params.get("startFromHead", False),
                limit=params.get("limit", MAX_PAGE_EVENTS),
                token=params.get("nextToken"),
            )
        )
        return {
            "events": [
                {"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingestion_time}
                for event in page.events
            ],
            "nextForwardToken": page.forward_token,
            "nextBackwardToken": page.backward_token,
        }


def _group(params: dict[str, Any]) -> str:
    """The log group, by name or by identifier (a name or an ARN), of which exactly one is needed."""
    name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
    if (name is None) == (identifier is None):
        raise _invalid("Exactly one of logGroupName and logGroupIdentifier must be given.")
    if identifier is None:
        return str(name)
    return _group_name(str(identifier))


def _group_name(identifier: str) -> str:
    """The name out of an ARN; a name stays itself."""
    return identifier.rpartition(":log-group:")[2].removesuffix(":*")


class _GroupFilter:
    """Which groups DescribeLogGroups is to show."""

    def __init__(self, params: dict[str, Any]) -> None:
        given = params.keys() & {"logGroupNamePrefix", "logGroupNamePattern", "logGroupIdentifiers"}
        if len(given) > 1:
            raise _invalid(f"{' and '.join(sorted(given))} are mutually exclusive.")
        if params.get("includeLinkedAccounts") or params.get("accountIdentifiers"):
            raise _invalid(
                "Clary has no linked accounts: includeLinkedAccounts and accountIdentifiers are not supported."
            )
        self.prefix: str = params.get("logGroupNamePrefix", "")
        self._within: str = params.get("logGroupNamePattern", "")
        identifiers = params.get("logGroupIdentifiers")
        self._names = None if identifiers is None else {_group_name(each) for each in identifiers}
        self._standard = params.get("logGroupClass", "STANDARD") == "STANDARD"

    def admits(self, name: str) -> bool:
        """Whether the group of that name, which has the prefix, is to be shown."""
        return self._standard and self._within in name and (self._names is None or name in self._names)


async def _read(work: Callable[[], _T]) -> _T:
    try:
        return await asyncio.to_thread(work)
    except NoSuchGroup:
        raise ResourceNotFoundException("The specified log group does not exist.") from None
    except NoSuchStream:
        raise ResourceNotFoundException("The specified log stream does not exist.") from None
    except BadToken:
        raise _invalid(_REFUSED) from None


def _invalid(message: str) -> AwsError:
    return AwsError(code="InvalidParameterException", message=message)
