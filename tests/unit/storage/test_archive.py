import io
import os
import random
import socket
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.storage.archive import is_empty, pack
from clary.storage.tree import open_member, walk

SEEN_AS = "/opt/ml/model"


def packed(*roots, **options):
    sink = io.BytesIO()
    pack(roots, sink, **options)
    return sink.getvalue()


def contents(data):
    """What a stock reader finds: path to bytes, None for a directory."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {m.name: None if m.isdir() else tar.extractfile(m).read() for m in tar}


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return tar.getmembers()


def write(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) <= 200
)
TREES = st.recursive(
    st.binary(max_size=3000), lambda children: st.dictionaries(NAMES, children, max_size=4), max_leaves=15
).filter(lambda tree: isinstance(tree, dict))


def plant(root, tree, prefix=""):
    expected = {}
    for name, node in tree.items():
        if isinstance(node, dict):
            (root / name).mkdir()
            expected[prefix + name] = None
            expected |= plant(root / name, node, f"{prefix}{name}/")
        else:
            (root / name).write_bytes(node)
            expected[prefix + name] = node
    return expected


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tree=TREES)
def test_any_tree_comes_back_from_the_archive(tmp_path_factory, tree):
    """Every tree of files and directories reads back the same with Python's own tarfile and gzip."""
    root = tmp_path_factory.mktemp("tree")
    expected = plant(root, tree)
    assert contents(packed(root)) == expected
    assert is_empty([root]) == (not expected)


def test_members_are_relative_sorted_and_owned_by_root(tmp_path):
    """Names have no leading directory, are sorted by bytes, belong to 0:0, and keep mode and time."""
    for name in ["b", "a.txt", "a/z", "a-b/c"]:
        write(tmp_path / name)
    (tmp_path / "b").chmod(0o750)
    os.utime(tmp_path / "b", (1_600_000_000, 1_600_000_000))
    found = members(packed(tmp_path))
    assert [m.name for m in found] == ["a", "a-b", "a-b/c", "a.txt", "a/z", "b"]
    assert {(m.uid, m.gid, m.uname, m.gname) for m in found} == {(0, 0, "", "")}
    assert (found[-1].mode, found[-1].mtime) == (0o750, 1_600_000_000)


def test_the_same_tree_gives_the_same_bytes(tmp_path):
    """Packing twice gives one and the same stream."""
    rng = random.Random(1)
    write(tmp_path / "weights", rng.randbytes(5_000_000))
    write(tmp_path / "n" / "m")
    assert packed(tmp_path) == packed(tmp_path)


def test_large_and_sparse_files(tmp_path):
    """A file of many blocks, and one with holes, keep every byte."""
    data = random.Random(2).randbytes(9_000_001)
    write(tmp_path / "big", data)
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    found = contents(packed(tmp_path))
    assert found["big"] == data
    assert found["sparse"] == bytes(3_000_000) + b"end"


def test_an_empty_tree_is_a_readable_archive(tmp_path):
    """No members still make a valid tar.gz, and a root that is not there is empty."""
    assert contents(packed(tmp_path)) == {}
    assert contents(packed(tmp_path / "nowhere")) == {}
    assert is_empty([tmp_path, tmp_path / "nowhere"])


def test_hosts_merge_and_the_later_wins(tmp_path):
    """Trees of several hosts become one; on one path the later root wins, also as file against directory."""
    one, two = tmp_path / "1", tmp_path / "2"
    write(one / "both", b"1")
    write(two / "both", b"2")
    write(one / "algo-1" / "x", b"1")
    write(two / "algo-2" / "x", b"2")
    write(one / "dir-then-file" / "below", b"1")
    write(two / "dir-then-file", b"2")
    write(one / "file-then-dir", b"1")
    write(two / "file-then-dir" / "below", b"2")
    assert contents(packed(one, two)) == {
        "algo-1": None,
        "algo-1/x": b"1",
        "algo-2": None,
        "algo-2/x": b"2",
        "both": b"2",
        "dir-then-file": b"2",
        "file-then-dir": None,
        "file-then-dir/below": b"2",
    }


