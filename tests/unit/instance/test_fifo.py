"""The FIFOs of a channel: what a reader sees of them, what becomes of them in a program's hands, and the note."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import clary
from clary.instance.fifo import PIPE_BYTES, Displaced, Fifos, Note, feed_epoch
from unit.instance.readers import plain, polled, without_blocking

PATIENCE_S = 30


class Channel:
    """A channel `c` whose epochs are fed by a thread, which the end of the test stops."""

    def __init__(self, root, blocks=lambda epoch: [f"epoch {epoch}\n".encode()]):
        self.data = root / "opt_ml" / "input" / "data"
        self.data.mkdir(parents=True)
        self.staging = root / "staging"
        self.staging.mkdir()
        self.note = Note(root / "note")
        self.stopped = threading.Event()
        self.held = []
        self.error = None
        self.fifos = Fifos("c", self.data, self.staging)
        self.fifos.make(self.note.epoch)
        self.blocks = blocks
        self.feeder = threading.Thread(target=self._feed)

    def start(self):
        self.feeder.start()
        return self

    def _feed(self):
        try:
            while self._epoch(self.note.epoch):
                pass
        except Exception as error:
            self.error = error

    def _epoch(self, epoch):
        wait = lambda: not self.stopped.wait(0.002)  # noqa: E731
        return feed_epoch(self.fifos, self.note, epoch, lambda: self.blocks(epoch), wait, self._hold)

    def _hold(self, error):
        self.held.append(error)
        self.stopped.wait()

    def stop(self):
        self.stopped.set()
        if self.feeder.ident is not None:
            self.feeder.join(PATIENCE_S)
            assert not self.feeder.is_alive()
        self.fifos.close()

    def path(self, epoch):
        return self.data / f"c_{epoch}"


@pytest.fixture
def channel(tmp_path):
    made = []

    def make(**how):
        made.append(Channel(tmp_path, **how))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # a thread of our own works: there is nothing to wait on but what it leaves behind


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o777])
def test_whoever_runs_the_program_may_open_it(tmp_path, umask):
    """A FIFO has mode 0666, whatever the umask."""
    data = tmp_path / "x" / "input" / "data"
    data.mkdir(parents=True)
    before = os.umask(umask)
    try:
        fifos = Fifos("c", data, tmp_path)
        fifos.make(0)
        fifos.close()
    finally:
        os.umask(before)
    found = (data / "c_0").stat()
    assert stat.S_ISFIFO(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o666


@pytest.mark.parametrize("read", [plain, polled, without_blocking])
def test_a_reader_gets_each_epoch_to_its_end(channel, read):
    """Everything, then the end of the file, then the next epoch."""
    c = channel().start()

    assert [read(c.path(epoch)) for epoch in range(5)] == [f"epoch {epoch}\n".encode() for epoch in range(5)]


@pytest.mark.parametrize("read", [plain, polled, without_blocking])
def test_more_than_the_fifo_holds_comes_through(channel, read):
    """Blocks of odd sizes, empty ones among them, three times what the FIFO holds."""
    blocks = [bytes([n]) * (PIPE_BYTES // 7 * n % 99_991) for n in range(100)]
    c = channel(blocks=lambda _epoch: [*blocks[:50], b"", memoryview(b"".join(blocks[50:]))]).start()

    assert read(c.path(0)) == b"".join(blocks)


@pytest.mark.parametrize("read", [plain, without_blocking])
def test_an_epoch_without_data_ends_at_once(channel, read):
    """A host that gets no share reads nothing, again and again."""
    c = channel(blocks=lambda _epoch: []).start()

    assert [read(c.path(epoch)) for epoch in range(20)] == [b""] * 20


def test_the_next_fifo_is_there_before_the_end(channel):
    """And the one that was read is gone when its reader sees the end."""
    c = channel().start()
    with c.path(0).open("rb", buffering=0) as file:
        assert file.read(100) == b"epoch 0\n"
        assert c.path(1).is_fifo()
        assert file.read() == b""
        assert not c.path(0).exists()


def test_a_reader_that_closes_early_gets_the_next_epoch(channel):
    """Whether it has read something or nothing, and whether all of the epoch fits into the FIFO or not."""
    c = channel(blocks=lambda epoch: [bytes([epoch]) * (3 * PIPE_BYTES if epoch % 2 else 10)]).start()
    for epoch in range(8):
        until(c.path(epoch).exists)
        with c.path(epoch).open("rb", buffering=0) as file:
            if epoch < 4:
                assert file.read(5) == bytes([epoch]) * 5
        until(lambda: c.note.epoch > epoch)  # noqa: B023  it is called at once
        assert not c.path(epoch).exists()
    assert not c.held


def test_a_reader_that_never_comes_keeps_nobody(channel):
    """Stopping ends the feeder; the note says that nothing was begun."""
    c = channel().start()
    time.sleep(0.05)  # some looks for a reader
    c.stopped.set()
    c.feeder.join(PATIENCE_S)

    assert not c.feeder.is_alive()
    assert (c.note.epoch, c.note.at_it) == (0, False)


def test_a_reader_that_dies_while_the_feeder_is_blocked_frees_it(channel):
    """Killed with a full FIFO, as a program that ends in the middle of an epoch."""
    c = channel(blocks=lambda _epoch: [bytes(PIPE_BYTES)] * 4).start()
    subprocess.run(["sh", "-c", 'head -c 1 <"$1"', "sh", c.path(0)], check=True, timeout=PATIENCE_S)
    until(lambda: c.note.epoch == 1)


def test_no_end_is_seen_while_an_error_is_held(channel):
    """A reader that has got a part waits; only when the hold is over does its file end."""

    def blocks(_epoch):
        yield b"half"
        raise LookupError("the rest is gone")

    c = channel(blocks=blocks).start()
    with c.path(0).open("rb", buffering=0) as file:
        assert file.read(4) == b"half"
        os.set_blocking(file.fileno(), False)
        until(lambda: c.held)
        assert file.read(1) is None  # would block: no end
        assert (c.note.epoch, c.note.at_it) == (0, True)
        c.stopped.set()
        c.feeder.join(PATIENCE_S)
        assert file.read(1) == b""
    assert isinstance(c.error, LookupError)
    assert (c.note.epoch, c.note.at_it) == (0, True)


def test_a_broken_pipe_of_the_storage_is_no_early_close(channel):
    """Only our own writing tells that the reader has gone."""

    def blocks(_epoch):
        yield b"half"
        raise BrokenPipeError

    c = channel(blocks=blocks).start()
    with c.path(0).open("rb", buffering=0) as file:
        assert file.read(4) == b"half"
        until(lambda: c.held)


@pytest.mark.parametrize("when", ["before", "while it is looked for"])
@pytest.mark.parametrize("what", ["file", "link", "dangling link", "nothing"])
def test_what_lies_in_a_fifos_place_is_replaced(channel, tmp_path, what, when):
    """Neither followed nor written to: what a link points at keeps its bytes."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    c = channel()
    if when != "before":
        c.start()
        time.sleep(0.01)  # it looks for a reader
    place = c.path(0)
    new = tmp_path / "new"
    match what:
        case "file":
            new.write_bytes(b"the program's own")
        case "link":
            new.symlink_to(outside)
        case "dangling link":
            new.symlink_to(tmp_path / "nowhere")
    if what == "nothing":
        place.unlink()
    else:
        new.rename(place)
    if when == "before":
        c.start()
    until(lambda: place.is_fifo() and not place.is_symlink())
    assert plain(place) == b"epoch 0\n"
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert not c.held


