import errno
import os
import random
import stat
import threading
import time
import tracemalloc

import pytest

from clary.storage import transfer
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Corruption, Fault, FaultyStorage
from clary.storage.integrity import Corrupt
from clary.storage.port import AccessDenied, Changed, NoSuchKey, StorageError, Unreachable
from clary.storage.reading import ReadObject, read_objects
from clary.storage.seal import Seal
from clary.storage.selection import SelectedObject, Selection, UnsafeKey, select_prefix
from clary.storage.transfer import PART_BYTES, Cancelled, InsufficientDisk, download
from clary.storage.upload import upload_archive, upload_tree

BUCKET = "bucket"


@pytest.fixture
def storage(tmp_path):
    storage = DirectoryStorage(tmp_path / "s3")
    storage.create_bucket(BUCKET)
    return storage


@pytest.fixture
def channel(tmp_path):
    return tmp_path / "input" / "data" / "train"


def fill(storage, objects, prefix="p/"):
    for key, data in objects.items():
        storage.put(BUCKET, prefix + key, data)
    return select_prefix(prefix, storage.list_objects(BUCKET, prefix))


def tree(directory):
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes() for path in directory.rglob("*")
    }


def some_objects():
    rng = random.Random(7)
    return {
        "a": b"a",
        "empty": b"",
        "sub/dir/b": rng.randbytes(1000),
        "sub/c": rng.randbytes(PART_BYTES),
        "big": rng.randbytes(3 * PART_BYTES + 11),
        "marker/": b"",
        "marker/child": b"x",
        "bare/": b"",
        ".hidden": b"h",
    }


def expected_tree(objects):
    files = {key: data for key, data in objects.items() if not key.endswith("/")}
    return files | dict.fromkeys(["sub", "sub/dir", "marker", "bare"])


def test_a_selection_is_brought_whole(storage, channel):
    """Files, empty files, directories and large objects arrive; nothing else is in the channel or beside it."""
    objects = some_objects()
    progress = download(storage, BUCKET, fill(storage, objects), channel)
    assert tree(channel) == expected_tree(objects)
    assert list(channel.parent.iterdir()) == [channel]
    assert progress.objects_done == progress.objects_total == 7
    assert progress.bytes_done == progress.bytes_total == sum(map(len, objects.values()))


