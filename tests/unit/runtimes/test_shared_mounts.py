"""Mounts of directories in which others put links: what is mounted lies where it should, and is never taken for ours."""

import os

import pytest

from clary.runtimes import process
from clary.runtimes.docker.ownership import needs_reclaiming
from clary.runtimes.port import CannotStart, Exited, Mount
from clary.runtimes.shared_mounts import open_shared, real_source

TARGET = "/opt/ml/input/data/efs"


@pytest.fixture
def shared(tmp_path):
    """A shared file system with a directory, a link to it, and a link that leads out."""
    root = tmp_path / "shared"
    (root / "data").mkdir(parents=True)
    (root / "data" / "file").write_text("shared")
    (root / "in").symlink_to("data")
    (root / "out").symlink_to(tmp_path)
    return root


def mount(shared, path, *, read_only=True):
    return Mount(source=str(shared / path), target=TARGET, read_only=read_only, within=str(shared))


def test_an_engine_is_told_where_the_directory_really_is(shared):
    """Without links; a mount of ours stays as it is."""
    own = Mount(source=str(shared / "in"), target="/x")
    assert real_source(own) is own
    assert real_source(mount(shared, "in")) == mount(shared, "data")
    with pytest.raises(CannotStart, match=f"{shared}/out cannot be mounted as {TARGET}: .*leads out"):
        real_source(mount(shared, "out"))


def test_what_is_shared_is_not_made_ours(shared):
    """Whoever owns its files: they go on belonging to them."""
    assert needs_reclaiming([Mount(source=str(shared), target="/x", read_only=False)], os.geteuid() + 1)
    assert not needs_reclaiming([mount(shared, "data", read_only=False)], os.geteuid() + 1)


@pytest.mark.sandbox
@pytest.mark.parametrize("read_only", [True, False])
def test_the_program_sees_it(sandboxes, shared, read_only):
    """Below another mount, through a link that stays inside, written to if it may be."""
    script = f"cat {TARGET}/file; echo written >{TARGET}/new || echo refused"
    said = sandboxes.shell(script, mounts=[mount(shared, "in", read_only=read_only)])
    assert said.startswith("shared")
    assert ("refused" in said) is read_only
    assert (shared / "data" / "new").exists() is not read_only
    assert not list((sandboxes.opt_ml / "input/data/efs").iterdir()), (
        "on the host the mount point is an empty directory"
    )


@pytest.mark.sandbox
def test_one_that_leads_out_is_not_mounted(sandboxes, shared):
    """The program does not start, however often it is tried; once all is well it does."""
    for _ in range(2):
        with pytest.raises(CannotStart, match="leads out"):
            sandboxes.start("/bin/true", mounts=[mount(shared, "out")])
    (shared / "out").unlink()
    (shared / "out").mkdir()
    assert sandboxes.run("/bin/true", mounts=[mount(shared, "out")])[0] == Exited(exit_code=0)


@pytest.mark.sandbox
def test_a_directory_that_is_swapped_at_the_last_moment_is_still_the_one_that_was_opened(
    sandboxes, shared, tmp_path, monkeypatch
):
    """A link put in its place before the sandbox is made leads nobody out."""
    (tmp_path / "file").write_text("outside")

    def swapped(given):
        found = open_shared(given)
        (shared / "data").rename(shared / "away")
        (shared / "data").symlink_to(tmp_path)
        return found

    monkeypatch.setattr(process, "open_shared", swapped)
    assert sandboxes.shell(f"cat {TARGET}/file", mounts=[mount(shared, "data")]) == "shared"
