"""Deleting whatever a training program left behind."""

import os
import socket

import pytest

from clary.compute.delete_tree import empty_trash, move_to_trash


@pytest.fixture
def trash(tmp_path):
    return tmp_path / "trash"


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def delete(tree, trash) -> None:
    move_to_trash(tree, trash)
    empty_trash(trash)
    assert not tree.exists()
    assert list(trash.iterdir()) == []


def test_directories_that_were_closed_are_opened(tree, trash):
    """A directory without any permission, with content, below another one."""
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "a" / "b" / "file").chmod(0)
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(0o100)
    tree.chmod(0)
    delete(tree, trash)


def test_links_are_not_followed(tree, trash, tmp_path):
    """Links to files, to directories, to themselves and upwards go; what they lead to stays as it was."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    kept.chmod(0o500)
    (tree / "directory").symlink_to(kept)
    (tree / "file").symlink_to(kept / "file")
    (tree / "circle").symlink_to("circle")
    (tree / "up").symlink_to("..")
    delete(tree, trash)
    assert (kept / "file").read_text() == "x"
    assert kept.stat().st_mode & 0o777 == 0o500


def test_a_link_in_the_place_of_the_tree_is_deleted_itself(trash, tmp_path):
    """Should the instance's directory be a link, only the link goes."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree").symlink_to(tmp_path / "kept")
    delete(tmp_path / "tree", trash)
    assert (tmp_path / "kept" / "file").exists()


def test_a_nest_of_any_depth_goes(tree, trash):
    """Deeper than a path may be long, and than Python may recurse."""
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    delete(tree, trash)


def test_odd_files_go(tree, trash, monkeypatch):
    """Pipes, sockets, hard links, and names that are not text."""
    os.mkfifo(tree / "pipe")
    monkeypatch.chdir(tree)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    (tree / "one").write_text("x")
    (tree / "two").hardlink_to(tree / "one")
    (tree / os.fsdecode(b"\xff\n")).touch()
    delete(tree, trash)


def test_a_crash_between_is_made_good(tree, trash):
    """What an earlier call moved away and did not delete goes with the next one."""
    (tree / "file").write_text("x")
    move_to_trash(tree, trash)
    tree.mkdir()
    delete(tree, trash)


def test_nothing_to_delete_is_no_error(tmp_path, trash):
    """Neither a tree that is not there, nor a trash that was never made."""
    empty_trash(trash)
    move_to_trash(tmp_path / "none", trash)
    empty_trash(trash)
