"""The input cache: what it keeps, what it lets go, and that nobody gets from it what a download would not have brought."""

import contextlib
import errno
import os
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.runtimes import volumes
from clary.storage import cache as cache_module
from clary.storage import cache_place
from clary.storage.cache import InputCache
from clary.storage.cache_copy import copy_tree
from clary.storage.cache_durability import make_durable
from clary.storage.cache_eviction import HeldTree, eviction_order, taken
from clary.storage.cache_fill import Fill
from clary.storage.cache_names import IndexedFile, object_name, object_space, tree_name
from clary.storage.cache_place import CachePlace
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Corruption, Fault, FaultyStorage
from clary.storage.integrity import Corrupt
from clary.storage.port import AccessDenied, Changed, NoSuchKey, Unreachable
from clary.storage.selection import Selection, SelectionError, select_prefix
from clary.storage.transfer import PART_BYTES, Cancelled, InsufficientDisk, download
from unit.instance.test_file_mode_model import trees

pytest_plugins = ["loop_volumes"]

BUCKET, ENDPOINT = "bucket", "http://127.0.0.1:1"
KIB = 1024


class Scene:
    """A store with requests that are counted, a cache below `root`, and jobs that use it."""

    def __init__(self, root, *, limit_bytes=1 << 40):
        self.root = root
        self.inner = DirectoryStorage(root / "s3")
        self.inner.create_bucket(BUCKET)
        self.storage = FaultyStorage(self.inner)
        self.limit_bytes = limit_bytes
        self.cache = self.another()

    def another(self, **changes):
        """The cache as another process has it."""
        options = {"limit_bytes": self.limit_bytes, "endpoint_url": ENDPOINT} | changes
        return InputCache(self.root / "cache", **options)

    def put(self, prefix, objects):
        for key, data in objects.items():
            self.inner.put(BUCKET, f"{prefix}{key}", data)
        return self.listed(prefix)

    def listed(self, prefix):
        return select_prefix(prefix, self.inner.list_objects(BUCKET, prefix))

    def user(self, name="job"):
        path = self.root / name
        path.touch()
        return path

    def bring(self, selection, *, cache=None, user="job", storage=None, **more):
        return (cache or self.cache).bring(storage or self.storage, BUCKET, selection, user=self.user(user), **more)

    def gets(self):
        """The keys that were downloaded since the last question; and every other request was a HEAD."""
        calls, self.storage.calls[:] = list(self.storage.calls), []
        assert {verb for verb, _ in calls} <= {"get", "head", "seal"}
        return sorted(key for verb, key in calls if verb == "get")

    @property
    def place(self):
        return CachePlace(self.root / "cache")

    def settled(self):
        """Nothing is under way, nothing is left over, and the book says what is there, within the bound."""
        assert self.place.names(self.place.fills) == []
        assert self.place.names(self.place.doomed) == []
        assert self.place.ledger().space_bytes == taken(self.place) <= self.limit_bytes
        return True


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def contents(directory):
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes() for path in directory.rglob("*")
    }


def modes(directory):
    found = {str(path.relative_to(directory)): path.stat() for path in [directory, *directory.rglob("*")]}
    return {path: (stat.filemode(about.st_mode), about.st_uid) for path, about in found.items()}


def test_the_second_time_nothing_is_downloaded(scene):
    """One HEAD is all; files and directories are as a download makes them."""
    objects = {"a": b"a", "empty": b"", "sub/b": b"b" * 1000, "big": os.urandom(PART_BYTES + 1), "bare/": b""}
    selection = scene.put("p/", objects)
    first = scene.bring(selection)
    assert scene.gets() == sorted(["p/a", "p/empty", "p/sub/b", "p/big", "p/big"])
    second = scene.bring(selection, cache=scene.another())

    assert [verb for verb, _ in scene.storage.calls] == ["head"]
    assert first == second
    download(scene.inner, BUCKET, selection, scene.root / "plain")
    assert contents(second) == contents(scene.root / "plain")
    assert modes(second) == modes(scene.root / "plain")
    assert scene.settled()


