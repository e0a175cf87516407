"""The log store on files: crashes, damage, other processes, long streams."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.base.clock import FixedClock, Instant
from clary.logs.files import FileLogStore
from clary.logs.port import LogStore, NoSuchGroup, NoSuchStream, StreamBusy
from log_streams import GROUP, START, STREAM, read, read_all, write

WRITER = """
import sys
from pathlib import Path
from clary.base.clock import SystemClock
from clary.logs.files import FileLogStore
clock = SystemClock()
writer = FileLogStore(Path(sys.argv[1]), clock, segment_bytes=100_000).writer(
    "/aws/sagemaker/TrainingJobs", "job/algo-1-1699307977")
at = writer.resume_offset()
total = at + int(sys.argv[2])
while at < total:
    upto = min(total, at + 1 + at % 23)
    writer.append([b"line %d" % n for n in range(at, upto)], timestamp=clock.now(), source_offset=upto)
    at = upto
writer.close()
print(at)
"""


def data_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.log"))


@settings(max_examples=60, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(
            st.lists(st.lists(st.text("abé ", min_size=1, max_size=60), min_size=1, max_size=5), max_size=8),
            st.integers(0, 400),
            st.booleans(),
        ),
        max_size=5,
    ),
    segment_bytes=st.sampled_from([150, 600, 1 << 20]),
)
def test_whatever_is_torn_off_the_end_a_resumed_stream_is_complete(tmp_path_factory, rounds, segment_bytes):
    """After each kill a reader sees a prefix, and the next writer loses nothing and repeats nothing."""
    root = tmp_path_factory.mktemp("logs")
    store = FileLogStore(root, FixedClock(), segment_bytes=segment_bytes)
    written: list[str] = []
    for time, (appends, torn, lose_index) in enumerate(rounds):
        writer = store.writer(GROUP, STREAM)
        del written[writer.resume_offset() :]  # the source offset counts messages here
        assert written == read_all(store)
        for messages in appends:
            written += messages
            writer.append([m.encode() for m in messages], timestamp=Instant(START + time), source_offset=len(written))
        writer.close()
        last = data_files(root)[-1]
        with last.open("r+b") as file:
            file.truncate(max(0, last.stat().st_size - torn))
        if lose_index:
            last.with_suffix(".index").unlink()
        seen = read_all(store)
        assert written[: len(seen)] == seen
    writer = store.writer(GROUP, STREAM)
    kept = writer.resume_offset()
    assert written[:kept] == read_all(store)
    if written[kept:]:
        writer.append([m.encode() for m in written[kept:]], timestamp=Instant(START), source_offset=len(written))
    writer.close()
    assert written == read_all(store)


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b"CLg1" + b"\xff" * 100, b"CLg1", b"x"])
def test_garbage_after_the_last_frame_is_no_event(tmp_path, garbage):
    """Readers pass over it, the next writer removes it."""
    store = FileLogStore(tmp_path, FixedClock())
    write(store, (0, ["a"]))
    (file,) = data_files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole + garbage)

    assert read_all(store) == ["a"]
    store.writer(GROUP, STREAM).close()
    assert whole == file.read_bytes()


def test_an_altered_frame_ends_its_segment_alone(tmp_path):
    """What follows in later segments is still read."""
    store = FileLogStore(tmp_path, FixedClock(), segment_bytes=200)
    write(store, *((n, [f"{n}" * 50]) for n in range(6)))
    first = data_files(tmp_path)[0]
    data = bytearray(first.read_bytes())
    data[60] ^= 1
    first.write_bytes(data)

    assert "".join(m[0] for m in read_all(store)) == "12345"[-len(read_all(store)) :]
    assert len(read_all(store)) >= 4


@pytest.mark.parametrize("damage", [b"", b"\0" * 32 * 50, b"\xff" * 100])
def test_reading_survives_a_lost_or_damaged_index(tmp_path, damage):
    """Each way to ask gives the same answer as with the index whole."""
    store = FileLogStore(tmp_path, FixedClock())
    write(store, *((n, [f"{n} " + "x" * 500] * 3) for n in range(200)))
    questions = [
        {"from_head": True, "limit": 5},
        {"limit": 5},
        {"start_time": 77, "limit": 4, "from_head": True},
        {"end_time": 120, "limit": 9},
        {"token": f"f/{301:056d}/s", "limit": 3},
        {"token": f"b/{301:056d}/s", "limit": 30},
    ]
    answers = [read(store, **question) for question in map(dict, questions)]
    (index,) = tmp_path.rglob("*.index")
    index.write_bytes(damage)

    assert answers == [read(store, **question) for question in map(dict, questions)]


def test_any_position_of_a_long_stream_is_found(tmp_path):
    """Many segments and index entries, frames of many sizes: each event by its number, forward and backward."""
    store = FileLogStore(tmp_path, FixedClock(), segment_bytes=300_000)
    sizes = [1, 700, 3, 40, 2000, 1, 1, 90]
    write(store, *((n // 3, ["x" * 40] * sizes[n % len(sizes)]) for n in range(160)))
    total = len(read_all(store))
    assert total == sum(sizes) * 20
    assert len(data_files(tmp_path)) > 5

    for number in range(0, total, 97):
        forward = store.read(GROUP, STREAM, token=f"f/{number:056d}/s", limit=3).events
        assert list(range(number, min(number + 3, total))) == [event.number for event in forward]
        backward = store.read(GROUP, STREAM, token=f"b/{number:056d}/s", limit=3).events
        assert list(range(max(0, number - 3), number)) == [event.number for event in backward]
    every = [
        event
        for page in range(0, total, 5000)
        for event in store.read(GROUP, STREAM, token=f"f/{page:056d}/s", limit=5000).events
    ]
    for time in range(54):
        events = store.read(GROUP, STREAM, start_time=Instant(START + time), limit=1, from_head=True).events
        assert next((e for e in every if e.timestamp >= START + time), None) == (events[0] if events else None)


def opened(root: Path) -> list[str]:
    """The paths below a directory that this process holds open; its other threads open and close others."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return [path for path in found if path.startswith(f"{root}/")]


