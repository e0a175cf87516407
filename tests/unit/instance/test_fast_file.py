"""What a FastFile channel shows, through a real mount, against the model of File mode; and who serves it."""

import contextlib
import os
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.base.clock import Instant
from clary.base.telemetry import get_logger
from clary.instance.channel_plan import plan_channel
from clary.instance.fast_file import ChannelTree
from clary.instance.fast_file_mount import FastFileMount, fast_file_channels, keep_view, mounts, view_file
from clary.jobs.failure import JobFailed
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import S3DataSource
from clary.runtimes import fuse
from clary.runtimes.port import CannotStart
from clary.storage.directory import DirectoryStorage
from clary.storage.read_ahead import ReadAhead
from clary.storage.selection import SelectionError
from clary.storage.view import View
from factories import make_channel, make_program
from fuse_mounts import mounted
from unit.instance.scenes import make_task
from unit.instance.test_file_mode_model import Impossible, cuts, of_prefix, trees

pytest_plugins = ["fuse_mounts"]


def fast(name="train", **changes):
    return make_channel(name, input_mode="FastFile", **changes)


def channel_tree(place, tree, prefix, host, hosts):
    """What serves a channel of a bucket with these objects. Raises what planning raises."""
    storage = DirectoryStorage(place / "s3")
    storage.create_bucket("data")
    for key, body in tree.items():
        storage.put("data", key, body)
    distribution = {"s3_data_distribution_type": "ShardedByS3Key"} if hosts > 1 else {}
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://data/{prefix}", **distribution)
    task = make_task(hosts=tuple(f"algo-{n + 1}" for n in range(hosts)), host=f"algo-{host + 1}")
    plan = plan_channel(source, task, lambda _access, _location: storage)
    files = InstanceFiles(place)
    (files.opt_ml / "input" / "data").mkdir(parents=True)
    keep_view(files, "c", plan, now=Instant(5000))
    view = View(view_file(files, "c"))
    return ChannelTree(
        {"c": view}, ReadAhead(lambda _entry: storage, view.following), place / "trouble", get_logger("test")
    )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees, cut=cuts, sharing=st.sampled_from([(0, 1), (0, 2), (1, 2)]), data=st.data())
def test_a_tree_is_that_of_file_mode(tmp_path_factory, tree, cut, sharing, data):
    """By its own methods: the same names, the same bytes, in every distribution; or refused alike."""
    prefix = data.draw(st.sampled_from(sorted(tree)))[:cut]
    host, hosts = sharing
    place = tmp_path_factory.mktemp("tree")
    try:
        expected = of_prefix(tree, prefix, host, hosts)[0]
    except Impossible:
        with pytest.raises((JobFailed, SelectionError)):
            channel_tree(place, tree, prefix, host, hosts)
        return
    shown = channel_tree(place, tree, prefix, host, hosts)
    files, directories, waiting = {}, set(), ["c"]
    while waiting:
        directory, after = waiting.pop(), 0
        while page := shown.list(directory, after):
            for name, entry in page:
                path = f"{directory}/{name}"
                assert shown.find(path).number == entry.number
                if entry.size_bytes is None:
                    directories.add(path[2:])
                    waiting.append(path)
                else:
                    with contextlib.closing(shown.open(path)) as file:
                        files[path[2:]] = file.read(0, 1000)
                    assert shown.find(path).size_bytes == len(files[path[2:]])
            after = page[-1][1].number
    assert (files, directories) == expected


def test_what_is_in_the_input_cache_is_not_asked_for(tmp_path):
    """Its file is read instead."""
    shown = channel_tree(tmp_path, {"a": b"in S3", "b": b"in S3"}, "", 0, 1)
    (tmp_path / "cached").write_bytes(b"cache")
    asked = []

    def cached(entry):
        asked.append((entry.bucket, entry.key, entry.size_bytes))
        return os.open(tmp_path / "cached", os.O_RDONLY) if entry.key == "a" else None

    shown._cached = cached
    found = {}
    for name in "ab":
        with contextlib.closing(shown.open(f"c/{name}")) as file:
            found[name] = file.read(0, 10), file.read(3, 1), file.entry == shown.find(f"c/{name}")

    assert found == {"a": (b"cache", b"h", True), "b": (b"in S3", b"S", True)}
    assert asked == [("data", "a", 5), ("data", "b", 5)]


