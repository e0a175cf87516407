"""Every line of the output is stored once, with its metrics, whatever fails or dies in between."""

import random

import pytest

from clary.base.clock import FixedClock
from clary.base.telemetry import get_logger
from clary.instance.__main__ import metric_finder
from clary.instance.metrics import LastMetrics
from clary.instance.ship_logs import Shipper
from clary.jobs.model import MetricDefinition
from clary.logs.files import FileLogStore
from clary.logs.metric_files import FileMetricSeries
from clary.logs.metric_series import TRAINING_JOBS, Metric, merged
from unit.instance.scenes import make_task

DEFINITIONS = (MetricDefinition(name="loss", regex="loss=([0-9.]+)"),)


class FullDisk:
    """A writer that refuses some appends, as a full disk does."""

    def __init__(self, writer, refusals):
        self._writer = writer
        self._refusals = refusals

    def append(self, what, **more):
        if self._refusals:
            self._refusals.pop()
            raise OSError(28, "No space left on device")
        self._writer.append(what, **more)

    def __getattr__(self, name):
        return getattr(self._writer, name)


class Output:
    """An output file, its log, and shippers one after the other."""

    def __init__(self, root):
        self.root = root
        self.path = root / "output.raw"
        self.clock = FixedClock()
        self.logs = FileLogStore(root / "logs", self.clock)
        self.series = FileMetricSeries(root / "logs")
        self.refusals = []
        self.series_refusals = []

    def shipper(self) -> Shipper:
        return Shipper(
            training_job_name="job",
            output=self.path,
            open_writer=lambda: FullDisk(self.logs.writer("g", "s"), self.refusals),
            open_series=lambda: FullDisk(self.series.writer("job", "s"), self.series_refusals),
            find_metrics=metric_finder(make_task(metric_definitions=DEFINITIONS)),
            metrics=LastMetrics(self.root / "metrics.json", DEFINITIONS),
            clock=self.clock,
            log=get_logger("instance"),
        )

    def print(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    @property
    def lines(self):
        token, found = None, []
        while True:
            page = self.logs.read("g", "s", from_head=True, token=token)
            if not page.events:
                return found
            found += [event.message for event in page.events]
            token = page.forward_token

    @property
    def values(self):
        """How many values of the metric the series hold, and their sum."""
        loss = Metric(namespace=TRAINING_JOBS, name="loss", dimensions=(("TrainingJobName", "job"),))
        whole = merged(self.series.points("job", loss, start=0, end=1 << 40))
        return (0, 0.0) if whole is None else (whole.count, whole.total)

    @property
    def metrics(self):
        return [(m.metric_name, m.value) for m in LastMetrics(self.root / "metrics.json", DEFINITIONS).values()]


@pytest.fixture
def output(tmp_path):
    return Output(tmp_path)


def test_a_silent_program_has_a_stream(output):
    """The stream is there before the first line, and even before the output file is."""
    shipper = output.shipper()

    assert shipper.ship()
    assert output.lines == []
    assert shipper.finish()
    shipper.close()


def test_an_open_line_waits_for_its_end(output):
    """It is stored when its newline comes, or when the program has ended."""
    shipper = output.shipper()
    output.print(b"one\ntw")
    assert shipper.ship()
    assert output.lines == ["one"]
    output.print(b"o\nthree")
    assert shipper.ship()
    assert output.lines == ["one", "two"]
    assert shipper.finish()
    assert shipper.finish()
    assert output.lines == ["one", "two", "three"]
    shipper.close()


def test_a_full_disk_delays_lines_and_loses_none(output):
    """Refused lines are counted, kept, and stored later, in order and with their metrics."""
    output.refusals += [1] * 3
    output.series_refusals += [1] * 2
    shipper = output.shipper()
    output.print(b"loss=1\n")
    assert [shipper.ship() for _ in range(4)] == [False] * 4
    output.print(b"loss=2\n")
    assert [shipper.finish(), shipper.finish()] == [False, True]
    shipper.close()

    assert (output.lines, shipper.failures) == (["loss=1", "loss=2"], 5)
    assert output.metrics == [("loss", 2.0)]
    assert output.values == (2, 3.0)


def test_shippers_may_die_at_any_time(output):
    """Whatever the sizes of what is printed in between, the next one goes on where the log ends."""
    random.seed(3)
    printed = b"".join(b"%d loss=%d \xc3\xa9\n" % (n, n) for n in range(5000)) + b"end"
    position = 0
    while position < len(printed):
        size = random.randrange(1, 4000)
        output.print(printed[position : position + size])
        position += size
        shipper = output.shipper()
        if random.random() < 0.8:
            shipper.ship()
        shipper.close()
    shipper = output.shipper()
    assert shipper.finish()
    shipper.close()

    assert output.lines == printed.decode().split("\n")
    assert output.metrics == [("loss", 4999.0)]
    assert output.values == (5000, sum(range(5000)))


def test_a_value_counts_once_if_a_shipper_dies_between_it_and_its_line(output):
    """Its line is read again, in batches of another size; the series forget it first."""
    output.print(b"loss=1\nloss=2\n")
    output.refusals += [1]
    shipper = output.shipper()
    assert not shipper.ship()
    shipper.close()
    assert (output.lines, output.values) == ([], (2, 3.0))
    output.print(b"loss=4\n")
    shipper = output.shipper()
    assert shipper.finish()
    shipper.close()

    assert (len(output.lines), output.values) == (3, (3, 7.0))


def test_stored_output_gives_its_blocks_back(output):
    """The source keeps its length; a new shipper reads on behind the hole."""
    line = b"x" * 1023 + b"\n"
    output.print(line * 10_000)
    shipper = output.shipper()
    while not shipper.ship():
        pass
    shipper.close()
    found = output.path.stat()
    output.print(b"more\n")
    shipper = output.shipper()
    assert shipper.finish()
    shipper.close()

    assert found.st_size == 10_240_000
    assert found.st_blocks * 512 < 5_000_000
    assert (len(output.lines), output.lines[-1]) == (10_001, "more")