def test_a_device_is_not_even_opened(channel):
    """Opening one may do something: a FIFO is put in its place."""
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    c = channel()
    c.path(0).unlink()
    try:
        os.mknod(c.path(0), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices may be made here")
    c.start()
    until(c.path(0).is_fifo)


def test_a_link_to_another_fifo_is_not_followed(channel, tmp_path):
    """A reader of the other one gets nothing of ours."""
    os.mkfifo(tmp_path / "other")
    other = os.open(tmp_path / "other", os.O_RDONLY | os.O_NONBLOCK)
    try:
        c = channel()
        (tmp_path / "new").symlink_to(tmp_path / "other")
        (tmp_path / "new").rename(c.path(0))
        c.start()
        until(lambda: not c.path(0).is_symlink())
        assert plain(c.path(0)) == b"epoch 0\n"
        assert os.read(other, 10) == b""
    finally:
        os.close(other)


def test_a_directory_in_a_fifos_place_ends_the_channel(channel):
    """It is not ours to remove. Nothing is torn."""
    c = channel()
    c.path(0).unlink()
    c.path(0).mkdir()
    (c.path(0) / "file").write_bytes(b"")
    c.start()
    c.feeder.join(PATIENCE_S)

    assert isinstance(c.error, Displaced)
    assert (c.note.at_it, c.held) == (False, [])


def test_a_directory_in_the_next_ones_place_does_not_disturb_this_epoch(channel):
    """It ends the channel when its turn comes."""
    c = channel()
    c.path(1).mkdir()
    c.start()
    assert plain(c.path(0)) == b"epoch 0\n"
    c.feeder.join(PATIENCE_S)

    assert isinstance(c.error, Displaced)
    assert (c.note.epoch, c.note.at_it) == (1, False)


def test_a_program_that_removes_the_directory_ends_the_channel(channel):
    """Or moves it away: names are looked up in the directory that was there."""
    c = channel()
    c.path(0).unlink()
    c.data.rmdir()
    c.start()
    c.feeder.join(PATIENCE_S)

    assert isinstance(c.error, Displaced)


@pytest.mark.parametrize("part", ["data", "input", "opt_ml"])
def test_a_link_in_the_place_of_a_directory_is_not_followed(tmp_path, part):
    """Wherever the program could have put one."""
    data = tmp_path / "opt_ml" / "input" / "data"
    data.mkdir(parents=True)
    place = next(path for path in (data, *data.parents) if path.name == part)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Displaced):
        Fifos("c", data, tmp_path)


