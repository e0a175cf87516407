"""A stream's files as a `paging.StreamView`: what it held when the view was made."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from clary.base.clock import Instant
from clary.logs.frames import Frame
from clary.logs.port import LogEvent
from clary.logs.segments import Segment, segment_numbers


class FileStreamView:
    """Opens the files that a question needs, and keeps them until it is closed. Raises FileNotFoundError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = segment_numbers(directory)
        self._open: dict[int, Segment] = {}
        self.last: Frame | None = None
        """The newest frame."""
        try:
            for place in reversed(range(len(self._numbers))):
                self.last = self._segment(place).last_frame()
                if self.last:
                    break
        except BaseException:
            self.close()
            raise
        self.end = self.last.end if self.last else 0

    def close(self) -> None:
        """Close the files."""
        for segment in self._open.values():
            segment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def first(self) -> Frame | None:
        """The oldest frame."""
        head = next(self._segment(0).frames(0), None) if self._numbers else None
        return head and head[1]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(self._segment(place).size for place in range(len(self._numbers)))

    def first_at(self, time: Instant) -> int:
        """See `paging.StreamView`."""
        if self.last is None or self.last.timestamp < time:
            return self.end
        # The last segment whose first event is before `time`, or the first one.
        place = bisect_left(range(len(self._numbers)), True, key=lambda i: not self._begins_before(i, time)) - 1
        for later in range(max(place, 0), len(self._numbers)):
            segment = self._segment(later)
            for _, frame, _ in segment.frames(segment.before_time(time)[1].position):
                if frame.timestamp >= time:
                    return frame.first
        return self.end

    def forward(self, number: int) -> Iterator[LogEvent]:
        """See `paging.StreamView`."""
        for place in range(max(bisect_right(self._numbers, number) - 1, 0), len(self._numbers)):
            segment = self._segment(place)
            for _, frame, payload in segment.frames(segment.before_number(number)[1].position):
                if frame.end > number:
                    yield from _events(frame, payload, range(max(number - frame.first, 0), frame.events))

    def backward(self, number: int) -> Iterator[LogEvent]:
        """See `paging.StreamView`."""
        for place in reversed(range(bisect_left(self._numbers, number))):
            segment = self._segment(place)
            entry_place, entry = segment.before_number(number - 1)
            until = segment.size
            while True:
                frames = []
                for position, frame, payload in segment.frames(entry.position):
                    if position >= until or frame.first >= number:
                        break
                    frames.append((frame, payload))
                for frame, payload in reversed(frames):
                    yield from _events(frame, payload, range(min(number - frame.first, frame.events) - 1, -1, -1))
                if entry.position == 0:
                    break
                until = entry.position
                entry_place -= 1
                entry = segment.entry(entry_place)

    def _begins_before(self, place: int, time: Instant) -> bool:
        head = next(self._segment(place).frames(0), None)
        return head is not None and head[1].timestamp < time

    def _segment(self, place: int) -> Segment:
        first = self._numbers[place]
        if first not in self._open:
            self._open[first] = Segment(self._directory, first)
        return self._open[first]


def _events(frame: Frame, payload: bytes, places: range) -> Iterator[LogEvent]:
    messages = payload.decode().split("\n")
    for place in places:
        yield LogEvent(
            number=frame.first + place,
            timestamp=frame.timestamp,
            ingestion_time=frame.ingestion_time,
            message=messages[place],
        )
