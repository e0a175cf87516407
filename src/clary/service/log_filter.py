"""FilterLogEvents: the events of many streams as one, in order of time, filtered, a bounded piece of work at a time.

`log_streams` calls it, in a thread. A call looks at so many streams and so many events and no more; what is left goes on
with the token, so a page may be empty though more follow, as the API model allows. Streams are merged a hundred at a time,
by name: events are in order of time throughout unless more streams than that have events in the range.

A token names a place in the order (time, stream, number) and so stays good whatever is appended. Source: API model,
FilterLogEvents.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from clary.base.clock import Instant
from clary.logs.paging import EVENT_OVERHEAD_BYTES
from clary.logs.port import MAX_PAGE_BYTES, MAX_PAGE_EVENTS, LogEvent, LogStore, NoSuchStream, StreamInfo
from clary.logs.tokens import Direction, ListPosition, event_token, list_token
from clary.service.filter_syntax import Predicate

STREAMS_MERGED = 100
STREAMS_SEEN = 1000
EVENTS_SEEN = 50_000
BYTES_SEEN = 16 * 1024 * 1024
"""What one call does at most; the last two are met by the event that reaches them."""

_LAST_NAME = "\U0010ffff"
_STREAMS_LISTED = 200
_EVENTS_READ_LEAST = 100


class Place(NamedTuple):
    """Where an event stands among those of several streams."""

    timestamp: int
    stream: str
    number: int


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins: with the streams after `after`, up to `until`, behind `place`.

    What is None is not begun yet. `from_head` is the direction of the first request.
    """

    from_head: bool
    after: str | None = None
    until: str | None = None
    place: Place | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. `start_time` <= time <= `end_time`; `names` of streams, or the `prefix` that they begin with."""

    group: str
    names: tuple[str, ...] | None
    prefix: str
    start_time: Instant | None
    end_time: Instant | None
    matches: Predicate[str]
    limit: int


class Filtered(NamedTuple):
    """A page; `cursor` is None on the last one."""

    events: list[tuple[str, LogEvent]]
    cursor: Cursor | None


def filter_events(store: LogStore, query: Query, cursor: Cursor) -> Filtered:
    """One page. Raises `NoSuchGroup`, and `NoSuchStream` for a name that is asked for."""
    streams, until = _streams(store, query, cursor)
    merged = heapq.merge(
        *(_read(store, query, cursor, name, len(streams)) for name in streams),
        key=lambda found: found[0],
        reverse=not cursor.from_head,
    )

    def here_on(place: Place | None) -> Cursor:
        # The streams of this piece are fixed now: one that a later call left out for new ones would be read again.
        return Cursor(cursor.from_head, cursor.after, until or _LAST_NAME, place)

    events: list[tuple[str, LogEvent]] = []
    place, seen, seen_bytes, page_bytes = cursor.place, 0, 0, 0
    for here, event in merged:
        message = event.message
        size = (len(message) if message.isascii() else len(message.encode())) + EVENT_OVERHEAD_BYTES
        matches = query.matches(message)
        if matches and events and page_bytes + size > MAX_PAGE_BYTES:
            return Filtered(events, here_on(place))
        place, seen, seen_bytes = here, seen + 1, seen_bytes + size
        if matches:
            events.append((here.stream, event))
            page_bytes += size
        if len(events) >= min(query.limit, MAX_PAGE_EVENTS) or seen >= EVENTS_SEEN or seen_bytes >= BYTES_SEEN:
            return Filtered(events, here_on(place))
    return Filtered(events, None if until is None else Cursor(cursor.from_head, until))


def _streams(store: LogStore, query: Query, cursor: Cursor) -> tuple[list[str], str | None]:
    """The streams to merge now, and the name of the last one looked at if others follow."""
    if query.names is not None:
        for name in query.names if cursor.place is None else ():
            store.read(query.group, name, limit=1)  # raises for one that is not there
        return sorted(set(query.names)), None
    found: list[str] = []
    seen, after = 0, cursor.after
    token = None if after is None else list_token(ListPosition(after, None))
    while True:
        page = store.streams(query.group, prefix=query.prefix, limit=_STREAMS_LISTED, token=token)
        for info in page.streams:
            if cursor.until is None:
                if len(found) == STREAMS_MERGED or seen == STREAMS_SEEN:
                    return found, after
            elif info.name > cursor.until:
                return found, cursor.until
            after, seen = info.name, seen + 1
            if _in_range(info, query):
                found.append(info.name)
        if page.token is None:
            return found, None
        token = page.token


def _in_range(info: StreamInfo, query: Query) -> bool:
    if info.first_event_time is None or info.last_event_time is None:
        return False
    too_late = query.end_time is not None and info.first_event_time > query.end_time
    too_early = query.start_time is not None and info.last_event_time < query.start_time
    return not too_late and not too_early


def _read(store: LogStore, query: Query, cursor: Cursor, name: str, streams: int) -> Iterator[tuple[Place, LogEvent]]:
    """The events of one stream behind the cursor's place, in its direction."""
    start: int | None = query.start_time
    end = None if query.end_time is None else query.end_time + 1
    place, token = cursor.place, None
    if place is not None:
        if name == place.stream:
            number = place.number + 1 if cursor.from_head else place.number
            token = event_token(Direction.FORWARD if cursor.from_head else Direction.BACKWARD, number)
        elif cursor.from_head:
            start = max(start or 0, place.timestamp + (name < place.stream))
        else:
            bound = place.timestamp + (name < place.stream)
            end = bound if end is None else min(end, bound)
    while True:
        try:
            page = store.read(
                query.group,
                name,
                start_time=None if start is None else Instant(start),
                end_time=None if end is None else Instant(end),
                from_head=cursor.from_head,
                limit=max(_EVENTS_READ_LEAST, MAX_PAGE_EVENTS // streams),
                token=token,
            )
        except NoSuchStream:
            return  # deleted while we looked
        if not page.events:
            return
        for event in page.events if cursor.from_head else reversed(page.events):
            yield Place(event.timestamp, name, event.number), event
        token = page.forward_token if cursor.from_head else page.backward_token
