"""Paths below a directory in which others put links."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from clary.base import beneath
from clary.base.beneath import LeadsOut, open_beneath


@pytest.fixture
def root(tmp_path):
    for path in ("root/data/set", "outside/set", "root-beside"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "root" / "file").touch()
    for name, target in {
        "in": "data",
        "absolute": str(tmp_path / "root" / "data"),
        "around": "../root/data",
        "out": "../outside",
        "out-absolute": str(tmp_path / "outside"),
        "beside": "../root-beside",
        "loop": "loop",
        "nowhere": "missing",
    }.items():
        (tmp_path / "root" / name).symlink_to(target)
    return tmp_path / "root"


@pytest.mark.parametrize("path", ["data", "/data", "data/", "in", "absolute", "around", "in/../in/set/..", "./data"])
def test_what_is_inside_is_opened(root, path):
    """Through links too; the answer has none."""
    fd, real = open_beneath(root, path)
    try:
        assert real == root / "data"
        assert os.path.samestat(os.fstat(fd), real.stat())
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["out", "out/set", "out-absolute", "beside", "..", "../outside", "/../root-beside"])
def test_what_leads_out_is_refused(root, path):
    """By links or by dots, also to a name that merely begins as the directory's."""
    with pytest.raises(LeadsOut, match="the path leads out of the file system"):
        open_beneath(root, path)


def opened(root):
    """The paths at or below a directory that this process holds open; its other threads open and close others."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(descriptor.readlink())
    return [path for path in found if path.is_relative_to(root)]


@pytest.mark.parametrize(
    ("path", "code"),
    [("missing", errno.ENOENT), ("nowhere", errno.ENOENT), ("file", errno.ENOTDIR), ("loop", errno.ELOOP)],
)
def test_what_is_no_directory_is_told(root, path, code):
    """As the kernel tells it; nothing stays open."""
    with pytest.raises(OSError) as caught:
        open_beneath(root, path)
    assert caught.value.errno == code
    assert opened(root.parent) == []


def test_a_directory_that_becomes_a_link_in_between_is_refused(root, monkeypatch):
    """Between the look and the opening somebody swaps it: nothing outside is opened."""
    real = os.path.realpath

    def swapped(path, *, strict):
        found = real(path, strict=strict)
        if found.endswith("/data"):
            Path(found).rename(f"{found}-away")
            Path(found).symlink_to(root.parent / "outside")
        return found

    monkeypatch.setattr(beneath.os.path, "realpath", swapped)
    with pytest.raises(OSError) as caught:
        open_beneath(root, "data/set/..")
    assert caught.value.errno in {errno.ENOTDIR, errno.ELOOP}
