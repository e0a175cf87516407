"""How fast a training program's output becomes a log stream with metrics, beside the least that a reader could do.

    PYTHONPATH=src python bench/log_shipping.py [LINES]

The path: read 64 KiB blocks of a file -> split, escape -> match 10 metric definitions that begin and end with `.*` ->
append the values to time series and the lines to a stream, on files, a sync each second. The peer, in the same run: `for line in file`, which only reads. Prints
one JSON object; peak memory is that of the whole process. Also printed: a random page of 100 events, and its median time.
"""

import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clary.base.clock import Instant, SystemClock
from clary.instance.metrics import points
from clary.jobs.model import MetricData
from clary.logs.events import LineSplitter
from clary.logs.files import FileLogStore
from clary.logs.metric_definitions import MetricMatcher
from clary.logs.metric_files import FileMetricSeries
from clary.logs.metric_series import TRAINING_JOBS, Metric, merged
from clary.logs.tokens import Direction, event_token

BLOCK_BYTES = 64 * 1024
GROUP, STREAM = "/aws/sagemaker/TrainingJobs", "bench/algo-1-1"
NUMBER = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
DEFINITIONS = [
    (f"{data}:{name}", rf".*\[[0-9]+\].*#011{data}-{name}:{NUMBER}.*")
    for data in ("train", "validation")
    for name in ("rmse", "mae", "auc", "logloss", "error")
]


def make_source(path: Path, lines: int, every: int) -> int:
    """Lines of about 100 bytes; one of `every` yields two metric values. Returns how many values there are."""
    rng = random.Random(1)
    with path.open("w") as file:
        for n in range(lines):
            if n % every == 0:
                file.write(f"[{n}]\ttrain-rmse:{rng.random():.5f}\tvalidation-rmse:{rng.random():.5f}\n")
            else:
                file.write(
                    f"2026-01-01 12:00:{n % 60:02d},123 INFO step {n}: waited {rng.random():.6f} s, queue {n % 64}, "
                    f"batch [{n % 512}]\n"
                )
    return 2 * len(range(0, lines, every))


def ship(source: Path, store: FileLogStore, kept: FileMetricSeries) -> tuple[int, int]:
    """The path that is measured. Returns lines and values."""
    clock = SystemClock()
    matcher = MetricMatcher(DEFINITIONS)
    writer = store.writer(GROUP, STREAM)
    series = kept.writer("bench", "algo-1")
    splitter = LineSplitter(writer.resume_offset())
    lines = values = 0
    synced = clock.now()
    with source.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            now = clock.now()
            messages = splitter.feed(block)
            found = matcher.feed(messages, now)
            values += len(found)
            if found:
                data = [MetricData(metric_name=each.name, value=each.value, timestamp=now) for each in found]
                series.append(points(data, "bench"), source_offset=splitter.offset)
            writer.append(messages, timestamp=now, source_offset=splitter.offset)
            lines += len(messages)
            if now - synced > 1000:
                series.sync()
                writer.sync()
                synced = now
    series.close()
    writer.close()
    return lines, values


def read_lines(source: Path) -> int:
    """The peer: reads, and does nothing."""
    count = 0
    with source.open() as file:
        for _ in file:
            count += 1
    return count


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Seconds that a call takes, and what it answers."""
    begin = time.perf_counter()
    answer = call()
    return time.perf_counter() - begin, answer


def page_seconds(store: FileLogStore, lines: int) -> float:
    """Median time of reading 100 events from anywhere."""
    rng = random.Random(2)
    tokens = [event_token(Direction.FORWARD, rng.randrange(lines - 100)) for _ in range(500)]
    return statistics.median(
        timed(lambda token=token: store.read(GROUP, STREAM, limit=100, token=token))[0] for token in tokens
    )


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    figures: dict[str, object] = {"lines": lines, "definitions": len(DEFINITIONS)}
    with tempfile.TemporaryDirectory() as home:
        for name, every in (("1 line in 100 matches", 100), ("1 line in 10 matches", 10), ("each line matches", 1)):
            source = Path(home) / "output.raw"
            expected = make_source(source, lines, every)
            store = FileLogStore(Path(home) / name, SystemClock())
            kept = FileMetricSeries(Path(home) / name)
            seconds, answer = timed(lambda source=source, store=store, kept=kept: ship(source, store, kept))
            assert answer == (lines, expected), answer
            peer, count = timed(lambda source=source: read_lines(source))
            assert count == lines
            figures[name] = {
                "lines_per_second": round(lines / seconds),
                "readline_lines_per_second": round(lines / peer),
                "ratio": round(peer / seconds, 3),
                "page_of_100_ms": round(page_seconds(store, lines) * 1000, 3),
            }
            stored = store.read(GROUP, STREAM, start_time=Instant(0), limit=1).events[-1].number + 1
            assert stored == lines, stored
            metric = Metric(namespace=TRAINING_JOBS, name=DEFINITIONS[0][0], dimensions=(("TrainingJobName", "bench"),))
            whole = merged(kept.points("bench", metric, start=0, end=1 << 40))
            assert whole is not None
            assert whole.count == expected // 2, whole
    figures["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