def test_no_descriptor_is_left_open(tmp_path):
    """Through segments, reads of every kind, refused writers and a stream deleted."""
    store = FileLogStore(tmp_path, FixedClock(), segment_bytes=200)
    writer = store.writer(GROUP, STREAM)
    for n in range(20):
        writer.append([b"x" * 100], timestamp=Instant(START + n), source_offset=n)
    with pytest.raises(StreamBusy):
        store.writer(GROUP, STREAM)
    assert read_all(store, start_time=7, end_time=9, limit=1) == ["x" * 100] * 2
    assert store.streams(GROUP).streams
    assert opened(tmp_path)
    writer.close()
    store.delete(GROUP, STREAM)

    assert opened(tmp_path) == []


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    """A write that stops half way appends nothing; the same append may be tried again, or another."""
    store = FileLogStore(tmp_path, FixedClock())
    writer = store.writer(GROUP, STREAM)
    writer.append([b"a"], timestamp=Instant(START), source_offset=1)
    whole, room = os.pwrite, 30

    def full(fd, data, position):
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = whole(fd, data[:room], position)
        room -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            writer.append([b"b" * 100], timestamp=Instant(START), source_offset=2)
    assert read_all(store) == ["a"]
    assert writer.resume_offset() == 1
    writer.append([b"c"], timestamp=Instant(START), source_offset=2)
    assert read_all(store) == ["a", "c"]
    writer.close()


def test_a_name_too_long_for_a_file_is_refused(tmp_path):
    """Longer than any name that SageMaker gives."""
    with pytest.raises(ValueError):
        FileLogStore(tmp_path, FixedClock()).writer(GROUP, "x" * 512)


def test_nothing_lies_outside_the_root(tmp_path):
    """Whatever a stream is called."""
    store = FileLogStore(tmp_path / "in" / "logs", FixedClock())
    for name in ("../../x", "/etc/x", "..", "a/../../../../x", "\0", "*:?"):
        store.writer("..", name).close()

    assert [tmp_path / "in"] == list(tmp_path.iterdir())
    assert [tmp_path / "in" / "logs"] == list((tmp_path / "in").iterdir())
    assert len(store.streams("..").streams) == 6


def follow(store: LogStore, token: str | None, first: int) -> tuple[str | None, int]:
    """Read one page; its events are those from `first` on."""
    try:
        page = store.read(GROUP, STREAM, from_head=True, token=token)
    except (NoSuchGroup, NoSuchStream):
        return token, first
    for number, event in enumerate(page.events, first):
        assert (number, f"line {number}") == (event.number, event.message)
    return page.forward_token, first + len(page.events)


@pytest.mark.parametrize("fault", ["", "logs.append.written", "logs.segment.created"])
def test_readers_follow_a_writer_in_another_process_that_is_killed_and_started_again(tmp_path, fault):
    """Through every kill, tokens give each event once and in order."""
    store = FileLogStore(tmp_path, FixedClock())
    token, seen = None, 0
    for life in range(4):
        last = life == 3
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), "3000" if last else "1000000000"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "CLARY_FAULT_CRASH": "" if last else fault},
            stdout=subprocess.PIPE,
        )
        kill_at = seen + 4000
        try:
            while process.poll() is None:
                token, seen = follow(store, token, seen)
                if not fault and not last and seen >= kill_at:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
        finally:
            process.kill()
            output, _ = process.communicate()
        before = -1
        while before != seen:
            before = seen
            token, seen = follow(store, token, seen)
        assert process.returncode == (0 if last else -signal.SIGKILL)
    assert int(output) == seen