def test_another_selection_shares_its_objects(scene):
    """Only what is new comes: a second prefix that holds the first, and one object more."""
    scene.bring(scene.put("p/train/", {"a": b"a", "b": b"b"}))
    scene.put("p/", {"train/c": b"c"})
    scene.gets()
    tree = scene.bring(scene.listed("p/"))

    assert scene.gets() == ["p/train/c"]
    assert contents(tree) == {"train": None, "train/a": b"a", "train/b": b"b", "train/c": b"c"}
    assert scene.settled()


def test_a_changed_object_is_another_one(scene):
    """The listing decides; what was there before stays as it was."""
    before = scene.bring(scene.put("p/", {"a": b"old", "b": b"b"}))
    scene.gets()
    after = scene.bring(scene.put("p/", {"a": b"new"}))

    assert scene.gets() == ["p/a"]
    assert ((before / "a").read_bytes(), (after / "a").read_bytes()) == (b"old", b"new")


@pytest.mark.parametrize("change", [{"endpoint_url": "http://127.0.0.1:2"}])
def test_another_store_is_another_cache(scene, change):
    """Keys and ETags say nothing beyond their endpoint."""
    selection = scene.put("p/", {"a": b"a"})
    scene.bring(selection)
    scene.gets()
    scene.bring(selection, cache=scene.another(**change))

    assert scene.gets() == ["p/a"]


def test_names_tell_everything_apart():
    """No two of them by a happy accident of joining."""
    names = {
        object_name(*parts)
        for parts in [("e", "b", "k", "t"), ("eb", "", "k", "t"), ("e", "bk", "", "t"), ("e", "b", "kt", "")]
    }
    assert len(names) == 4
    one = Selection(objects=(), directories=("a", "b"))
    assert tree_name("e", "b", one) != tree_name("e", "b", Selection(objects=(), directories=("a/b",)))


@pytest.mark.parametrize("error", [AccessDenied("no"), NoSuchKey("gone"), Unreachable("away")])
def test_who_may_not_read_gets_nothing(scene, error):
    """To have listed the objects is not enough: what reading one of them raises, a cached start raises."""
    selection = scene.put("p/", {"a": b"a", "b": b"b"})
    scene.bring(selection)
    closed = FaultyStorage(scene.inner, [Fault(verb="head", error=error, times=99)])
    with pytest.raises(type(error)):
        scene.bring(selection, storage=closed)


def test_an_object_that_has_changed_since_the_listing(scene):
    """Fails as its download would have."""
    selection = scene.put("p/", {"a": b"a"})
    scene.bring(selection)
    scene.put("p/", {"a": b"b"})
    with pytest.raises(Changed):
        scene.bring(selection)


def test_part_of_it_from_the_cache_is_asked_for_too(scene):
    """One object that is downloaded proves nothing about another that is not."""
    scene.bring(scene.put("p/", {"a": b"a"}))
    selection = scene.put("p/", {"b": b"b"})
    closed = FaultyStorage(scene.inner, [Fault(verb="head", error=AccessDenied("no"), times=99, key="p/a")])
    with pytest.raises(AccessDenied):
        scene.bring(selection, storage=closed)


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_corrupt_bytes_never_get_in(scene, size):
    """The download fails as without the cache, and the next one finds nothing wrong."""
    data = os.urandom(size)
    selection = scene.put("p/", {"a": data, "z": b"z"})
    rotten = FaultyStorage(scene.inner, corruptions=[Corruption(key="p/a", times=10**9)])
    with pytest.raises(Corrupt):
        scene.bring(selection, storage=rotten)

    assert scene.cache.open_object(BUCKET, "p/a", selection.objects[0].etag) is None
    assert contents(scene.bring(selection)) == {"a": data, "z": b"z"}
    assert scene.settled()


def test_what_came_before_a_failure_is_kept(scene):
    """The next attempt asks only for the rest."""
    selection = scene.put("p/", {f"{n:02}": os.urandom(100) for n in range(40)})
    failing = FaultyStorage(scene.inner, [Fault(verb="get", error=NoSuchKey("gone"), key="p/30", times=9)])
    with pytest.raises(NoSuchKey):
        scene.bring(selection, storage=failing)
    assert scene.settled()
    scene.bring(selection)

    gets = scene.gets()
    assert "p/30" in gets
    assert len(gets) < 40
    assert scene.settled()


