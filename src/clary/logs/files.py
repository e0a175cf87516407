"""The log store on files, shared by the server and the instance agents of one machine.

A stream is a directory (where: `names`) with `stream.json`, the writer's lock and segments (`segments`). Whoever creates
a stream writes `stream.json` last, so that readers see streams whole. Nothing is cached: any process may read at any time.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.clock import Clock, Instant
from clary.base.files import AlreadyLocked, exclusive_lock, write_atomically
from clary.logs.file_reader import FileStreamView
from clary.logs.file_writer import LOCK, FileLogWriter
from clary.logs.names import group_directory, group_names, stream_directory, stream_names
from clary.logs.paging import groups_page, page_of, streams_page
from clary.logs.port import (
    MAX_PAGE_EVENTS,
    MAX_PAGE_STREAMS,
    GroupInfo,
    GroupsPage,
    NoSuchGroup,
    NoSuchStream,
    Page,
    StreamBusy,
    StreamInfo,
    StreamOrder,
    StreamsPage,
)

SEGMENT_BYTES = 64 * 1024 * 1024
"""A restarted writer reads this much at most before it goes on."""

_GROUP_FILE = "@group.json"
_STREAM_FILE = "stream.json"
_TRIES = 5


class _Created(msgspec.Struct, frozen=True):
    creation_time: Instant


class FileLogStore:
    """`port.LogStore` below `root`, which is created when first written to."""

    def __init__(self, root: Path, clock: Clock, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._root = root
        self._clock = clock
        self._segment_bytes = segment_bytes

    def writer(self, group: str, stream: str) -> FileLogWriter:
        """See `LogStore.writer`."""
        directory = stream_directory(self._root, group, stream)
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # `delete` took a directory away between making and using it
                return self._writer(group_directory(self._root, group), directory)
        return self._writer(group_directory(self._root, group), directory)

    def has_stream(self, group: str, stream: str) -> bool:
        """See `LogStore.has_stream`."""
        return self._group(group) is not None and self._stream(group, stream) is not None

    def groups(self, *, prefix: str = "", limit: int = MAX_PAGE_STREAMS, token: str | None = None) -> GroupsPage:
        """See `LogStore.groups`."""
        return groups_page(group_names(self._root), self._group, prefix=prefix, limit=limit, token=token)

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
        if self._group(group) is None:
            raise NoSuchGroup(group)
        directory = group_directory(self._root, group)

        def names(*, prefix: str, after: str | None, descending: bool) -> Iterator[str]:
            return stream_names(directory, prefix=prefix, after=after, descending=descending)

        return streams_page(
            names,
            lambda name: self._stream(group, name),
            prefix=prefix,
            order_by=order_by,
            descending=descending,
            limit=limit,
            token=token,
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
        with self._existing(group, stream) as directory, FileStreamView(directory) as view:
            return page_of(
                view, start_time=start_time, end_time=end_time, from_head=from_head, limit=limit, token=token
            )

    def delete(self, group: str, stream: str) -> None:
        """See `LogStore.delete`."""
        with self._existing(group, stream) as directory:
            try:
                with exclusive_lock(directory / LOCK):
                    grave = Path(tempfile.mkdtemp(dir=self._root, prefix=".deleted-"))
                    directory.rename(grave / "stream")  # so that nobody reads a stream of which half is gone
            except AlreadyLocked:
                raise StreamBusy(stream) from None
            shutil.rmtree(grave)
            top = group_directory(self._root, group)
            with suppress(OSError):  # not empty, or already gone
                for parent in directory.parents:
                    if parent == top:
                        break
                    parent.rmdir()

    def _writer(self, group: Path, directory: Path) -> FileLogWriter:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        created = msgspec.json.encode(_Created(self._clock.now()))
        if not (group / _GROUP_FILE).exists():
            write_atomically(group / _GROUP_FILE, created)
        writer = FileLogWriter(directory, self._clock, self._segment_bytes)
        try:
            if not (directory / _STREAM_FILE).exists():
                write_atomically(directory / _STREAM_FILE, created)
        except BaseException:
            writer.close()
            raise
        return writer

    @contextmanager
    def _existing(self, group: str, stream: str) -> Iterator[Path]:
        if self._group(group) is None:
            raise NoSuchGroup(group)
        try:
            directory = stream_directory(self._root, group, stream)
        except ValueError:
            raise NoSuchStream(stream) from None
        if _created(directory / _STREAM_FILE) is None:
            raise NoSuchStream(stream)
        try:
            yield directory
        except FileNotFoundError:
            raise NoSuchStream(stream) from None  # deleted while we looked

    def _group(self, name: str) -> GroupInfo | None:
        try:
            created = _created(group_directory(self._root, name) / _GROUP_FILE)
        except ValueError:
            return None
        return None if created is None else GroupInfo(name=name, creation_time=created.creation_time)

    def _stream(self, group: str, name: str) -> StreamInfo | None:
        directory = stream_directory(self._root, group, name)
        created = _created(directory / _STREAM_FILE)
        if created is None:
            return None
        try:
            with FileStreamView(directory) as view:
                first, last = view.first, view.last
                return StreamInfo(
                    name=name,
                    creation_time=created.creation_time,
                    first_event_time=None if first is None else first.timestamp,
                    last_event_time=None if last is None else last.timestamp,
                    last_ingestion_time=None if last is None else last.ingestion_time,
                    stored_bytes=view.stored_bytes,
                )
        except FileNotFoundError:
            return None


def _created(path: Path) -> _Created | None:
    try:
        return typed.from_json(path.read_bytes(), _Created)
    except (FileNotFoundError, NotADirectoryError):
        return None