def test_modes_are_0644_and_0755_whatever_the_umask(storage, channel):
    """Files are 0644 and directories 0755, the channel's own included."""
    old = os.umask(0o077)
    try:
        download(storage, BUCKET, fill(storage, some_objects()), channel)
    finally:
        os.umask(old)
    for path in [channel, *channel.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


def test_an_empty_selection_is_an_empty_directory(storage, channel):
    """A host beyond the number of objects gets a directory that exists."""
    download(storage, BUCKET, Selection(objects=()), channel)
    assert tree(channel) == {}


def test_running_again_ends_in_the_same_tree(storage, channel):
    """Whatever an earlier run or anything else left behind is gone, links are removed and not followed."""
    objects = some_objects()
    selection = fill(storage, objects)
    outside = channel.parent.parent / "outside"
    outside.mkdir(parents=True)
    (outside / "keep").write_bytes(b"keep")
    (channel / "sub").mkdir(parents=True)
    (channel / "sub" / "stale").write_bytes(b"stale")
    (channel / "a").write_bytes(b"half")
    (channel / "link").symlink_to(outside)
    (channel.parent / ".train.partial").mkdir()
    (channel.parent / ".train.partial" / "0").write_bytes(b"half")
    download(storage, BUCKET, selection, channel)
    assert tree(channel) == expected_tree(objects)
    assert list(channel.parent.iterdir()) == [channel]
    assert (outside / "keep").read_bytes() == b"keep"


@pytest.mark.parametrize("call", [1, 3, 7, 9])
def test_a_failure_at_any_request_can_be_repeated(storage, channel, call):
    """The error of any single request comes out; a second run brings everything."""
    objects = some_objects()
    selection = fill(storage, objects)
    faulty = FaultyStorage(storage, [Fault(verb="get", error=Unreachable("gone"), on_call=call)])
    with pytest.raises(Unreachable):
        download(faulty, BUCKET, selection, channel)
    assert list(channel.parent.iterdir()) == [channel]
    download(faulty, BUCKET, selection, channel)
    assert tree(channel) == expected_tree(objects)


def test_a_failing_object_is_not_left_half(storage, channel):
    """After a failure every file in the channel is whole."""
    objects = some_objects()
    selection = fill(storage, objects)
    faulty = FaultyStorage(storage, [Fault(verb="get", error=Unreachable("gone"), after_bytes=20 * 2**20, times=99)])
    with pytest.raises(Unreachable):
        download(faulty, BUCKET, selection, channel, concurrency=2)
    for path, data in tree(channel).items():
        assert data is None or data == objects[path]


def test_objects_that_change_or_vanish_fail_the_transfer(storage, channel):
    """Each object is read as it was listed, or not at all."""
    selection = fill(storage, {"k": b"old"})
    storage.put(BUCKET, "p/k", b"new")
    with pytest.raises(Changed):
        download(storage, BUCKET, selection, channel)
    storage.delete(BUCKET, "p/k")
    with pytest.raises(NoSuchKey):
        download(storage, BUCKET, selection, channel)
    assert tree(channel) == {}


def test_fewer_bytes_than_listed_fail_the_transfer(storage, channel):
    """A size that does not match is an error, for small objects and for parts."""
    fill(storage, {"k": b"12"})
    etag = storage.head(BUCKET, "p/k").etag
    for size in (3, PART_BYTES + 1):
        item = SelectedObject(key="p/k", size_bytes=size, etag=etag, relative_path="k")
        with pytest.raises(StorageError, match=r"expected|416"):
            download(storage, BUCKET, Selection(objects=(item,)), channel)
    assert tree(channel) == {}


def test_paths_are_checked_once_more(storage, channel):
    """A plan made by other means cannot write outside the directory either."""
    fill(storage, {"k": b"x"})
    item = SelectedObject(key="p/k", size_bytes=1, etag=storage.head(BUCKET, "p/k").etag, relative_path="../k")
    with pytest.raises(UnsafeKey):
        download(storage, BUCKET, Selection(objects=(item,)), channel)
    with pytest.raises(UnsafeKey):
        download(storage, BUCKET, Selection(objects=(), directories=("../d",)), channel)
    assert list(channel.parent.iterdir()) == [channel]


def test_what_cannot_fit_is_refused_before_the_first_byte(storage, channel):
    """A selection larger than the free disk raises InsufficientDisk without a request."""
    counting = FaultyStorage(storage)
    item = SelectedObject(key="k", size_bytes=1 << 60, etag="", relative_path="k")
    with pytest.raises(InsufficientDisk):
        download(counting, BUCKET, Selection(objects=(item,)), channel)
    assert counting.calls == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["pwrite", "posix_fallocate"])
