"""The StatusMessage of a download."""

import pytest

from clary.instance.progress import Pace, progress_message
from clary.storage.transfer import Progress

MB = 1_000_000


def progress(done, total):
    return Progress(objects_done=1, objects_total=3, bytes_done=done, bytes_total=total)


@pytest.mark.parametrize(
    ("rate", "ending"),
    [
        (None, ""),
        (2.5 * MB, ", 2.5 MB/s, 36 s left"),
        (MB, ", 1.0 MB/s, 1 min 30 s left"),
        (10_000, ", 10.0 kB/s, 2 h 30 min left"),
        (10**9, ", 1.0 GB/s, 1 s left"),
        (0.0, ", 0 bytes/s"),
    ],
)
def test_objects_bytes_rate_and_time_left_are_told(rate, ending):
    """In that order; a store that gives nothing has no time left that could be told."""
    said = progress_message("train", progress(10 * MB, 100 * MB), rate)
    assert said == f"Downloading input data: channel train, 1 of 3 objects, 10.0 MB of 100.0 MB{ending}"


def test_no_time_is_left_at_the_end():
    """The rate is still told."""
    assert progress_message("c", progress(MB, MB), 5.0 * MB).endswith("1.0 MB of 1.0 MB, 5.0 MB/s")


def test_the_rate_is_that_of_the_last_ten_seconds():
    """It is not told too early, and a store that stalls is soon seen to stall."""
    pace = Pace()
    assert [pace.bytes_per_s(n * MB, n / 2) for n in range(3)] == [None, None, 2 * MB]
    assert pace.bytes_per_s(20 * MB, 10.0) == 2 * MB
    stalled = [pace.bytes_per_s(20 * MB, 10.0 + n) for n in range(1, 25)]
    assert stalled == sorted(stalled, reverse=True)
    assert stalled[-1] == 0
