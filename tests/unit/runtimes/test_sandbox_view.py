"""What a path of the sandbox means on the host, worked out without a sandbox."""

from pathlib import Path

import pytest

from clary.runtimes.sandbox import Entry, on_host


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "sh").touch()
    (tmp_path / "usr" / "bin" / "absolute").symlink_to("/usr/bin/sh")
    (tmp_path / "usr" / "bin" / "relative").symlink_to("../bin/sh")
    (tmp_path / "usr" / "bin" / "circle").symlink_to("circle")
    (tmp_path / "usr" / "bin" / "outside").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").touch()
    return tmp_path


@pytest.fixture
def entries(tree):
    return (
        Entry(at="/usr", source=f"{tree}/usr"),
        Entry(at="/bin", link="usr/bin"),
        Entry(at="/tmp"),
        Entry(at="/tmp/data", source=f"{tree}/data"),
    )


@pytest.mark.parametrize("path", ["/usr/bin/sh", "/bin/sh", "/bin/absolute", "/bin/relative", "/bin/../bin/./sh"])
def test_links_are_followed_inside(tree, entries, path):
    """Links of the view and of the host lead to where the program would get."""
    assert on_host(entries, path) == tree / "usr" / "bin" / "sh"


@pytest.mark.parametrize("path", ["/bin/outside", "/bin/circle", "/bin/none", "/tmp/x", "/secret", "/none/sh"])
def test_what_the_program_cannot_reach_is_not_there(entries, path):
    """Links that leave the view, circles, and whatever no mount covers."""
    assert on_host(entries, path) is None


def test_the_last_mount_wins(tree, entries):
    """A mount hides what lay there before, as mounts do."""
    assert on_host(entries, "/tmp/data/x") == tree / "data" / "x"
    assert on_host((*entries, Entry(at="/tmp")), "/tmp/data/x") is None
    over = (*entries, Entry(at="/usr/bin", source=f"{tree}/data"))
    assert on_host(over, "/bin/x") == tree / "data" / "x"
    assert on_host(over, "/bin/sh") is None


def test_a_file_can_be_mounted(tree):
    """A mount need not be a directory."""
    assert on_host((Entry(at="/a/b", source=f"{tree}/data/x"),), "/a/b") == Path(tree / "data" / "x")
