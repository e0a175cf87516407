"""A directory that a program in the sandbox sees with its own changes, which are kept elsewhere."""

import os
import subprocess

import pytest

from clary.runtimes import sandbox_overlays, volumes
from clary.runtimes.port import Exited, Mount

pytestmark = pytest.mark.sandbox


@pytest.fixture
def lower(tmp_path):
    directory = tmp_path / "lower, a:b\\"
    (directory / "sub").mkdir(parents=True)
    (directory / "a").write_text("a")
    (directory / "sub" / "b").write_text("b")
    (directory / "run").write_text("#!/bin/sh\necho ran\n")
    (directory / "run").chmod(0o755)
    return directory


@pytest.fixture
def own(tmp_path, lower):
    directory = tmp_path / "own"
    try:
        sandbox_overlays.make(lower, directory)
    except OSError as error:
        pytest.skip(str(error))
    return directory


def mount(lower, own):
    return Mount(source=str(own), target="/opt/ml/input/data/train", read_only=False, lower=str(lower))


def look(directory):
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_what_it_writes_lies_above(sandboxes, lower, own):
    """Nothing of the directory below changes, and nothing is mounted on the machine."""
    before = look(lower)
    script = "cd /opt/ml/input/data/train; cat a sub/b; echo c >> a; rm sub/b; chmod 600 run; touch new; mv sub bus; cat a; ls"
    printed = sandboxes.shell(script, mounts=[mount(lower, own)])

    assert printed == "abac\na\nbus\nnew\nrun\n"
    assert look(lower) == before
    assert (lower / "run").stat().st_mode & 0o777 == 0o755
    assert volumes.mounted_below(sandboxes.root.parent) == []
    assert look(own / "upper") == {"a": "ac\n", "new": "", "run": before["run"]}


def test_a_program_in_it_is_found(sandboxes, lower, own):
    """As one that came by download."""
    state, printed = sandboxes.run("/opt/ml/input/data/train/run", mounts=[mount(lower, own)])
    assert (state, printed) == (Exited(exit_code=0), "ran\n")


def test_made_anew_it_has_no_changes(sandboxes, lower, own):
    """Although the kernel leaves a directory there that is closed to its owner."""
    sandboxes.shell("echo c > /opt/ml/input/data/train/a", mounts=[mount(lower, own)], name="first")
    sandbox_overlays.make(lower, own)
    assert list((own / "upper").iterdir()) == []
    assert sandboxes.shell("cat /opt/ml/input/data/train/a", mounts=[mount(lower, own)], name="second") == "a"


def test_where_there_can_be_none(lower, tmp_path, monkeypatch):
    """The reason is told."""
    monkeypatch.setattr(
        subprocess, "run", lambda *_args, **_more: subprocess.CompletedProcess([], 1, b"", b"no overlays")
    )
    with pytest.raises(OSError, match="no overlays"):
        sandbox_overlays.make(lower, tmp_path / "other")


def test_a_read_only_place_is_no_place(lower):
    """What the kernel refuses is found out beforehand."""
    with pytest.raises(OSError):
        sandbox_overlays.make(lower, type(lower)(f"/proc/{os.getpid()}/own"))