def test_a_cancelled_one_ends_at_once(scene):
    """And leaves nothing under way."""
    selection = scene.put("p/", {f"{n}": os.urandom(100) for n in range(40)})
    with pytest.raises(Cancelled):
        scene.bring(selection, cancelled=lambda: True)
    assert scene.settled()


def test_two_at_once_download_once(scene):
    """Of four that want overlapping selections at the same moment, each object is downloaded by one."""
    scene.put("p/x/", {f"{n}": os.urandom(2000) for n in range(150)})
    scene.put("p/y/", {f"{n}": os.urandom(2000) for n in range(150)})
    wanted = [scene.listed(prefix) for prefix in ("p/", "p/x/", "p/y/", "p/")]
    found, gate = [None] * 4, threading.Barrier(4)

    def job(number):
        gate.wait()
        found[number] = scene.bring(wanted[number], cache=scene.another(), user=f"job-{number}")

    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    gets = scene.gets()
    assert len(gets) == len(set(gets)) == 300
    assert [len(contents(tree)) for tree in found] == [302, 150, 150, 302]
    assert scene.settled()


def test_one_waits_for_another_and_can_be_cancelled(scene):
    """Whoever waits is not held up when its job is stopped; when the other one gives up, it goes on by itself."""
    selection = scene.put("p/", {"a": b"a"})
    scene.cache._prepare()
    files = [IndexedFile(name=object_name(ENDPOINT, BUCKET, "p/a", selection.objects[0].etag), path="a", size_bytes=1)]
    with scene.place.locked():
        scene.place.write_ledger(0)
        other = Fill(scene.place, files, 4096)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        scene.bring(selection, cancelled=lambda: time.monotonic() > began + 0.1)
    threading.Timer(0.1, other.end).start()

    assert contents(scene.bring(selection)) == {"a": b"a"}
    assert scene.gets() == ["p/a"]
    assert scene.settled()


def test_progress_counts_the_whole_channel(scene):
    """What is there already is done."""
    scene.bring(scene.put("p/", {"a": b"aa"}))
    selection = scene.put("p/", {"b": b"bbb"})
    seen = []
    scene.bring(selection, on_progress=seen.append)
    last = seen[-1]
    assert (last.objects_done, last.objects_total, last.bytes_done, last.bytes_total) == (2, 2, 5, 5)


def test_the_order_of_eviction():
    """By the last use; what is in use stays."""
    held = [
        HeldTree(name="new", used_at_ns=3, in_use=False),
        HeldTree(name="used", used_at_ns=1, in_use=True),
        HeldTree(name="old", used_at_ns=2, in_use=False),
    ]
    assert eviction_order(held) == ["old", "new"]


def use_up(scene, name):
    """The job has ended."""
    (scene.root / name).unlink()


def brought(scene, name, size):
    """A channel of one object, brought for a job that has ended since."""
    tree = scene.bring(scene.put(f"{name}/", {"data": os.urandom(size)}), user=name)
    use_up(scene, name)
    return tree


def test_the_bound_holds_by_last_use(tmp_path):
    """The one that was used longest ago makes room."""
    scene = Scene(tmp_path, limit_bytes=500 * KIB)
    first, second, third = (brought(scene, name, 100 * KIB) for name in "abc")
    assert scene.bring(scene.listed("a/"), user="again") == first
    use_up(scene, "again")
    brought(scene, "d", 200 * KIB)

    assert (first.exists(), second.exists(), third.exists()) == (True, False, True)
    assert scene.cache.open_object(BUCKET, "b/data", scene.listed("b/").objects[0].etag) is None
    assert scene.settled()


def test_what_a_job_uses_stays(tmp_path):
    """Another channel does without the cache instead; when the job has ended, it goes."""
    scene = Scene(tmp_path, limit_bytes=200 * KIB)
    tree = scene.bring(scene.put("a/", {"data": os.urandom(100 * KIB)}), user="a")
    other = scene.put("b/", {"data": os.urandom(150 * KIB)})
    assert scene.bring(other, user="b") is None
    assert tree.exists()
    use_up(scene, "a")
    assert scene.bring(other, user="b") is not None
    assert not tree.exists()
    assert scene.settled()


