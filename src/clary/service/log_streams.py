"""The operations of CloudWatch Logs that training clients use: DescribeLogStreams and GetLogEvents.

Called by the gateway through `operations`. The store answers with pages; here they get the API's names and limits.
Reading runs in a thread, since a page may touch a megabyte of files.

Source: API model of CloudWatch Logs; what clients cannot do without: a stream list without `nextToken` on its last page
(SDK v2 loops for ever otherwise) and a forward token that stays good.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from clary.aws.errors import AwsError, ResourceNotFoundException
from clary.aws.handlers import Handler, RequestContext
from clary.base.arn import log_group_arn
from clary.base.clock import Instant
from clary.logs.port import (
    MAX_PAGE_EVENTS,
    MAX_PAGE_STREAMS,
    BadToken,
    LogStore,
    NoSuchGroup,
    NoSuchStream,
    StreamOrder,
)

_T = TypeVar("_T")


class LogStreams:
    """The operations."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {"DescribeLogStreams": self.describe_log_streams, "GetLogEvents": self.get_log_events}

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
    return str(identifier).split(":log-group:")[-1].removesuffix(":*")


async def _read(work: Callable[[], _T]) -> _T:
    try:
        return await asyncio.to_thread(work)
    except NoSuchGroup:
        raise ResourceNotFoundException("The specified log group does not exist.") from None
    except NoSuchStream:
        raise ResourceNotFoundException("The specified log stream does not exist.") from None
    except BadToken:
        raise _invalid("The specified nextToken is invalid.") from None


def _invalid(message: str) -> AwsError:
    return AwsError(code="InvalidParameterException", message=message)
