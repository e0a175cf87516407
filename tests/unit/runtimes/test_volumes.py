"""Why there may be no volumes: what is seen without trying, and needs no root to be tested."""

import os
import shutil

import pytest

from clary.runtimes import volumes


@pytest.fixture
def as_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_only_root_can_have_them(monkeypatch, tmp_path):
    """Said with the cure; nothing is tried."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert volumes.problem(tmp_path) == "only root can mount volumes. Cure: run Clary as root"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("tool", "package"), [("mkfs.ext4", "e2fsprogs"), ("umount", "mount")])
def test_a_missing_program_is_named(monkeypatch, as_root, tool, package):
    """With the package that has it."""
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name == tool else f"/bin/{name}")

    assert volumes.unavailable() == (
        f"{tool} is missing. Cure: apt-get install {package}, or your system's package with it"
    )


def test_a_dev_in_which_nothing_appears_is_no_good(monkeypatch, as_root):
    """In a container, the tenth instance would find no device for its volume."""
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/bin/{name}")
    monkeypatch.setattr(volumes, "_mounts", lambda: [("/", "overlay"), ("/dev", "tmpfs")])
    monkeypatch.setattr(volumes.Path, "exists", lambda _path: True)

    assert volumes.unavailable() == "new loop devices would not appear in /dev. Cure: in a container, -v /dev:/dev"


def test_where_nothing_was_attached_nothing_is_done(tmp_path):
    """An instance without a volume is released, settled and looked after like any other, by any user."""
    (tmp_path / "volume").mkdir()
    volumes.detach(tmp_path / "volume")
    volumes.settle(tmp_path / "volume")
    volumes.attach_again(tmp_path / "volume.ext4", tmp_path / "volume")
    volumes.detach_strays(tmp_path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["volume"]
