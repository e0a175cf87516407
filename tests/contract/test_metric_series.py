"""What every store of metric series promises. What only the one on files can promise: tests/unit/logs/test_metric_files.py."""

import random

import pytest

from clary.logs.metric_files import FileMetricSeries
from clary.logs.metric_memory import MemoryMetricSeries
from clary.logs.metric_series import TRAINING_JOBS, Metric, MetricSeries, merged, point
from clary.logs.port import StreamBusy

START = 1_700_000_000


def metric(name="loss", job="job") -> Metric:
    return Metric(namespace=TRAINING_JOBS, name=name, dimensions=(("TrainingJobName", job),))


LOSS, ERROR = metric("loss"), metric("error")


@pytest.fixture(params=["files", "memory"])
def series(request, tmp_path) -> MetricSeries:
    return MemoryMetricSeries() if request.param == "memory" else FileMetricSeries(tmp_path / "logs")


def every(series, of=LOSS, owner="job", start=0, end=1 << 40):
    return series.points(owner, of, start=start, end=end)


def test_points_come_back_as_they_were(series):
    """With all their numbers, unit and step, and each metric its own."""
    writer = series.writer("job", "algo-1")
    one = point([1.5, 0.5, 2.25], second=START)
    two = point([-3.0], second=START + 1, step=7, unit="Percent")
    writer.append([(LOSS, one), (ERROR, two)], source_offset=10)
    writer.append([(LOSS, two)], source_offset=20)
    writer.close()

    assert every(series) == [one, two]
    assert every(series, ERROR) == [two]
    assert (one.count, one.minimum, one.maximum, one.total, one.squares, one.last) == (3, 0.5, 2.25, 4.25, 7.5625, 2.25)


def test_a_writer_is_read_while_it_writes(series):
    """What an append has stored is there at once."""
    writer = series.writer("job", "algo-1")
    for number in range(3):
        writer.append([(LOSS, point([float(number)], second=START))], source_offset=number)
        assert [each.last for each in every(series)] == [0.0, 1.0, 2.0][: number + 1]
    writer.close()


def test_a_time_is_inclusive_at_its_start_and_exclusive_at_its_end(series):
    """Second by second."""
    writer = series.writer("job", "algo-1")
    for number in range(5):
        writer.append([(LOSS, point([0.0], second=START + number))], source_offset=number + 1)
    writer.close()

    assert [each.second - START for each in every(series, start=START + 1, end=START + 3)] == [1, 2]


def test_several_hosts_make_one_series(series):
    """By time, whoever wrote it; a metric is listed once."""
    for host in ("algo-1", "algo-2"):
        writer = series.writer("job", host)
        for second in (3, 1) if host == "algo-1" else (2,):
            writer.append([(LOSS, point([float(second)], second=START + second))], source_offset=10 - second)
        writer.close()

    assert [each.last for each in every(series)] == [1.0, 2.0, 3.0]
    assert [known.metric for known in series.metrics("job")] == [LOSS]


def test_the_same_offset_twice_counts_once(series):
    """Also to a writer that comes later: what was stored before a crash is not stored again."""
    for _ in range(2):
        writer = series.writer("job", "algo-1")
        for _ in range(2):
            writer.append([(LOSS, point([1.0], second=START))], source_offset=5)
        writer.close()

    assert len(every(series)) == 1


def test_rewinding_forgets_what_comes_again(series):
    """What lies beyond the offset, of every metric, and nothing else."""
    writer = series.writer("job", "algo-1")
    for number in range(1, 5):
        points = [(LOSS, point([float(number)], second=START)), (ERROR, point([float(number)], second=START))]
        writer.append(points, source_offset=number * 10)
    writer.close()
    writer = series.writer("job", "algo-1")
    writer.rewind(25)
    assert [each.last for each in every(series)] == [each.last for each in every(series, ERROR)] == [1.0, 2.0]
    writer.append([(LOSS, point([9.0], second=START))], source_offset=26)
    writer.rewind(26)
    assert [each.last for each in every(series)] == [1.0, 2.0, 9.0]
    writer.rewind(0)
    assert every(series) == []
    writer.close()


def test_one_writer_of_a_name_at_a_time(series):
    """Another name, or another owner, is free."""
    writer = series.writer("job", "algo-1")
    with pytest.raises(StreamBusy):
        series.writer("job", "algo-1")
    series.writer("job", "algo-2").close()
    series.writer("other", "algo-1").close()
    writer.close()
    writer.close()
    series.writer("job", "algo-1").close()


def test_owners_are_apart(series):
    """Whatever characters their names have."""
    names = ["a", "B/../c", "é x", ".hidden"]
    for owner in names:
        writer = series.writer(owner, "w/1")
        writer.append([(metric(job=owner), point([1.0], second=START + 5))], source_offset=0)
        writer.close()

    assert series.owners() == sorted(names)
    for owner in names:
        assert [(known.metric, known.last_second) for known in series.metrics(owner)] == [
            (metric(job=owner), START + 5)
        ]
        assert len(every(series, metric(job=owner), owner)) == 1
    assert every(series, LOSS, "nobody") == []
    assert series.metrics("nobody") == []


def test_a_walk_of_crashes_ends_in_what_an_undisturbed_run_leaves(series):
    """A source read in batches of any size; a crash loses the place in the source that was not stored elsewhere."""
    rng = random.Random(5)
    values = [float(rng.randrange(1000)) for _ in range(400)]
    at = 0
    writer = series.writer("job", "algo-1")
    while at < len(values):
        end = min(len(values), at + rng.randrange(1, 9))
        writer.append([(LOSS, point(values[at:end], second=START + at))], source_offset=end)
        if rng.random() < 0.2:  # killed before the log had it
            writer.close()
            writer = series.writer("job", "algo-1")
            writer.rewind(at)
            continue
        at = end
    writer.close()

    whole = merged(every(series))
    assert (whole.count, whole.total, whole.last) == (400, sum(values), values[-1])


def test_merging_is_as_if_all_had_come_at_once():
    """The number of appends does not show."""
    values = [3.0, 1.0, 2.0, 8.0]
    apart = [point(values[:1], second=1), point(values[1:3], second=2), point(values[3:], second=3)]
    assert merged(apart) == point(values, second=3)
    assert merged([]) is None