def test_a_released_tree_may_go(tmp_path):
    """Whoever has copied it needs it no more."""
    scene = Scene(tmp_path, limit_bytes=200 * KIB)
    tree = scene.bring(scene.put("a/", {"data": os.urandom(100 * KIB)}), user="a")
    scene.cache.release(tree, scene.root / "a")
    assert scene.bring(scene.put("b/", {"data": os.urandom(150 * KIB)}), user="b") is not None
    assert not tree.exists()


def test_shared_objects_stay_with_the_last_tree(tmp_path):
    """Eviction of one tree costs another nothing."""
    scene = Scene(tmp_path, limit_bytes=400 * KIB)
    scene.put("p/", {"x/a": os.urandom(100 * KIB), "b": os.urandom(100 * KIB)})
    small, both = scene.listed("p/x/"), scene.listed("p/")
    for number, selection in enumerate((small, both)):
        scene.bring(selection, user=str(number))
        use_up(scene, str(number))
    scene.gets()
    scene.bring(scene.put("q/", {"c": os.urandom(150 * KIB)}))
    scene.gets()

    assert contents(scene.bring(both)).keys() == {"x", "x/a", "b"}
    assert scene.gets() == []
    assert scene.settled()


def test_what_is_wanted_makes_no_room_for_itself(tmp_path):
    """An old tree goes for a new one that shares its objects: they are not downloaded again."""
    scene = Scene(tmp_path, limit_bytes=300 * KIB)
    selection = scene.put("p/", {"a": os.urandom(150 * KIB)})
    scene.bring(selection, user="a")
    use_up(scene, "a")
    scene.gets()
    grown = scene.put("p/", {"b": os.urandom(120 * KIB)})
    assert scene.bring(grown) is not None
    assert scene.gets() == ["p/b"]
    assert scene.settled()


def test_several_that_fill_it_stay_within_the_bound(tmp_path):
    """Room is promised before anything comes."""
    scene = Scene(tmp_path, limit_bytes=400 * KIB)
    wanted = [scene.put(f"{n}/", {str(k): os.urandom(10 * KIB) for k in range(12)}) for n in range(6)]
    seen, over = [], threading.Event()

    def job(number):
        seen.append(scene.bring(wanted[number], cache=scene.another(), user=f"job-{number}"))

    def watch():
        while not over.wait(0.002):
            with scene.place.locked():
                assert taken(scene.place) <= scene.limit_bytes

    scene.cache._prepare()
    threads = [threading.Thread(target=job, args=(number,)) for number in range(6)]
    watcher = threading.Thread(target=watch)
    for thread in [*threads, watcher]:
        thread.start()
    for thread in threads:
        thread.join(60)
    over.set()
    watcher.join(10)

    assert sum(tree is not None for tree in seen) == 2
    assert scene.settled()


def test_more_than_the_bound_is_not_cached(tmp_path):
    """And drives nothing out."""
    scene = Scene(tmp_path, limit_bytes=100 * KIB)
    tree = brought(scene, "a", 50 * KIB)
    assert scene.bring(scene.put("b/", {"data": os.urandom(101 * KIB)})) is None
    assert tree.exists()
    assert scene.gets() == ["a/data"]


def test_the_cache_gives_way_to_a_full_disk(scene, monkeypatch):
    """First what is old goes; if the disk is still full, the caller does without. The job does not fail of it."""
    old = brought(scene, "a", 100 * KIB)
    selection = scene.put("b/", {"data": os.urandom(100 * KIB)})
    full = iter([True, False])

    def no_room(*arguments, **options):
        if next(full, False):
            raise InsufficientDisk("no space left")
        return download(*arguments, **options)

    monkeypatch.setattr(cache_module, "download", no_room)
    assert scene.bring(selection) is not None
    assert not old.exists()
    assert scene.settled()
    full = iter([True] * 9)
    assert scene.bring(scene.put("c/", {"data": b"c"}), user="job") is None
    assert scene.settled()


