"""The log store in memory: what other rooms' tests use. It passes the same contract suite as `files`."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from clary.base.clock import Clock, Instant
from clary.logs.paging import groups_page, page_of, streams_page
from clary.logs.port import (
    MAX_PAGE_EVENTS,
    MAX_PAGE_STREAMS,
    GroupInfo,
    GroupsPage,
    LogEvent,
    NoSuchGroup,
    NoSuchStream,
    Page,
    StreamBusy,
    StreamInfo,
    StreamOrder,
    StreamsPage,
)


class _Stream:
    """A stream, which is also a `paging.StreamView`."""

    def __init__(self, creation_time: Instant) -> None:
        self.creation_time = creation_time
        self.events: list[LogEvent] = []
        self.source_offset = 0
        self.busy = False

    @property
    def end(self) -> int:
        return len(self.events)

    def first_at(self, time: Instant) -> int:
        return bisect_left(self.events, time, key=lambda event: event.timestamp)

    def forward(self, number: int) -> Iterator[LogEvent]:
        return iter(self.events[number:])

    def backward(self, number: int) -> Iterator[LogEvent]:
        return reversed(self.events[:number])


class MemoryLogWriter:
    """`port.LogWriter` in memory."""

    def __init__(self, stream: _Stream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._closed = False
        stream.busy = True

    def append(self, messages: Sequence[bytes], *, timestamp: Instant, source_offset: int) -> None:
        """See `LogWriter.append`."""
        if not messages:
            return
        if not all(messages) or any(b"\n" in message for message in messages):
            raise ValueError("a message is empty or holds a newline")
        events = self._stream.events
        if source_offset < self._stream.source_offset:
            raise ValueError(f"the source is stored up to {self._stream.source_offset}, beyond {source_offset}")
        time = max(timestamp, events[-1].timestamp) if events else timestamp
        ingestion_time = self._clock.now()
        events.extend(
            LogEvent(number=number, timestamp=time, ingestion_time=ingestion_time, message=message.decode())
            for number, message in enumerate(messages, len(events))
        )
        self._stream.source_offset = source_offset

    def resume_offset(self) -> int:
        """See `LogWriter.resume_offset`."""
        return self._stream.source_offset

    def sync(self) -> None:
        """Memory outlives nothing."""

    def close(self) -> None:
        """See `LogWriter.close`."""
        if not self._closed:
            self._closed = True
            self._stream.busy = False


class MemoryLogStore:
    """`port.LogStore` in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: dict[str, tuple[GroupInfo, dict[str, _Stream]]] = {}

    def writer(self, group: str, stream: str) -> MemoryLogWriter:
        """See `LogStore.writer`."""
        now = self._clock.now()
        _, streams = self._groups.setdefault(group, (GroupInfo(name=group, creation_time=now), {}))
        found = streams.setdefault(stream, _Stream(now))
        if found.busy:
            raise StreamBusy(stream)
        return MemoryLogWriter(found, self._clock)

    def has_stream(self, group: str, stream: str) -> bool:
        """See `LogStore.has_stream`."""
        return group in self._groups and stream in self._groups[group][1]

    def groups(self, *, prefix: str = "", limit: int = MAX_PAGE_STREAMS, token: str | None = None) -> GroupsPage:
        """See `LogStore.groups`."""
        return groups_page(
            sorted(self._groups), lambda name: self._groups[name][0], prefix=prefix, limit=limit, token=token
        )

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
        """See `LogStore.streams`."""
        streams = self._streams(group)

        def names(*, prefix: str, after: str | None, descending: bool) -> Iterator[str]:
            for name in sorted(streams, reverse=descending):
                if name.startswith(prefix) and (after is None or (name < after if descending else name > after)):
                    yield name

        def info(name: str) -> StreamInfo:
            stream = streams[name]
            first, last = (stream.events[0], stream.events[-1]) if stream.events else (None, None)
            return StreamInfo(
                name=name,
                creation_time=stream.creation_time,
                first_event_time=None if first is None else first.timestamp,
                last_event_time=None if last is None else last.timestamp,
                last_ingestion_time=None if last is None else last.ingestion_time,
                stored_bytes=sum(len(event.message.encode()) for event in stream.events),
            )

        return streams_page(
            names, info, prefix=prefix, order_by=order_by, descending=descending, limit=limit, token=token
        )

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
        """See `LogStore.read`."""
        return page_of(
            self._stream(group, stream),
            start_time=start_time,
            end_time=end_time,
            from_head=from_head,
            limit=limit,
            token=token,
        )

    def delete(self, group: str, stream: str) -> None:
        """See `LogStore.delete`."""
        if self._stream(group, stream).busy:
            raise StreamBusy(stream)
        del self._groups[group][1][stream]

    def _streams(self, group: str) -> dict[str, _Stream]:
        if group not in self._groups:
            raise NoSuchGroup(group)
        return self._groups[group][1]

    def _stream(self, group: str, stream: str) -> _Stream:
        streams = self._streams(group)
        if stream not in streams:
            raise NoSuchStream(stream)
        return streams[stream]