def test_links_inside_become_their_content(tmp_path):
    """Relative links, chains of links, and absolute links as the job saw them are followed inside the tree."""
    root = tmp_path / "model"
    write(root / "blobs" / "1", b"weights")
    (root / "current").symlink_to("blobs/1")
    (root / "chain").symlink_to("current")
    (root / "absolute").symlink_to(f"{SEEN_AS}/blobs/1")
    (root / "up").symlink_to("blobs/../blobs/./1")
    (root / "latest").symlink_to("blobs")
    os.link(root / "blobs" / "1", root / "hard")
    found = contents(packed(root, seen_as=SEEN_AS))
    assert found.pop("blobs") is None
    assert found.pop("latest") is None
    assert found == dict.fromkeys(["blobs/1", "current", "chain", "absolute", "up", "latest/1", "hard"], b"weights")


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../secret",
        "../../../../../../etc/passwd",
        "sub/../../secret",
        "..",
        "/",
        "/opt/ml/modelx",
        "/opt/ml/model/../../../etc/passwd",
        "gone",
        "self",
        "file/below",
        "out/secret",
    ],
)
def test_links_that_lead_out_are_left_out_and_told(tmp_path, target):
    """A link out of the tree, to nothing, or to itself, is skipped with a reason; no foreign byte gets in."""
    write(tmp_path / "secret", b"secret")
    root = tmp_path / "model"
    write(root / "sub" / "x")
    write(root / "file")
    (root / "out").symlink_to("..")
    (root / "self").symlink_to(target)
    skipped = []
    data = packed(root, seen_as=SEEN_AS, on_skip=lambda path, _reason: skipped.append(path))
    assert contents(data) == {"sub": None, "sub/x": b"x", "file": b"x"}
    assert sorted(skipped) == ["out", "self"]


def test_directory_links_do_not_multiply_a_tree(tmp_path):
    """A web of directory links ends, and is at most every link times the tree."""
    for name in "abcdefgh":
        write(tmp_path / name / "file")
    for name in "abcdefgh":
        for other in "abcdefgh":
            (tmp_path / name / f"to-{other}").symlink_to(f"../{other}")
    (tmp_path / "a" / "up").symlink_to("..")
    assert len(walk([tmp_path])) < 8 * 8 * 10


def test_things_that_are_no_files_are_left_out(tmp_path):
    """FIFOs and sockets are skipped at once, not opened, also behind a link."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        skipped = []
        assert contents(packed(tmp_path, on_skip=lambda path, _reason: skipped.append(path))) == {}
    assert sorted(skipped) == ["fifo", "link", "socket"]
    assert is_empty([tmp_path])


def test_a_file_replaced_by_a_link_is_not_read(tmp_path):
    """Between listing and packing, a path that turns into a link out of the tree is refused."""
    write(tmp_path / "secret")
    root = tmp_path / "model"
    write(root / "d" / "file")
    file = next(member for member in walk([root]) if not member.is_directory)
    (root / "d").rename(tmp_path / "elsewhere")
    (root / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"), open_member(file):
        pass


def test_a_very_deep_tree(tmp_path):
    """A tree deeper than Python's stack and the number of open files is packed like any other."""
    start = os.open(tmp_path, os.O_RDONLY)
    fd = start
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        assert max(member.path.count("/") for member in walk([tmp_path])) == 1499
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own clean-up recurses


def test_names_that_are_not_utf8(tmp_path):
    """File names of any bytes survive."""
    name = os.fsdecode(b"caf\xe9-\xff")
    write(tmp_path / name)
    assert list(contents(packed(tmp_path))) == [name]


class Broken:
    """A sink that takes some bytes and then fails."""

    def __init__(self, after):
        self.left = after

    def write(self, data):
        self.left -= len(data)
        if self.left < 0:
            raise RuntimeError("sink")
        return len(data)


@pytest.mark.parametrize("after", [0, 100, 3_000_000])
def test_a_failing_sink_ends_the_work(tmp_path, after):
    """The sink's error comes out, and no thread stays behind to wait for it."""
    write(tmp_path / "big", random.Random(3).randbytes(12_000_000))
    with pytest.raises(RuntimeError, match="sink"):
        pack([tmp_path], Broken(after))


def test_a_check_that_raises_ends_the_work(tmp_path):
    """The check runs about once per MiB, and its error ends the packing with the end of the archive unwritten."""
    write(tmp_path / "big", random.Random(4).randbytes(12_000_000))
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 5:
            raise TimeoutError

    sink = io.BytesIO()
    with pytest.raises(TimeoutError):
        pack([tmp_path], sink, check=check)
    with pytest.raises(EOFError):
        contents(sink.getvalue())