def test_a_full_disk_is_named(storage, channel, monkeypatch, call, code):
    """A disk or quota that fills up on the way is InsufficientDisk too, and the scratch files are gone."""
    selection = fill(storage, {"k": b"x", "big": bytes(PART_BYTES + 1)})

    def full(*_args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(transfer.os, call, full)
    with pytest.raises(InsufficientDisk):
        download(storage, BUCKET, selection, channel)
    assert list(channel.parent.iterdir()) == [channel]


class Stuck:
    """A storage whose reads wait until they are let go, or for a minute."""

    def __init__(self, inner):
        self._inner = inner
        self.asked = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Semaphore(0)

    def get(self, *args, **options):
        self.asked.set()
        self.go.wait(60)
        try:
            return self._inner.get(*args, **options)
        finally:
            self.ended.release()


def test_cancelling_does_not_wait_for_the_store(storage, channel):
    """A cancelled transfer returns although requests hang, and their late bytes go nowhere."""
    stuck = Stuck(storage)
    selection = fill(storage, {"k": b"x"})
    started = time.monotonic()
    with pytest.raises(Cancelled):
        download(stuck, BUCKET, selection, channel, cancelled=stuck.asked.is_set)
    assert time.monotonic() - started < 30
    stuck.go.set()
    assert stuck.ended.acquire(timeout=10)
    for thread in threading.enumerate():
        if thread.name.startswith("download-"):
            thread.join(10)
    assert tree(channel) == {}


def test_progress_is_told_in_the_callers_thread(storage, channel, monkeypatch):
    """Progress never goes back, ends complete, and arrives in the thread that called."""
    monkeypatch.setattr(transfer, "_PROGRESS_EVERY_S", 0)
    monkeypatch.setattr(transfer, "_POLL_S", 0.001)
    told = []
    selection = fill(storage, {f"{n:03}": bytes(n) for n in range(300)})
    download(storage, BUCKET, selection, channel,
             on_progress=lambda progress: told.append((threading.get_ident(), progress)))  # fmt: skip
    assert {thread for thread, _ in told} == {threading.get_ident()}
    counts = [progress.objects_done for _, progress in told]
    assert counts == sorted(counts)
    assert counts[-1] == 300


def test_memory_does_not_grow_with_the_objects(storage, channel):
    """A download, a stream and an upload of 160 MiB need no more than their bounded number of parts."""
    with storage.open_writer(BUCKET, "p/big") as writer:
        for _ in range(160):
            writer.write(bytes(2**20))
    selection = select_prefix("p/", storage.list_objects(BUCKET, "p/"))
    tracemalloc.start()
    try:
        download(storage, BUCKET, selection, channel)
        assert sum(len(block.data) for block in read_objects(lambda _entry: storage, entries(selection))) == 160 * 2**20
        upload_tree(storage, BUCKET, "copy", [channel])
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def entries(selection):
    return [
        ReadObject(bucket=BUCKET, key=item.key, size_bytes=item.size_bytes, etag=item.etag)
        for item in selection.objects
    ]


def test_reading_gives_objects_in_order_with_their_ends(storage):
    """Blocks come in order, the last of each object marked, an empty object as one empty block."""
    objects = {"1": b"", "2": b"abcdefg", "3": b"hi", "4": b"abcd"}
    selection = fill(storage, objects)
    blocks = [
        (block.entry.key.removeprefix("p/"), bytes(block.data), block.last)
        for block in read_objects(lambda _entry: storage, entries(selection), block_bytes=3, ahead_requests=2)
    ]
    assert blocks == [
        ("1", b"", True),
        ("2", b"abc", False),
        ("2", b"def", False),
        ("2", b"g", True),
        ("3", b"hi", True),
        ("4", b"abc", False),
        ("4", b"d", True),
    ]


def test_reading_stops_when_it_is_closed(storage):
    """A reader that leaves early causes no more than the requests that were under way."""
    counting = FaultyStorage(storage)
    selection = fill(storage, {f"{n:03}": b"x" for n in range(100)})
    blocks = read_objects(lambda _entry: counting, entries(selection), ahead_requests=3)
    next(blocks)
    blocks.close()
    assert len(counting.calls) <= 6


def test_reading_raises_where_the_object_is_at_fault(storage):
    """Blocks before a failing object still come."""
    selection = fill(storage, {"1": b"a", "2": b"b"})
    faulty = FaultyStorage(storage, [Fault(verb="get", error=AccessDenied("no"), key="p/2")])
    blocks = read_objects(lambda _entry: faulty, entries(selection))
    assert bytes(next(blocks).data) == b"a"
    with pytest.raises(AccessDenied):
        next(blocks)


def plant(root):
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"f")
    (root / "sub" / "big").write_bytes(random.Random(5).randbytes(9 * 2**20))
    (root / "link").symlink_to("file")
    (root / "out").symlink_to("/etc/passwd")
    return root


def test_an_archive_appears_whole_or_not_at_all(storage, tmp_path):
    """A store that fails after some bytes leaves neither object nor upload; a second run replaces everything."""
    root = plant(tmp_path / "model")
    error = Unreachable("gone")
    faulty = FaultyStorage(storage, [Fault(verb="open_writer", error=error, after_bytes=2**20)])
    with pytest.raises(Unreachable):
        upload_archive(faulty, BUCKET, "model.tar.gz", [root])
    assert list(storage.list_objects(BUCKET, "")) == []
    assert storage.uploads(BUCKET) == 0
    skipped = []
    count = upload_archive(faulty, BUCKET, "model.tar.gz", [root], on_skip=lambda path, _reason: skipped.append(path))
    first = storage.head(BUCKET, "model.tar.gz")
    assert (count, skipped) == (4, ["out"])
    upload_archive(faulty, BUCKET, "model.tar.gz", [root])
    assert storage.head(BUCKET, "model.tar.gz") == first


def test_a_killed_upload_is_cleaned_up_by_the_next(storage, tmp_path):
    """What a killed writer left under the key goes away when the upload runs again."""
    root = plant(tmp_path / "model")
    left = storage.open_writer(BUCKET, "model.tar.gz")
    left.__enter__().write(b"half")
    upload_archive(storage, BUCKET, "model.tar.gz", [root])
    assert storage.uploads(BUCKET) == 0
    with pytest.raises(FileNotFoundError):
        left.__exit__(None, None, None)


def test_leftovers_that_may_not_be_listed_are_no_failure(storage, tmp_path):
    """A role without the right to list uploads can upload all the same."""
    root = plant(tmp_path / "model")
    faulty = FaultyStorage(storage, [Fault(verb="abort_uploads", error=AccessDenied("no"), times=99)])
    assert upload_archive(faulty, BUCKET, "model.tar.gz", [root]) == 4


