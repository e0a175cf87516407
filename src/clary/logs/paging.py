"""Which events make a page, and which streams. Pure: the store that owns them gives a view.

Every adapter answers `LogStore.read` and `LogStore.streams` through this file, so that tokens mean the same everywhere.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol

from clary.base.clock import Instant
from clary.logs.port import (
    MAX_PAGE_BYTES,
    MAX_PAGE_EVENTS,
    GroupInfo,
    GroupsPage,
    LogEvent,
    Page,
    StreamInfo,
    StreamOrder,
    StreamsPage,
)
from clary.logs.tokens import (
    Direction,
    ListPosition,
    event_token,
    list_token,
    parse_event_token,
    parse_list_token,
)

EVENT_OVERHEAD_BYTES = 26
"""What an event counts beside its message. Source: API model, PutLogEvents; for pages of GetLogEvents (inferred)."""


class StreamView(Protocol):
    """A stream as it was at one moment. Events are numbered from 0, in order of time."""

    @property
    def end(self) -> int:
        """The number that the next event will have."""
        ...

    def first_at(self, time: Instant) -> int:
        """The number of the first event that is not before `time`; `end` if none is."""
        ...

    def forward(self, number: int) -> Iterator[LogEvent]:
        """Events from `number` on, ascending."""
        ...

    def backward(self, number: int) -> Iterator[LogEvent]:
        """Events before `number`, descending."""
        ...


def page_of(
    view: StreamView,
    *,
    start_time: Instant | None,
    end_time: Instant | None,
    from_head: bool,
    limit: int,
    token: str | None,
) -> Page:
    """The page that `LogStore.read` describes. Raises `BadToken`."""
    low = 0 if start_time is None else view.first_at(start_time)
    high = view.end if end_time is None else view.first_at(end_time)
    if token is not None:
        direction, position = parse_event_token(token)
    elif from_head:
        direction, position = Direction.FORWARD, low
    else:
        direction, position = Direction.BACKWARD, high
    limit = min(limit, MAX_PAGE_EVENTS)
    if direction is Direction.FORWARD:
        first = max(position, low)
        events = _fill(islice(view.forward(first), max(0, min(high - first, limit)))) if first < high else []
    else:
        last = min(position, high)
        events = _fill(islice(view.backward(last), max(0, min(last - low, limit)))) if low < last else []
        events.reverse()
    # Between the empty page and the next call events may come: a position moved by a bound would pass over them.
    forward = events[-1].number + 1 if events else position
    backward = events[0].number if events else position
    return Page(
        events=tuple(events),
        forward_token=event_token(Direction.FORWARD, forward),
        backward_token=event_token(Direction.BACKWARD, backward),
    )


def _fill(events: Iterable[LogEvent]) -> list[LogEvent]:
    page: list[LogEvent] = []
    room = MAX_PAGE_BYTES
    for event in events:
        message = event.message
        room -= (len(message) if message.isascii() else len(message.encode())) + EVENT_OVERHEAD_BYTES
        if room < 0 and page:
            break
        page.append(event)
    return page


class Names(Protocol):
    """Lists the names of a group's streams that begin with a prefix, from one name (exclusive) on, in order."""

    def __call__(self, *, prefix: str, after: str | None, descending: bool) -> Iterator[str]:
        """Names; `after` is the last name of the page before."""
        ...


def streams_page(
    names: Names,
    info: Callable[[str], StreamInfo | None],
    *,
    prefix: str,
    order_by: StreamOrder,
    descending: bool,
    limit: int,
    token: str | None,
) -> StreamsPage:
    """The page that `LogStore.streams` describes. `info` gives None for a stream deleted meanwhile."""
    after = None if token is None else parse_list_token(token)
    if order_by is StreamOrder.NAME:
        listed = names(prefix=prefix, after=None if after is None else after.name, descending=descending)
        found = (each for each in map(info, listed) if each is not None)
    else:
        every = [each for each in map(info, names(prefix=prefix, after=None, descending=False)) if each is not None]
        every.sort(key=_time_key, reverse=descending)
        mark = None if after is None else (-1 if after.time is None else after.time, after.name)
        found = (each for each in every if mark is None or _beyond(_time_key(each), mark, descending=descending))
    streams = tuple(islice(found, limit + 1))
    more = len(streams) > limit
    streams = streams[:limit]
    following = list_token(ListPosition(streams[-1].name, streams[-1].last_event_time)) if more else None
    return StreamsPage(streams=streams, token=following)


def groups_page(
    names: Iterable[str], info: Callable[[str], GroupInfo | None], *, prefix: str, limit: int, token: str | None
) -> GroupsPage:
    """The page that `LogStore.groups` describes, of all group names, ascending."""
    after = None if token is None else parse_list_token(token).name
    listed = (name for name in names if name.startswith(prefix) and (after is None or name > after))
    groups = tuple(islice((each for each in map(info, listed) if each is not None), limit + 1))
    more = len(groups) > limit
    groups = groups[:limit]
    return GroupsPage(groups=groups, token=list_token(ListPosition(groups[-1].name, None)) if more else None)


def _beyond(key: tuple[int, str], mark: tuple[int, str], *, descending: bool) -> bool:
    return key < mark if descending else key > mark


def _time_key(stream: StreamInfo) -> tuple[int, str]:
    return (-1 if stream.last_event_time is None else stream.last_event_time, stream.name)
