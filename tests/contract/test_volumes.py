"""What every `Volumes` does. There is one: files on loop devices."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clary.runtimes import volumes
from clary.runtimes.port import VolumeTrouble
from loop_volumes import loop_devices, no_loop_devices

pytest_plugins = ["loop_volumes"]
pytestmark = pytest.mark.usefixtures("needs_volumes")

MIB = 1 << 20
SIZE = 256 * MIB

ATTACH = """
import pathlib, sys
from clary.runtimes import volumes
volumes.attach(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]))
"""


class Place:
    """One volume below `root`, attached by this process or another."""

    def __init__(self, root):
        root.mkdir()
        self.image = root / "volume.ext4"
        self.at = root / "volume"

    def attach(self, size=SIZE):
        volumes.attach(self.image, self.at, size)

    def elsewhere(self, **environment):
        """A process of its own that attaches it."""
        return subprocess.Popen(
            [sys.executable, "-c", ATTACH, self.image, self.at, str(SIZE)], env={**os.environ, **environment}
        )

    def mounts(self):
        return volumes.mounted_below(self.at.parent)

    def unmount_by_hand(self):
        subprocess.run(["umount", self.at], check=True)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "instance")


def fill(path, most=2 * SIZE):
    """Write until the disk is full; the error that said so."""
    block = os.urandom(MIB)
    with path.open("wb", buffering=0) as file:
        try:
            while file.tell() < most:
                file.write(block)
        except OSError as error:
            return error.errno
    return None


def test_it_is_as_large_as_was_asked(place):
    """But for the file system's own tables, and some 16 MiB that ext4 keeps; and it costs what is on it."""
    place.attach(1 << 30)
    disk = os.statvfs(place.at)

    assert 0.95 * 2**30 < disk.f_bavail * disk.f_frsize <= disk.f_blocks * disk.f_frsize <= 2**30
    assert place.image.stat().st_size == 1 << 30
    assert place.image.stat().st_blocks * 512 < 4 * MIB


def test_it_fills_alone(place):
    """ENOSPC at the limit, and only there."""
    place.attach()

    assert fill(place.at / "big") == errno.ENOSPC
    assert (place.at / "big").stat().st_size > 0.9 * SIZE
    (place.at.parent / "journal").write_bytes(b"x" * MIB)


def test_attaching_twice_is_attaching_once(place):
    """What is on it stays."""
    place.attach()
    (place.at / "file").write_text("x")
    place.attach(2 * SIZE)

    assert place.mounts() == [place.at]
    assert (place.at / "file").read_text() == "x"
    assert len(loop_devices(place.at.parent)) == 1


def test_many_attach_it_at_once(place):
    """It is mounted once."""
    racers = [place.elsewhere() for _ in range(3)]

    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert place.mounts() == [place.at]


def test_detaching_leaves_nothing(place):
    """No mount and no loop device; again and again, and before anything was attached."""
    volumes.detach(place.at)
    place.attach()
    volumes.detach(place.at)
    volumes.detach(place.at)

    assert place.mounts() == []
    assert no_loop_devices(place.at.parent)


def test_one_that_is_in_use_is_detached_all_the_same(place):
    """The device goes with its last user."""
    place.attach()
    with (place.at / "file").open("w"):
        volumes.detach(place.at)
        assert place.mounts() == []
    assert no_loop_devices(place.at.parent)


@pytest.mark.parametrize("again", ["attach", "attach_again"])
def test_after_a_reboot_it_is_mounted_again(place, again):
    """With everything that was on it."""
    place.attach()
    (place.at / "file").write_text("x")
    place.unmount_by_hand()
    if again == "attach":
        place.attach()
    else:
        volumes.attach_again(place.image, place.at)
        volumes.attach_again(place.image, place.at)

    assert (place.at / "file").read_text() == "x"
    assert place.mounts() == [place.at]


def test_what_was_never_there_does_not_come_back(place):
    """An instance without a volume of its own is left alone."""
    place.at.mkdir()
    volumes.attach_again(place.image, place.at)

    assert place.mounts() == []
    assert [entry.name for entry in place.at.parent.iterdir()] == ["volume"]