def test_room_for_others(scene, monkeypatch):
    """What lacks on the disk is taken from the cache, as far as it may go."""
    idle, used = brought(scene, "a", 100 * KIB), scene.bring(scene.put("b/", {"data": b"b"}))
    disk = os.statvfs(scene.root)
    scene.cache.make_room(1)
    assert idle.exists()
    scene.cache.make_room(disk.f_blocks * disk.f_frsize * 2)
    assert (idle.exists(), used.exists()) == (False, True)
    assert scene.settled()


@pytest.mark.usefixtures("needs_volumes")
def test_a_disk_that_is_really_full(tmp_path):
    """On a small disk of its own: what is old goes; when others have filled the disk, the job goes without."""
    disk = tmp_path / "disk"
    volumes.attach(tmp_path / "image", disk, 128 << 20)
    scene = Scene(tmp_path)
    cache = InputCache(disk / "cache", limit_bytes=1 << 40, endpoint_url=ENDPOINT)
    old = scene.bring(scene.put("old/", {"data": os.urandom(60 << 20)}), cache=cache, user="old")
    (scene.root / "old").unlink()
    new = scene.bring(scene.put("new/", {str(n): os.urandom(10 << 20) for n in range(8)}), cache=cache, user="new")

    assert (old.exists(), len(contents(new))) == (False, 8)
    with contextlib.suppress(OSError), (disk / "somebody else's").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
    more = scene.put("more/", {str(n): os.urandom(100_000) for n in range(20)})
    assert scene.bring(more, cache=cache, user="more") is None
    assert len(contents(new)) == 8  # in use
    (scene.root / "new").unlink()
    assert contents(scene.bring(more, cache=cache, user="more")).keys() == {str(n) for n in range(20)}
    (scene.root / "more").unlink()
    place = CachePlace(disk / "cache")
    assert place.ledger().space_bytes == taken(place)
    volumes.detach(disk)


@pytest.mark.parametrize("broken", ["file", "open", "unwritable"])
def test_trouble_with_the_cache_is_no_trouble(scene, broken, monkeypatch):
    """The caller downloads as without."""
    root = scene.root / "cache"
    if broken == "file":
        root.write_text("not a directory")
    elif broken == "open":
        root.mkdir()
        root.chmod(0o777)
    else:
        monkeypatch.setattr(os, "link", refuse)
    assert scene.bring(scene.put("p/", {"a": b"a"})) is None


def refuse(*_arguments, **_options):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_lock_that_is_never_given_back(scene, monkeypatch):
    """Is waited for, but not for ever."""
    monkeypatch.setattr(cache_place, "_LOCKED_WITHIN_S", 0.1)
    selection = scene.put("p/", {"a": b"a"})
    scene.bring(selection)
    with scene.place.locked():
        assert scene.bring(selection) is None


def test_single_objects(scene):
    """By a descriptor, which stays good when the object goes."""
    data = os.urandom(1000)
    selection = scene.put("p/", {"a": data})
    etag = selection.objects[0].etag
    assert scene.cache.open_object(BUCKET, "p/a", etag) is None
    scene.bring(selection)
    assert scene.cache.open_object(BUCKET, "p/a", '"other"') is None
    fd = scene.cache.open_object(BUCKET, "p/a", etag)
    use_up(scene, "job")
    scene.cache.make_room(1 << 60)
    try:
        assert os.read(fd, 2000) == data
    finally:
        os.close(fd)
    assert scene.cache.open_object(BUCKET, "p/a", etag) is None


def test_nothing_selected_is_nothing_cached(scene):
    """A host whose share is empty."""
    assert scene.bring(Selection(objects=(), directories=("a",))) is None


def test_keys_that_are_no_text(scene):
    """Are not cached, and do no harm."""
    selection = scene.put("p/", {"a": b"a"})
    odd = Selection(objects=tuple(type(item)(**{**as_dict(item), "key": "p/\udc80"}) for item in selection.objects))
    assert scene.bring(odd) is None
    assert scene.cache.open_object(BUCKET, "p/\udc80", "e") is None


def as_dict(item):
    return {name: getattr(item, name) for name in item.__struct_fields__}


