"""What every `Overlays` does. There is one: the kernel's, mounted by root."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from clary.runtimes import overlays, volumes

pytest_plugins = ["loop_volumes"]

ATTACH = """
import sys
from pathlib import Path
from clary.runtimes import overlays
overlays.attach(*map(Path, sys.argv[1:]))
"""


class Place:
    """A lower directory, and one that shows it."""

    def __init__(self, root):
        self.lower, self.own = root / "lower, a:b\\", root / "volume" / "own"
        self.at = self.own / "at"
        (self.lower / "sub").mkdir(parents=True)
        (self.lower / "a").write_text("a")
        (self.lower / "sub" / "b").write_text("b")
        (self.lower / "sub" / "c").write_text("c")
        for path in (self.lower / "a", self.lower / "sub" / "b", self.lower / "sub" / "c"):
            path.chmod(0o644)
        self.own.parent.mkdir()

    def attach(self):
        assert overlays.attach(self.lower, self.own) == self.at

    def elsewhere(self, **environment):
        return subprocess.run(
            [sys.executable, "-c", ATTACH, self.lower, self.own], env={**os.environ, **environment}
        ).returncode

    def mounts(self):
        return volumes.mounted_below(self.at.parent)


def look(directory):
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.read_text() if path.is_file() else None)
        for path in sorted(directory.rglob("*"))
    }


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    try:
        try:
            made.attach()
        except OSError as error:
            required = "volumes" in os.environ.get("CLARY_REQUIRE", "").split(",")
            (pytest.fail if required else pytest.skip)(str(error))
        yield made
    finally:
        overlays.detach_below(tmp_path)


def test_it_shows_what_is_below(place):
    """Modes and owners among it."""
    assert look(place.at) == look(place.lower)
    assert place.at.stat().st_mode & 0o7777 == 0o755
    assert place.mounts() == [place.at]


def test_nothing_that_is_done_to_it_touches_what_is_below(place):
    """Writing, appending, truncating, removing, renaming, changing modes and times, and new things."""
    before = look(place.lower)
    times = {path: path.stat().st_mtime_ns for path in place.lower.rglob("*")}
    with (place.at / "a").open("a") as file:
        file.write("more")
    (place.at / "sub" / "b").unlink()
    os.truncate(place.at / "sub" / "c", 0)
    (place.at / "sub").rename(place.at / "bus")
    (place.at / "bus" / "c").chmod(0o600)
    os.utime(place.at / "a", (1, 1))
    (place.at / "sub").mkdir()
    os.link(place.at / "a", place.at / "sub" / "link")
    os.mkfifo(place.at / "fifo")

    assert look(place.lower) == before
    assert {path: path.stat().st_mtime_ns for path in place.lower.rglob("*")} == times
    assert sorted(path.name for path in place.at.iterdir()) == ["a", "bus", "fifo", "sub"]
    assert (place.at / "a").read_text() == "amore"
    shutil.rmtree(place.at / "bus")
    (place.at / "a").unlink()
    assert look(place.lower) == before


def test_two_do_not_see_each_other(place, tmp_path):
    """Each has its own changes above one and the same directory."""
    other = overlays.attach(place.lower, tmp_path / "other")
    (place.at / "a").write_text("changed")
    assert (other / "a").read_text() == "a"


def test_attached_anew_it_has_no_changes(place):
    """As a channel that is staged again, from an empty directory; and it is mounted once."""
    (place.at / "a").write_text("changed")
    place.attach()
    assert look(place.at) == look(place.lower)
    assert place.mounts() == [place.at]


def test_attached_again_it_has_its_changes(place):
    """After a reboot; without effect if it is there."""
    (place.at / "a").write_text("changed")
    overlays.detach_below(place.own)
    assert not (place.at / "a").exists()
    for _ in range(2):
        overlays.attach_again(place.lower, place.own)
        assert (place.at / "a").read_text() == "changed"
    assert place.mounts() == [place.at]


def test_killed_when_it_is_mounted(place):
    """The second call makes of it what an undisturbed one would."""
    overlays.detach_below(place.own)
    assert place.elsewhere(CLARY_FAULT_CRASH="overlays.mounted") == -signal.SIGKILL
    assert place.mounts() == [place.at]
    place.attach()
    assert place.mounts() == [place.at]


def test_detached_it_is_gone_whoever_uses_it(place):
    """What somebody holds open stays readable to them; the directory can be deleted."""
    with (place.at / "a").open() as file:
        overlays.detach_below(place.at.parent)
        overlays.detach_below(place.at.parent)
        assert place.mounts() == []
        shutil.rmtree(place.at.parent)
        assert file.read() == "a"


def test_what_is_below_may_move_while_it_is_mounted(place, tmp_path):
    """A mount holds the directory, not its name: nothing that the cache does around it can lead it elsewhere."""
    place.lower.rename(tmp_path / "moved")
    assert (place.at / "sub" / "b").read_text() == "b"


def test_an_ordinary_user_is_refused(place, monkeypatch):
    """Before anything is touched."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermissionError):
        place.attach()


@pytest.mark.usefixtures("needs_volumes")
def test_changes_count_on_the_volume_and_go_with_it(tmp_path):
    """The lower directory lies outside; a stray of a crash is found and unmounted with the volume it is on."""
    instances = tmp_path / "instances"
    kept, stray = instances / "kept", instances / "stray"
    for root in (kept, stray):
        root.mkdir(parents=True)
        volumes.attach(root / "volume.ext4", root / "volume", 256 << 20)
        (root / "lower").mkdir()
        (root / "lower" / "a").write_bytes(b"x" * 10_000_000)
        overlays.attach(root / "lower", root / "volume" / "overlays" / "train")
    free = os.statvfs(kept / "volume").f_bavail
    with (kept / "volume" / "overlays" / "train" / "at" / "a").open("ab") as file:
        file.write(b"y")
    assert os.statvfs(kept / "volume").f_bavail < free - 2000
    (kept / "task.json").touch()
    volumes.detach_strays(instances)

    assert volumes.mounted_below(stray) == []
    assert len(volumes.mounted_below(kept)) == 2
    overlays.detach_below(kept / "volume" / "overlays")
    volumes.detach(kept / "volume")
    assert volumes.mounted_below(tmp_path) == []


def test_a_stray_without_a_volume_is_found(place, tmp_path):
    """As one of an instance that shares the machine's disk."""
    volumes.detach_strays(tmp_path)
    assert place.mounts() == []
