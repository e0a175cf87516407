"""Lines of a job's log streams, some at a time: the newest, those before or after others, those that hold a text.

Used by `logs_page`. A log may have millions of lines: however long it is, a page gets `PAGE_LINES` of them, and a program
that prints faster than a page can follow makes it jump to the newest.
"""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from clary.aws.errors import ResourceNotFoundException
from clary.base.clock import Instant
from clary.console.contexts import LogLine
from clary.console.visit import Ask

GROUP = "/aws/sagemaker/TrainingJobs"
PAGE_LINES = 500
STREAMS_MAX = 500
SEARCH_FOR_S = 1.0
"""For so long a search goes on before it shows what there is; each request to the log service is bounded, too."""

_DOWNLOAD_LINES = 10_000


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A log stream; times are None while it is empty."""

    name: str
    host: str
    first_event_time: Instant | None
    last_event_time: Instant | None


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """Lines, oldest first; tokens for what lies before (None: nothing) and after them. `skipped`: lines before them were left out."""

    lines: tuple[LogLine, ...]
    before: str | None
    after: str
    skipped: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that hold a text, and a token to search on, None at the end; `is_cut`: the search was given up for now."""

    lines: tuple[LogLine, ...]
    following: str | None
    is_cut: bool


async def streams_of(ask: Ask, training_job_name: str, created: Instant) -> tuple[Stream, ...]:
    """The job's streams, algo-1 first. Those of an earlier job of the same name are left out."""
    found: list[Stream] = []
    params = {"logGroupName": GROUP, "logStreamNamePrefix": f"{training_job_name}/", "limit": 50}
    while len(found) < STREAMS_MAX:
        try:
            answer = await ask("logs", "DescribeLogStreams", params)
        except ResourceNotFoundException:
            break  # there is no log group before the first line of the first job
        found += [_stream(each) for each in answer["logStreams"] if each["creationTime"] >= created]
        if "nextToken" not in answer:
            break
        params["nextToken"] = answer["nextToken"]
    return tuple(sorted(found, key=_order))


async def newest(ask: Ask, stream: str) -> Lines:
    """The last lines of a stream."""
    page = await _page(ask, stream, startFromHead=False)
    return await _lines(ask, stream, page)


async def before(ask: Ask, stream: str, token: str) -> Lines:
    """The lines before others, by their `before`."""
    return await _lines(ask, stream, await _page(ask, stream, nextToken=token))


async def after(ask: Ask, stream: str, token: str) -> Lines:
    """The lines that have come after others, by their `after`; the newest if more have come than a page or two."""
    page = await _page(ask, stream, nextToken=token)
    if len(page["events"]) == PAGE_LINES:
        further = await _page(ask, stream, nextToken=page["nextForwardToken"])
        if len(further["events"]) == PAGE_LINES:
            return msgspec.structs.replace(await newest(ask, stream), skipped=True)
    return await _lines(ask, stream, page)


async def search(
    ask: Ask, streams: Sequence[Stream], text: str, *, since: Instant, prefix: str, token: str | None
) -> Found:
    """The lines of all these streams that hold the text, oldest first. Several streams are named by their `prefix`."""
    hosts = {stream.name: stream.host for stream in streams}
    which: dict[str, Any] = {"logStreamNames": [*hosts]} if len(hosts) == 1 else {"logStreamNamePrefix": prefix}
    params = {"logGroupName": GROUP, "startTime": since, "filterPattern": pattern_of(text), **which}
    lines: list[LogLine] = []
    give_up_at = time.monotonic() + SEARCH_FOR_S
    while True:
        more = {} if token is None else {"nextToken": token}
        answer = await ask("logs", "FilterLogEvents", params | more | {"limit": PAGE_LINES - len(lines)})
        lines += [
            LogLine(
                timestamp=event["timestamp"],
                message=event["message"],
                host=hosts.get(event["logStreamName"]) if len(hosts) > 1 else None,
            )
            for event in answer["events"]
        ]
        token = answer.get("nextToken")
        is_cut = time.monotonic() >= give_up_at
        if token is None or len(lines) >= PAGE_LINES or is_cut:
            is_cut = token is not None and len(lines) < PAGE_LINES
            return Found(lines=tuple(lines), following=token, is_cut=is_cut)


def pattern_of(text: str) -> str:
    """The filter pattern for lines that hold exactly this text; "" for all."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if text else ""


async def whole(ask: Ask, stream: str, *, until: Instant, timestamps: bool) -> AsyncIterator[bytes]:
    """A whole stream as text, up to a moment: a program that goes on printing shall not make it endless."""
    more: dict[str, Any] = {"startFromHead": True}
    while True:
        params = {"logGroupName": GROUP, "logStreamName": stream, "limit": _DOWNLOAD_LINES, "endTime": until + 1}
        page = await ask("logs", "GetLogEvents", params | more)
        if not page["events"]:
            return
        yield "".join(
            f"{_stamp(event['timestamp'])} {event['message']}\n" if timestamps else f"{event['message']}\n"
            for event in page["events"]
        ).encode("utf-8", "replace")
        more = {"nextToken": page["nextForwardToken"]}


async def _page(ask: Ask, stream: str, *, limit: int = PAGE_LINES, **more: Any) -> dict[str, Any]:
    params = {"logGroupName": GROUP, "logStreamName": stream, "limit": limit}
    answer: dict[str, Any] = await ask("logs", "GetLogEvents", params | more)
    return answer


async def _lines(ask: Ask, stream: str, page: dict[str, Any]) -> Lines:
    token = page["nextBackwardToken"]
    earlier = await _page(ask, stream, limit=1, nextToken=token)
    return Lines(
        lines=tuple(LogLine(timestamp=event["timestamp"], message=event["message"]) for event in page["events"]),
        before=token if earlier["events"] else None,
        after=page["nextForwardToken"],
    )


def _stream(described: dict[str, Any]) -> Stream:
    name = described["logStreamName"]
    return Stream(
        name=name,
        host=name.rpartition("/")[2].rpartition("-")[0],  # "algo-1-1700000000": the host, and when its program began
        first_event_time=described.get("firstEventTimestamp"),
        last_event_time=described.get("lastEventTimestamp"),
    )


def _order(stream: Stream) -> tuple[int, str, str]:
    return len(stream.host), stream.host, stream.name


def _stamp(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1000:03}Z"
