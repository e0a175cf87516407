"""What the files of metric series survive."""

import os

import pytest

from clary.base.clock import FixedClock
from clary.logs.files import FileLogStore
from clary.logs.metric_files import FileMetricSeries
from clary.logs.metric_records import RECORD_BYTES
from clary.logs.metric_series import TRAINING_JOBS, Metric, point

LOSS = Metric(namespace=TRAINING_JOBS, name="loss", dimensions=(("TrainingJobName", "job"),))


@pytest.fixture
def series(tmp_path):
    return FileMetricSeries(tmp_path)


def append(series, *values, first_offset=1):
    writer = series.writer("job", "algo-1")
    for offset, value in enumerate(values, first_offset):
        writer.append([(LOSS, point([value], second=1_700_000_000))], source_offset=offset)
    writer.close()


def values(series):
    return [each.last for each in series.points("job", LOSS, start=0, end=1 << 40)]


def points_file(root):
    (file,) = root.rglob("*.points")
    return file


@pytest.mark.parametrize("torn", [1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1])
def test_what_a_power_cut_tore_is_passed_over_and_cut_off(series, tmp_path, torn):
    """Readers see the whole records; the next writer goes on behind them."""
    append(series, 1.0, 2.0)
    with points_file(tmp_path).open("ab") as file:
        file.write(b"\0" * torn)
    assert values(series) == [1.0, 2.0]
    assert [known.last_second for known in series.metrics("job")] == [1_700_000_000]
    append(series, 3.0, first_offset=3)

    assert values(series) == [1.0, 2.0, 3.0]
    assert points_file(tmp_path).stat().st_size == 3 * RECORD_BYTES


def test_a_damaged_record_hides_no_other(series, tmp_path):
    """A flipped bit costs one point."""
    append(series, 1.0, 2.0, 3.0)
    with points_file(tmp_path).open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff", RECORD_BYTES + 50)

    assert values(series) == [1.0, 3.0]


def test_a_full_disk_costs_nothing_once_there_is_space(series, monkeypatch):
    """An append that was cut short is written over by the next try."""
    writer = series.writer("job", "algo-1")
    real = os.pwrite

    def short(fd, data, position):
        if len(data) > 10:
            return real(fd, data[:10], position)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", short)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                writer.append([(LOSS, point([1.0] * 3, second=1))], source_offset=1)
            patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    writer.append([(LOSS, point([1.0], second=1))], source_offset=1)
    writer.close()

    assert values(series) == [1.0]


def test_many_blocks_are_read_whole(series):
    """More records than are read at a time."""
    writer = series.writer("job", "algo-1")
    for offset in range(100):
        writer.append([(LOSS, point([1.0], second=offset * 100 + each)) for each in range(100)], source_offset=offset)
    writer.close()

    assert [each.second for each in series.points("job", LOSS, start=0, end=1 << 40)] == list(range(10_000))


def test_series_are_no_log_group(series, tmp_path):
    """They lie beside the logs without being seen there."""
    append(series, 1.0)
    assert FileLogStore(tmp_path, FixedClock()).groups().groups == ()