FEED = """
import sys
from pathlib import Path
from clary.instance.fifo import Fifos, Note, feed_epoch
root = Path(sys.argv[1])
note = Note(root / "note")
fifos = Fifos("c", root / "opt_ml" / "input" / "data", root / "staging")
print("ready", flush=True)
for _ in range(2):
    feed_epoch(fifos, note, note.epoch, lambda: [b"x" * 10], lambda: True, lambda error: None)
"""


@pytest.mark.parametrize(
    ("point", "epoch", "at_it", "read"),
    [("pipe.opened", 0, True, b""), ("pipe.noted", 1, False, b"x" * 10), ("pipe.closed", 1, False, b"x" * 10)],
)
def test_the_note_outlives_a_kill(channel, tmp_path, point, epoch, at_it, read):
    """Where a reader may have got less than all, it says so; where it got all, its end was the right one."""
    c = channel()
    feeder = subprocess.Popen(
        [sys.executable, "-c", FEED, tmp_path],
        env=os.environ | {"CLARY_FAULT_CRASH": point, "PYTHONPATH": str(Path(clary.__file__).parents[1])},
        stdout=subprocess.PIPE,
    )
    with feeder.stdout as said:
        assert said.readline() == b"ready\n"
        assert plain(c.path(0)) == read
        assert feeder.wait(PATIENCE_S) == -signal.SIGKILL

    again = Note(tmp_path / "note")
    assert (again.epoch, again.at_it) == (epoch, at_it)
    if not at_it:  # whoever comes next goes on with the next epoch
        c.start()
        assert plain(c.path(1)) == b"epoch 1\n"


def test_a_new_note_begins_at_the_beginning(tmp_path):
    """Epoch 0, nobody at it; what is written is there for whoever opens it next."""
    note = Note(tmp_path / "note")
    assert (note.epoch, note.at_it) == (0, False)
    note.write(7, at_it=True)
    note.close()
    assert (Note(tmp_path / "note").epoch, Note(tmp_path / "note").at_it) == (7, True)