def test_cancelling_an_archive_leaves_nothing(storage, tmp_path):
    """A cancelled upload raises Cancelled, and no object appears."""
    root = plant(tmp_path / "model")
    calls = []
    with pytest.raises(Cancelled):
        upload_archive(
            storage, BUCKET, "model.tar.gz", [root], cancelled=lambda: calls.append(1) is None and len(calls) > 4
        )
    assert list(storage.list_objects(BUCKET, "")) == []


@pytest.mark.parametrize("prefix", ["out/model", "out/model/"])
def test_a_tree_becomes_objects(storage, tmp_path, prefix):
    """Every file is an object below the prefix with one slash between; links out are left out."""
    root = plant(tmp_path / "model")
    assert upload_tree(storage, BUCKET, prefix, [root]) == 3
    found = {info.key: bytes(storage.get(BUCKET, info.key)) for info in storage.list_objects(BUCKET, "")}
    assert found == {
        "out/model/file": b"f",
        "out/model/link": b"f",
        "out/model/sub/big": (root / "sub" / "big").read_bytes(),
    }


def test_a_file_name_that_no_key_can_have_fails_a_tree(storage, tmp_path):
    """Keys are UTF-8; a file with another name must not be left out in silence."""
    root = tmp_path / "model"
    root.mkdir()
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    with pytest.raises(StorageError, match=r"caf\\xe9"):
        upload_tree(storage, BUCKET, "p", [root])


def test_a_tree_with_a_failing_object_fails(storage, tmp_path):
    """The first failure ends the upload of a tree and comes out."""
    root = tmp_path / "model"
    root.mkdir()
    for n in range(50):
        (root / str(n)).write_bytes(b"x")
    faulty = FaultyStorage(storage, [Fault(verb="put", error=AccessDenied("no"), on_call=5, times=99)])
    with pytest.raises(AccessDenied):
        upload_tree(faulty, BUCKET, "p", [root])
    assert len(faulty.calls) < 50


@pytest.mark.parametrize("size", [10, PART_BYTES + 1, 3 * PART_BYTES])
def test_a_wrong_byte_is_read_again(storage, channel, size):
    """Whichever byte it is, and in whichever part: what is on the disk at the end is what was stored."""
    data = random.Random(size).randbytes(size)
    selection = fill(storage, {"k": data, "other": b"x"})
    for times in (1, 2):
        faulty = FaultyStorage(storage, corruptions=[Corruption(key="p/k", times=times)])
        progress = download(faulty, BUCKET, selection, channel)
        assert (channel / "k").read_bytes() == data
        assert progress.bytes_done == progress.bytes_total
        assert (channel / "k").stat().st_size == size


@pytest.mark.parametrize("size", [10, 3 * PART_BYTES])
def test_bytes_that_stay_wrong_fail_the_transfer(storage, channel, size):
    """Nothing wrong gets into the channel, however often the store gives it."""
    selection = fill(storage, {"k": bytes(size)})
    faulty = FaultyStorage(storage, corruptions=[Corruption(key="p/k", times=10**9)])
    with pytest.raises(Corrupt, match="BadDigest: the bytes of s3://bucket/p/k do not fit its checksum or ETag"):
        download(faulty, BUCKET, selection, channel)
    assert tree(channel) == {}
    assert list(channel.parent.iterdir()) == [channel]


def test_an_object_that_nothing_is_told_of_is_taken_as_it_comes(storage, channel):
    """Once, and without a doubt: one whose ETag is no MD5, and that has no checksum."""

    class Silent(FaultyStorage):
        def seal(self, bucket, key, etag, *, sure=False):
            super().seal(bucket, key, etag, sure=sure)

    selection = fill(storage, {"k": bytes(3 * PART_BYTES)})
    silent = Silent(storage, corruptions=[Corruption(key="p/k")])
    download(silent, BUCKET, selection, channel, concurrency=1)
    assert [verb for verb, _ in silent.calls] == ["get", "seal", "get", "get"]


def test_a_seal_that_does_not_hold_for_sure_is_no_reason_to_doubt(storage, channel):
    """Parts that differ in size, which shows only when all are asked for: the object is what came."""

    class Unsure(FaultyStorage):
        def seal(self, bucket, key, etag, *, sure=False):
            super().seal(bucket, key, etag, sure=sure)
            return None if sure else Seal(kind="md5", digest=bytes(16))

    selection = fill(storage, {"k": bytes(3 * PART_BYTES)})
    unsure = Unsure(storage)
    download(unsure, BUCKET, selection, channel, concurrency=1)
    assert [verb for verb, _ in unsure.calls] == ["get", "seal", "get", "get", "seal"]
    assert (channel / "k").read_bytes() == bytes(3 * PART_BYTES)
