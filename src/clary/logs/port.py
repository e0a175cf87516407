"""The port of the log store: groups hold streams, streams hold events; one writer a stream, any number of readers.

Written by the instance agents, one stream each; read by the server to answer DescribeLogStreams and GetLogEvents, also
while agents write and after either was killed. The adapters are `files` and, for tests, `memory`; both pass
`tests/contract/test_log_store.py`. Source of names and meanings: API model of CloudWatch Logs.

Time is monotone within a stream: an append whose timestamp lies before the last one (a clock was set back) gets the last
one. So the order of events is the order of appends, equal timestamps included.
"""

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from clary.base.clock import Instant

MAX_PAGE_EVENTS = 10_000
MAX_PAGE_BYTES = 1024 * 1024
MAX_PAGE_STREAMS = 50


class LogStoreError(Exception):
    """What a log store refuses."""


class NoSuchGroup(LogStoreError):
    """The log group does not exist."""


class NoSuchStream(LogStoreError):
    """The log stream does not exist."""


class BadToken(LogStoreError):
    """The token was not given out by this call."""


class StreamBusy(LogStoreError):
    """Another writer has the stream."""


class LogEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event. `number` counts the events of the stream from 0; it never changes."""

    number: int
    timestamp: Instant
    ingestion_time: Instant
    message: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Events, oldest first, and the tokens to go on in both directions; both are always there."""

    events: tuple[LogEvent, ...]
    forward_token: str
    backward_token: str


class GroupInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A log group."""

    name: str
    creation_time: Instant


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A log stream. The three times are None while it has no event. `stored_bytes` includes what the store adds."""

    name: str
    creation_time: Instant
    first_event_time: Instant | None
    last_event_time: Instant | None
    last_ingestion_time: Instant | None
    stored_bytes: int


class GroupsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Groups by name; `token` is None on the last page."""

    groups: tuple[GroupInfo, ...]
    token: str | None


class StreamsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Streams in the order asked for; `token` is None on the last page (SDK v2 loops for ever otherwise)."""

    streams: tuple[StreamInfo, ...]
    token: str | None


class StreamOrder(enum.StrEnum):
    """How streams are ordered. Source: API model, OrderBy."""

    NAME = "LogStreamName"
    LAST_EVENT_TIME = "LastEventTime"


class LogWriter(Protocol):
    """The one writer of a stream. Not for several threads at a time."""

    def append(self, messages: Sequence[bytes], *, timestamp: Instant, source_offset: int) -> None:
        """Append messages as `events.LineSplitter` gives them, and the fact that the source is stored up to there.

        Both are kept or lost together, whatever is killed. Readers see the events when this returns, and they outlive
        this process; `sync` makes them outlive the machine. No messages: nothing is noted. Raises ValueError for an
        empty message, one with a newline, and for an offset before `resume_offset()`; OSError (disk full), and then
        nothing was appended and the same append may be tried again.
        """
        ...

    def resume_offset(self) -> int:
        """The `source_offset` of the last append that was kept, also by an earlier writer; 0 before any."""
        ...

    def sync(self) -> None:
        """Put what was appended on disk. The caller chooses how often."""
        ...

    def close(self) -> None:
        """Sync and give the stream back. Closing twice is fine."""
        ...


class LogStore(Protocol):
    """Groups, streams and their events."""

    def writer(self, group: str, stream: str) -> LogWriter:
        """The writer of a stream; group and stream are created (empty) if missing.

        Raises `StreamBusy`; ValueError for a name that the store cannot hold.
        """
        ...

    def has_stream(self, group: str, stream: str) -> bool:
        """Whether the stream is there, with events or without."""
        ...

    def groups(self, *, prefix: str = "", limit: int = MAX_PAGE_STREAMS, token: str | None = None) -> GroupsPage:
        """Groups whose names begin with `prefix`, by name. Raises `BadToken`."""
        ...

    def streams(
        self,
        group: str,
        *,
        prefix: str = "",
        order_by: StreamOrder = StreamOrder.NAME,
        descending: bool = False,
        limit: int = MAX_PAGE_STREAMS,
        token: str | None = None,
    ) -> StreamsPage:
        """Streams of a group whose names begin with `prefix`. Raises `NoSuchGroup`, `BadToken`.

        By LastEventTime, a stream without events counts as older than any other (inferred).
        """
        ...

    def read(
        self,
        group: str,
        stream: str,
        *,
        start_time: Instant | None = None,
        end_time: Instant | None = None,
        from_head: bool = False,
        limit: int = MAX_PAGE_EVENTS,
        token: str | None = None,
    ) -> Page:
        """A page of at most `limit` events and 1 MiB (yet one event at least), `start_time` <= time < `end_time`.

        Without a token: the oldest events if `from_head`, else the newest. With a token: what follows or precedes that
        page, whatever `from_head` says. At the end of either direction the page is empty and that direction's token is
        the one that was given; a forward token later yields the events that came after it. Raises `NoSuchGroup`,
        `NoSuchStream`, `BadToken`. Source: API model, GetLogEvents.
        """
        ...

    def delete(self, group: str, stream: str) -> None:
        """Remove a stream and its events. Raises `NoSuchGroup`, `NoSuchStream`, `StreamBusy`."""
        ...