@pytest.fixture
def instance(tmp_path, needs_fuse):
    """Makes instances with a directory for S3; their servers are ended."""
    made = []

    def make(tree, *, prefix="", **task):
        storage = DirectoryStorage(tmp_path / "s3")
        storage.create_bucket("data")
        for key, body in tree.items():
            storage.put("data", key, body)
        source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://data/{prefix}")
        task = make_task(channels=(fast(),), **task)
        files = InstanceFiles(tmp_path / task.instance_name)
        (files.opt_ml / "input" / "data").mkdir(parents=True)
        files.task.write_bytes(msgspec.json.encode(task))
        files.grants.write_bytes(b"[]")
        keep_view(files, "train", plan_channel(source, task, lambda *_: storage), now=Instant(5000))
        mount = FastFileMount(task, files, fuse, get_logger("test"))
        made.append(mount)
        return mount, files

    yield make
    for mount in made:
        mount.stop()
    assert not mounted(tmp_path)


def test_names_go_through_a_mount_as_they_are(instance):
    """Whatever they hold, deep down too; with sizes, modes, times and numbers that stay."""
    names = [
        "a",
        "é",
        "e\u0301",
        "日本",
        "😀",
        "a b",
        "%41",
        "-rf",
        "*?[]",
        ".hidden",
        "...",
        "tab\t",
        "line\n",
        "back\\slash",
        "\x7f",
    ]
    tree = {f"{one}d/{other}": b"x" * n for n, (one, other) in enumerate(zip(names, reversed(names), strict=True))}
    tree |= {f"{'deep/' * 60}file": b"", "folder/": b""}
    mount, files = instance(tree)
    mount.start()
    top = files.fast_file / "train"
    found = {str(path.relative_to(top)): path.stat() for path in top.rglob("*")}

    assert {name for name, about in found.items() if not (top / name).is_dir()} == {k for k in tree if k != "folder/"}
    assert {name: found[name].st_size for name in tree if name != "folder/"} == {
        name: len(body) for name, body in tree.items() if name != "folder/"
    }
    assert {about.st_mtime for about in found.values()} == {5.0}
    assert len({about.st_ino for about in found.values()}) == len(found)
    numbers = {name: about.st_ino for name, about in found.items()}
    mount.stop()
    assert not mounted(files.root)
    mount.start()  # another server
    assert {str(path.relative_to(top)): path.stat().st_ino for path in top.rglob("*")} == numbers


def test_a_directory_of_many_files_is_listed_whole(instance):
    """Each name once."""
    mount, files = instance({f"many/{n}": b"" for n in range(5000)})
    mount.start()

    assert sorted((path.name for path in (files.fast_file / "train" / "many").iterdir()), key=int) == [
        str(n) for n in range(5000)
    ]


def test_a_server_is_found_again_and_its_death_is_noticed(instance):
    """By another instance program; a dead mount is replaced as long as the program has not started."""
    mount, files = instance({"a": b"1"})
    mount.start()
    mount.leave()
    again = FastFileMount(make_task(channels=(fast(),)), files, fuse, get_logger("test"))
    again.start()
    process = int(files.fast_file_lock.read_text())
    assert not again.is_torn()
    os.kill(process, 9)
    ended = threading.Event()
    for _ in range(1000):
        if again.is_torn():
            break
        ended.wait(0.01)  # the kernel takes it away
    assert again.is_torn()
    again.start()

    assert not again.is_torn()
    assert [path.name for path in (files.fast_file / "train").iterdir()] == ["a"]
    again.stop()


def test_what_cannot_be_mounted_is_told(instance, monkeypatch):
    """In the words of the server; and containers that could not see it."""
    mount, files = instance({"a": b"1"})
    view_file(files, "train").unlink()
    with pytest.raises(CannotStart, match="unable to open database file"):
        mount.start()
    monkeypatch.setattr(fuse, "closed_to_others", lambda: "Cure: user_allow_other")
    task = make_task(channels=(fast(),), program=make_program(reference="image"))
    with pytest.raises(CannotStart, match="user_allow_other"):
        FastFileMount(task, files, fuse, get_logger("test")).start()


def test_what_the_program_sees():
    """Each channel at its place, read-only; where it is downloaded, from there."""
    files = InstanceFiles(Path("/i"))
    task = make_task(channels=(fast("a"), make_channel("b"), fast("c")))
    found = [(mount.source, mount.target, mount.read_only) for mount in mounts(task, files)]

    assert found == [(f"/i/fast_file/{name}", f"/opt/ml/input/data/{name}", True) for name in "ac"]
    downloaded = msgspec.structs.replace(task, fast_file="download")
    assert [mount.source for mount in mounts(downloaded, files)] == [
        f"/i/volume/opt_ml/input/data/{name}" for name in "ac"
    ]
    assert (fast_file_channels(task), fast_file_channels(downloaded)) == (["a", "c"], [])
