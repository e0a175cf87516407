"""The writer of one stream's files: recovers what its predecessor left, then appends a frame at a time.

Recovery reads the last segment whole, cuts off what is not a whole frame, and writes its index anew; earlier segments
were put on disk before the next one was begun. What is cut off was never noted as stored, so the agent sends it again.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from clary.base import faults
from clary.base.clock import Clock, Instant
from clary.base.files import AlreadyLocked, exclusive_lock, sync_directory, write_atomically
from clary.logs.frames import Entry, Frame, encode_entry, encode_frame
from clary.logs.port import StreamBusy
from clary.logs.segments import INDEX_EVERY_BYTES, Segment, index_path, segment_numbers, segment_path

LOCK = "writer.lock"

faults.declare("logs.append.written", "logs.segment.created")

_NOTHING = Frame(0, 0, 0, Instant(0), Instant(0), 0)


class FileLogWriter:
    """`port.LogWriter` on files. Raises `StreamBusy`."""

    def __init__(self, directory: Path, clock: Clock, segment_bytes: int) -> None:
        self._directory = directory
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._log = self._index = -1
        self._last = _NOTHING
        self._size = self._index_size = 0
        self._indexed = -INDEX_EVERY_BYTES
        self._unsynced = False
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive_lock(directory / LOCK))
            except AlreadyLocked:
                raise StreamBusy(str(directory)) from None
            stack.callback(self._close_files)
            self._recover()
            self._held = stack.pop_all()

    def append(self, messages: Sequence[bytes], *, timestamp: Instant, source_offset: int) -> None:
        """See `LogWriter.append`."""
        if not messages:
            return
        payload = b"\n".join(messages) + b"\n"
        if payload.count(b"\n") != len(messages) or payload.startswith(b"\n") or b"\n\n" in payload:
            raise ValueError("a message is empty or holds a newline")
        last = self._last
        if source_offset < last.source_offset:
            raise ValueError(f"the source is stored up to {last.source_offset}, beyond {source_offset}")
        frame = Frame(
            payload_bytes=len(payload),
            events=len(messages),
            first=last.end,
            timestamp=max(timestamp, last.timestamp),
            ingestion_time=self._clock.now(),
            source_offset=source_offset,
        )
        if self._size + frame.size > self._segment_bytes and self._size:
            self._begin_segment(frame.first)
        # At a place of our own instead of the file's end: what a full disk cut short is written over by the next try.
        _write_at(self._log, encode_frame(frame, payload), self._size)
        faults.point("logs.append.written")
        self._note(frame, self._size)
        self._size += frame.size
        self._last = frame
        self._unsynced = True

    def resume_offset(self) -> int:
        """See `LogWriter.resume_offset`."""
        return self._last.source_offset

    def sync(self) -> None:
        """See `LogWriter.sync`."""
        if self._unsynced:
            os.fdatasync(self._log)
            self._unsynced = False

    def close(self) -> None:
        """See `LogWriter.close`."""
        if self._log >= 0:
            try:
                self.sync()
            finally:
                self._held.close()

    def _recover(self) -> None:
        numbers = segment_numbers(self._directory)
        if not numbers:
            self._begin_segment(0)
            return
        entries = []
        with Segment(self._directory, numbers[-1]) as segment:
            for position, frame, _ in segment.frames(0):
                if position - self._indexed >= INDEX_EVERY_BYTES:
                    entries.append(encode_entry(Entry(frame.first, position, frame.timestamp)))
                    self._indexed = position
                self._last, self._size = frame, position + frame.size
            torn = segment.size > self._size
        if not self._size:
            for number in reversed(numbers[:-1]):
                with Segment(self._directory, number) as segment:
                    self._last = segment.last_frame() or _NOTHING
                if self._last is not _NOTHING:
                    break
        index = b"".join(entries)
        write_atomically(index_path(self._directory, numbers[-1]), index, durable=False)
        self._index_size = len(index)
        self._open(numbers[-1])
        if torn:
            os.ftruncate(self._log, self._size)
            os.fsync(self._log)

    def _begin_segment(self, first: int) -> None:
        if self._log >= 0:
            self.sync()
        self._open(first)
        self._size = self._index_size = 0
        self._indexed = -INDEX_EVERY_BYTES
        sync_directory(self._directory)
        faults.point("logs.segment.created")

    def _open(self, first: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        index = os.open(index_path(self._directory, first), flags, 0o600)
        try:
            log = os.open(segment_path(self._directory, first), flags, 0o600)
        except BaseException:
            os.close(index)
            raise
        self._close_files()  # only now: without a new segment, the old one stays in use
        self._log, self._index = log, index

    def _note(self, frame: Frame, position: int) -> None:
        """Index the frame if it is time. Not being able to costs speed alone."""
        if position - self._indexed < INDEX_EVERY_BYTES:
            return
        entry = encode_entry(Entry(frame.first, position, frame.timestamp))
        try:
            _write_at(self._index, entry, self._index_size)
        except OSError:
            return
        self._index_size += len(entry)
        self._indexed = position

    def _close_files(self) -> None:
        for fd in (self._log, self._index):
            if fd >= 0:
                os.close(fd)
        self._log = self._index = -1


def _write_at(fd: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        position += written
        view = view[written:]