def test_a_damaged_one_is_not_trusted(place):
    """A volume that cannot be mended without a loss is no base for artifacts."""
    place.attach()
    place.unmount_by_hand()
    with place.image.open("r+b") as file:
        file.write(b"\xff" * MIB)

    with pytest.raises(VolumeTrouble, match="damaged"):
        volumes.attach_again(place.image, place.at)


@pytest.mark.parametrize("point", ["volumes.formatted", "volumes.made", "volumes.mounted"])
def test_killed_while_it_is_attached(place, point):
    """The second call makes of it what an undisturbed one would."""
    assert place.elsewhere(CLARY_FAULT_CRASH=point).wait(60) == -signal.SIGKILL
    place.attach()

    assert place.mounts() == [place.at]
    assert len(loop_devices(place.at.parent)) == 1
    (place.at / "file").write_text("x")


def test_no_mount_comes_after_the_detachment(place, tmp_path):
    """Whoever started mount(8) may be dead: what it does late is undone, too."""
    tools, hold, begun = tmp_path / "tools", tmp_path / "hold", tmp_path / "begun"
    tools.mkdir()
    hold.touch()
    real = next(Path(path) for path in ("/usr/bin/mount", "/bin/mount") if Path(path).exists())
    script = tools / "mount"
    script.write_text(
        f'#!/bin/sh\necho $$ > {begun}.new; mv {begun}.new {begun}\nwhile [ -e {hold} ]; do sleep 0.01; done\nexec {real} "$@"\n'
    )
    script.chmod(0o755)
    starter = place.elsewhere(PATH=f"{tools}:{os.environ['PATH']}")
    while not begun.exists():
        time.sleep(0.01)  # another process works
    starter.kill()
    starter.wait(10)
    detaching = threading.Thread(target=volumes.detach, args=(place.at,))
    detaching.start()
    hold.unlink()
    detaching.join(30)
    while runs(int(begun.read_text())):
        time.sleep(0.01)  # as above

    assert not detaching.is_alive()
    assert place.mounts() == []


def test_it_takes_no_more_than_the_machine_has(place):
    """A limit above the room that there is would promise what cannot be kept; some is left for logs and reports."""
    place.attach(2 * SIZE)
    inner = Place(place.at / "instance")
    inner.attach(100 << 30)

    assert 128 * MIB < inner.image.stat().st_size < 256 * MIB
    volumes.detach(inner.at)


def test_a_loss_is_told(place):
    """Two volumes have promised the same room, and the machine's disk is full: what the program saw written is not there."""
    place.attach(SIZE // 2)
    inner = Place(place.at / "instance")
    inner.attach()
    volumes.settle(inner.at)
    fill(place.at / "somebody else's")
    (inner.at / "file").write_bytes(os.urandom(32 * MIB))

    with pytest.raises(VolumeTrouble, match="lost"):
        volumes.settle(inner.at)
    volumes.detach(inner.at)


def test_settling_without_a_volume_is_nothing(place):
    """Instances without one go the same way."""
    place.at.mkdir()
    volumes.settle(place.at)


def test_odd_names(tmp_path):
    """The kernel writes some characters of a mount point in octal."""
    odd = Place(tmp_path / "a b\\134\tc,d=é")
    odd.attach()
    assert odd.mounts() == [odd.at]
    volumes.detach(odd.at)
    assert odd.mounts() == []


def test_strays_are_found(tmp_path):
    """Mounts of instances that are no more; those of the others stay."""
    kept, stray = Place(tmp_path / "kept"), Place(tmp_path / "stray")
    (kept.at.parent / "task.json").touch()
    kept.attach()
    stray.attach()
    volumes.detach_strays(tmp_path)

    assert volumes.mounted_below(tmp_path) == [kept.at]


def test_the_probe_leaves_nothing(tmp_path):
    """And minds nothing that an earlier one left."""
    probe = Place(tmp_path / ".volume-probe")
    probe.attach()

    assert volumes.problem(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