def reboot(scene):
    """The machine is started anew."""
    (scene.root / "cache" / "boot").write_text("another one")


def test_after_a_reboot_only_what_was_on_the_disk_counts(scene):
    """What was brought since the last time that all was put there may be zeros under good names: it goes."""
    old = brought(scene, "old", 10)
    time.sleep(1.1)  # the clock of files and the one of programs are not trusted to agree within a second
    make_durable(scene.place)
    young = brought(scene, "young", 10)
    mixed = scene.put("old/", {"more": b"x"})
    shared = scene.bring(mixed)
    scene.gets()
    reboot(scene)
    cache = scene.another()

    assert scene.bring(scene.listed("young/"), cache=cache) is not None
    assert scene.gets() == ["young/data"]
    assert (old.exists(), shared.exists(), young.exists()) == (True, False, True)
    assert scene.bring(mixed, cache=cache) is not None
    assert scene.gets() == ["old/more"]
    assert scene.settled()


def test_without_a_note_of_what_is_on_the_disk_nothing_counts(scene):
    """After a power cut the note itself may be missing, or unreadable."""
    tree = brought(scene, "a", 10)
    reboot(scene)
    assert not scene.another().has(tree)
    assert scene.settled()


def test_a_book_that_is_lost_is_written_anew(scene):
    """By counting."""
    brought(scene, "a", 10)
    (scene.root / "cache" / "ledger.json").write_text("")
    brought(scene, "b", 10)
    assert scene.settled()


def test_a_copy_is_a_copy(scene):
    """What is done to it changes nothing in the cache; done again, it is whole again."""
    selection = scene.put("p/", {"a": b"a", "sub/b": os.urandom(10_000), "empty": b"", "bare/": b""})
    tree, directory = scene.bring(selection), scene.root / "copy"
    before = contents(tree)
    umask = os.umask(0o077)
    try:
        for _ in range(2):
            copy_tree(tree, selection, directory)
            assert contents(directory) == before
            assert modes(directory) == modes(tree)
            (directory / "a").write_bytes(b"changed")
            (directory / "sub" / "b").unlink()
            (directory / "more").touch()
    finally:
        os.umask(umask)
    assert contents(tree) == before


def test_a_copy_that_does_not_fit(scene, monkeypatch):
    """Is refused, as a download is; and a cancelled one ends."""
    selection = scene.put("p/", {"a": b"a"})
    tree = scene.bring(selection)
    with pytest.raises(Cancelled):
        copy_tree(tree, selection, scene.root / "copy", cancelled=lambda: True)
    monkeypatch.setattr(os, "sendfile", lambda *_arguments: full())
    monkeypatch.setattr("clary.storage.cache_copy._FICLONE", 0)
    with pytest.raises(InsufficientDisk):
        copy_tree(tree, selection, scene.root / "copy")


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


def test_objects_are_reckoned_in_blocks():
    """Many small ones take more than their bytes."""
    assert [object_space(size) for size in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]


@pytest.fixture(scope="module")
def shared():
    """One cache for all examples, so that they find each other's objects."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "cache"


@settings(max_examples=60, deadline=None)
@given(tree=trees, cut=st.integers(0, 6), data=st.data())
def test_with_and_without_the_cache_the_tree_is_the_same(shared, tree, cut, data):
    """Whatever the keys; the first time, the second time, and as a copy."""
    prefix = data.draw(st.sampled_from(sorted(tree)))[:cut]
    with tempfile.TemporaryDirectory() as root:
        scene = Scene(Path(root))
        for key, body in tree.items():
            scene.inner.put(BUCKET, key, body)
        try:
            selection = scene.listed(prefix)
        except SelectionError:
            return
        cache = InputCache(shared, limit_bytes=1 << 40, endpoint_url=ENDPOINT)
        download(scene.inner, BUCKET, selection, scene.root / "plain")
        for _ in range(2):
            brought = scene.bring(selection, cache=cache)
            if not selection.objects:
                assert brought is None
                return
            copy_tree(brought, selection, scene.root / "copy")
            for found in (brought, scene.root / "copy"):
                assert contents(found) == contents(scene.root / "plain")
                assert modes(found) == modes(scene.root / "plain")
