"""Metric series on files, shared by the server and the instance agents of one machine.

An owner is a directory below the root of the log store (where: `names`). In it, each writer has three files: its lock,
`<writer>.names`, a list of the metrics that it has ever written, and `<writer>.points`, records that are only appended
(`metric_records`) and name their metric by its place in that list. A name is on disk before the first record needs it.

What survives. A killed process loses nothing that an append has stored. A power cut may take what came after the last
`sync`, or leave damaged records, which readers pass over and the next writer cuts off. Nothing is cached by readers.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from clary.base import faults, typed
from clary.base.files import AlreadyLocked, exclusive_lock, sync_directory, write_atomically
from clary.logs.metric_records import RECORD_BYTES, encode_record, second, select, source_offset
from clary.logs.metric_series import KnownMetric, Metric, Point
from clary.logs.names import series_directory, series_owners, series_writer_file
from clary.logs.port import StreamBusy

_BLOCK_BYTES = RECORD_BYTES * 4096
_NOTHING_YET = -1

faults.declare("logs.series.written")


class _Name(msgspec.Struct, frozen=True):
    metric: Metric
    unit: str


class FileMetricSeries:
    """`metric_series.MetricSeries` beside the logs below `root`, which is created when first written to."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def writer(self, owner: str, name: str) -> "FileSeriesWriter":
        """See `MetricSeries.writer`."""
        directory = series_directory(self._root, owner)
        file = series_writer_file(directory, name)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileSeriesWriter(file)

    def points(self, owner: str, metric: Metric, *, start: int, end: int) -> list[Point]:
        """See `MetricSeries.points`."""
        found: list[Point] = []
        for file in self._files(owner):
            units = {place: name.unit for place, name in enumerate(_names(file)) if name.metric == metric}
            if units:
                found += _read(file, units, start, end)
        return sorted(found, key=_second)

    def metrics(self, owner: str) -> list[KnownMetric]:
        """See `MetricSeries.metrics`. When a metric last came is told by the last point of its writer, whatever it is of."""
        last: dict[Metric, int] = {}
        for file in self._files(owner):
            newest = _last_second(file)
            if newest is not None:
                for name in _names(file):
                    last[name.metric] = max(last.get(name.metric, newest), newest)
        known = (KnownMetric(metric=metric, last_second=newest) for metric, newest in last.items())
        return sorted(known, key=lambda each: msgspec.structs.astuple(each.metric))

    def owners(self) -> list[str]:
        """See `MetricSeries.owners`."""
        return series_owners(self._root)

    def _files(self, owner: str) -> list[Path]:
        try:
            directory = series_directory(self._root, owner)
        except ValueError:
            return []
        return sorted(directory.glob("*.points"))


class FileSeriesWriter:
    """`metric_series.SeriesWriter` on the files `file.points`, `file.names`, `file.lock`. Raises `StreamBusy`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._fd = -1
        self._size = 0
        self._offset = _NOTHING_YET
        self._places: dict[_Name, int] = {}
        self._unsynced = False
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive_lock(file.with_suffix(".lock")))
            except AlreadyLocked:
                raise StreamBusy(str(file)) from None
            stack.callback(self._close_file)
            if file.exists():
                self._open()
            self._held = stack.pop_all()

    def append(self, points: Sequence[tuple[Metric, Point]], *, source_offset: int) -> None:
        """See `SeriesWriter.append`."""
        if not points or source_offset <= self._offset:
            return
        if self._fd < 0:
            self._open()
        records = [encode_record(self._place(metric, each.unit), each, source_offset) for metric, each in points]
        # At a place of our own instead of the file's end: what a full disk cut short is written over by the next try.
        data = memoryview(b"".join(records))
        position = self._size
        while data:
            written = os.pwrite(self._fd, data, position)
            position += written
            data = data[written:]
        faults.point("logs.series.written")
        self._size = position
        self._offset = source_offset
        self._unsynced = True

    def rewind(self, source_offset: int) -> None:
        """See `SeriesWriter.rewind`."""
        self._cut(source_offset)

    def sync(self) -> None:
        """See `SeriesWriter.sync`."""
        if self._unsynced:
            os.fdatasync(self._fd)
            self._unsynced = False

    def close(self) -> None:
        """See `SeriesWriter.close`."""
        try:
            self.sync()
        finally:
            self._held.close()

    def _open(self) -> None:
        is_new = not self._file.exists()
        self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_new:
            sync_directory(self._file.parent)
        self._places = {name: place for place, name in enumerate(_names(self._file))}
        self._cut(None)

    def _cut(self, beyond: int | None) -> None:
        """Cut off, from the end, what is damaged and, unless `beyond` is None, what belongs to later offsets."""
        if self._fd < 0:
            return
        size = os.fstat(self._fd).st_size
        end = size - size % RECORD_BYTES
        offset = _NOTHING_YET
        while end:
            found = source_offset(os.pread(self._fd, RECORD_BYTES, end - RECORD_BYTES))
            if found is not None and (beyond is None or found <= beyond):
                offset = found
                break
            end -= RECORD_BYTES
        if end != size:
            os.ftruncate(self._fd, end)
            self._unsynced = True
        self._size, self._offset = end, offset

    def _place(self, metric: Metric, unit: str) -> int:
        name = _Name(metric, unit)
        place = self._places.get(name)
        if place is None:
            place = len(self._places)
            write_atomically(self._file.with_suffix(".names"), msgspec.json.encode([*self._places, name]))
            self._places[name] = place
        return place

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._unsynced = False


def _names(file: Path) -> list[_Name]:
    try:
        return typed.from_json(file.with_suffix(".names").read_bytes(), list[_Name])
    except FileNotFoundError:
        return []


def _read(file: Path, units: dict[int, str], start: int, end: int) -> list[Point]:
    found: list[Point] = []
    with suppress(FileNotFoundError), file.open("rb", buffering=0) as opened:
        while block := opened.read(_BLOCK_BYTES):
            whole = len(block) - len(block) % RECORD_BYTES
            found += select(block[:whole], units, start, end)
            if whole != len(block):  # a record is being written, or was when its writer was killed
                break
    return found


def _last_second(file: Path) -> int | None:
    """When the last whole record was; None if there is none."""
    with suppress(FileNotFoundError), file.open("rb", buffering=0) as opened:
        end = opened.seek(0, os.SEEK_END)
        end -= end % RECORD_BYTES
        while end:
            opened.seek(end - RECORD_BYTES)
            found = second(opened.read(RECORD_BYTES))
            if found is not None:
                return found
            end -= RECORD_BYTES
    return None


def _second(point: Point) -> int:
    return point.second
