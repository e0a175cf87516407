"""Objects follow a directory: what is uploaded and deleted when, what is left alone, and what a crash or a fault leaves."""

import contextlib
import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.storage import tree
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.mirror import Mirror, note_restored
from clary.storage.mirror_plan import Look, Mark, look_at, plan
from clary.storage.port import AccessDenied, StorageError, Unreachable
from clary.storage.uri import S3Location

HERE = S3Location(bucket="b", key="ckpt/")
LARGE = 9 << 20
AWAY = Unreachable("connection refused")


class Place:
    """A directory, the store that it goes to, and mirrors that come and go."""

    def __init__(self, root: Path, *faults: Fault) -> None:
        self.root = root / "checkpoints"
        self.root.mkdir(parents=True)
        self.record = root / "record.json"
        self.buckets = DirectoryStorage(root / "s3")
        self.buckets.create_bucket("b")
        self.storage = FaultyStorage(self.buckets, faults)
        self.skipped = []
        self.writes = 0
        self.restart()

    def restart(self) -> None:
        """As after the process was killed."""
        self.mirror = Mirror(
            self.storage,
            HERE,
            self.root,
            self.record,
            seen_as="/opt/ml/checkpoints",
            on_skip=lambda path, reason: self.skipped.append(path),
        )

    def write(self, path: str, content: bytes | str) -> Path:
        """In place; each write has a time of its own, as writes that are not within a few milliseconds have."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.writes += 1
        os.utime(file, ns=(0, 1_700_000_000_000_000_000 + self.writes))
        return file

    def turns(self, count: int = 2):
        """Looks at an undisturbed directory; what the last one did."""
        for _ in range(count):
            turn = self.mirror.turn(settled=False)
        return turn

    def objects(self) -> dict[str, bytes]:
        """What is below the prefix, by path."""
        listing = self.buckets.list_objects("b", HERE.key)
        return {info.key.removeprefix(HERE.key): bytes(self.buckets.get("b", info.key)) for info in listing}

    def calls(self, verb: str) -> list[str]:
        """The keys of all calls of that verb."""
        return [key.removeprefix(HERE.key) for called, key in self.storage.calls if called == verb]


@pytest.fixture
def place(tmp_path):
    return lambda *faults: Place(tmp_path, *faults)


def test_a_file_is_uploaded_once_it_rests(place):
    """Not at the first look, at the second, and never again."""
    p = place()
    p.write("a", "one")
    p.write("deep/er/b", "")

    assert p.mirror.turn(settled=False).uploaded == 0
    assert p.objects() == {}
    assert p.mirror.turn(settled=False).uploaded == 2
    assert p.objects() == {"a": b"one", "deep/er/b": b""}
    assert p.turns(5).uploaded == 0
    assert len(p.calls("put")) == 2


def test_a_file_that_is_being_written_is_left_alone(place):
    """However many looks it takes."""
    p = place()
    for size in range(1, 10):
        p.write("growing", "x" * size)
        p.turns(1)
    assert p.objects() == {}
    p.turns(1)
    assert p.objects() == {"growing": b"x" * 9}


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.write("a", "three"),
        lambda p: p.write("a", "two"),
        lambda p: p.write("tmp.sagemaker-ignore", "two").replace(p.root / "a"),
    ],
    ids=["another size", "another time", "another file of that name"],
)
def test_a_changed_file_is_uploaded_again(place, change):
    """Whatever it is that changed."""
    p = place()
    p.write("a", "one")
    p.turns()
    change(p)
    p.turns()

    assert p.objects() == {"a": (p.root / "a").read_bytes()}
    assert len(p.calls("put")) == 2


def test_a_file_renamed_over_one_of_the_same_size_and_time_is_found(place):
    """As when a program copies a file with its times."""
    p = place()
    old = p.write("a", "one")
    p.turns()
    new = p.write("tmp.sagemaker-ignore", "two")
    os.utime(new, ns=(0, old.stat().st_mtime_ns))
    new.replace(old)
    p.turns()

    assert p.objects() == {"a": b"two"}


def test_a_rename_needs_no_second_rest(place):
    """A file that was seen under another name is uploaded at the first look at its new one, before the old is deleted."""
    p = place()
    for number, temporary in enumerate((p.write("2.tmp", "x"), p.write("3.sagemaker-ignore", "y"))):
        p.turns(1)
        temporary.rename(p.root / f"ckpt-{number}")
        p.turns(1)

    assert p.objects() == {"ckpt-0": b"x", "ckpt-1": b"y"}


def test_half_written_files_and_markers_are_not_checkpoints(place):
    """Files with these endings have no object, and lose it if they get such a name."""
    p = place()
    for name in ("a.sagemaker-ignore", "a.sagemaker-uploading", "a.sagemaker-uploaded", "d/b.sagemaker-ignore", "c"):
        p.write(name, "x")
    p.turns()
    assert list(p.objects()) == ["c"]
    (p.root / "c").rename(p.root / "c.sagemaker-ignore")
    p.turns(3)
    assert p.objects() == {}


def test_a_deleted_file_loses_its_object(place):
    """After two looks, one may have come in the middle of a rename; objects of others below the prefix stay."""
    p = place()
    p.buckets.put("b", "ckpt/other", b"not ours")
    p.write("a", "x")
    p.write("d/b", "x")
    p.turns()
    (p.root / "a").unlink()
    (p.root / "d/b").unlink()
    (p.root / "d").rmdir()
    p.turns(1)
    assert list(p.objects()) == ["a", "d/b", "other"]
    assert p.turns(1).deleted == 2
    assert p.objects() == {"other": b"not ours"}


def test_the_directory_itself_may_go_and_come(place):
    """Removed, it is empty; a link in its place is trouble, and deletes nothing."""
    p = place()
    p.write("a", "x")
    p.turns()
    p.root.rename(p.root.with_name("elsewhere"))
    p.root.symlink_to("elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        p.mirror.turn(settled=True)
    assert p.objects() == {"a": b"x"}
    p.root.unlink()
    p.turns()
    assert p.objects() == {}


def test_the_next_checkpoint_is_there_before_the_last_one_goes(place):
    """A store that fails in between has one of them."""
    p = place(Fault(verb="put", error=AWAY, on_call=2, times=2))
    p.write("ckpt-1", "1")
    p.turns()
    (p.root / "ckpt-1").unlink()
    p.write("ckpt-2", "2")
    p.turns(1)
    for _ in range(2):
        with pytest.raises(Unreachable):
            p.turns(1)
        assert list(p.objects()) == ["ckpt-1"]
    p.turns(1)
    assert p.objects() == {"ckpt-2": b"2"}


@pytest.mark.parametrize(("before", "after"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/b/c")])
def test_a_file_that_becomes_a_directory_is_deleted_first(place, before, after):
    """And the other way round: at no moment are there objects that could not be restored together."""
    p = place()
    p.write(before, "1")
    p.turns()
    old = p.root / before
    old.unlink()
    while old.parent != p.root:
        old = old.parent
        old.rmdir()
    p.write(after, "2")
    p.turns()

    assert p.objects() == {after: b"2"}
    calls = [call for call in p.storage.calls if call[0] in {"put", "delete"}]
    assert calls == [("put", f"ckpt/{before}"), ("delete", f"ckpt/{before}"), ("put", f"ckpt/{after}")]


def test_when_nobody_writes_any_more_nothing_waits(place):
    """One settled look does it all."""
    p = place()
    p.write("a", "x")
    p.turns()
    (p.root / "a").unlink()
    p.write("b", "y")
    turn = p.mirror.turn(settled=True)

    assert (turn.uploaded, turn.deleted, turn.whole) == (1, 1, True)
    assert p.objects() == {"b": b"y"}


class Meddling:
    """A store that lets the program write while an object is uploaded."""

    def __init__(self, inner, meddle):
        self._inner = inner
        self._meddle = meddle

    def __getattr__(self, verb):
        return getattr(self._inner, verb)

    def abort_uploads(self, bucket, keys):
        self._meddle()
        return self._inner.abort_uploads(bucket, keys)


@pytest.mark.parametrize(
    "meddle",
    [
        lambda file: os.truncate(file, LARGE - 1),
        lambda file: os.truncate(file, LARGE + 1),
        lambda file: os.utime(file, ns=(0, 0)),
    ],
    ids=["shorter", "longer", "another time"],
)
def test_a_file_that_changes_while_it_is_uploaded_has_no_object(place, meddle):
    """The object stays what it was, and follows when the file rests."""
    p = place()
    file = p.write("large", bytes(LARGE))
    p.storage = Meddling(p.buckets, lambda: meddle(file))
    p.restart()
    assert p.turns(2).whole is False
    assert p.objects() == {}
    assert p.buckets.uploads("b") == 0
    p.storage = p.buckets
    p.restart()
    p.turns()
    assert p.objects() == {"large": file.read_bytes()}


def test_restored_files_are_known(place):
    """They are not uploaded again, and deleting one deletes its object."""
    p = place()
    for path in ("a", "d/b"):
        p.buckets.put("b", HERE.key + path, b"old")
        p.write(path, "old")
    note_restored(p.record, p.root, ["a", "d/b"])
    p.turns()
    assert p.calls("put") == []
    (p.root / "a").unlink()
    p.turns()
    assert p.objects() == {"d/b": b"old"}


def test_whoever_starts_again_knows_what_is_there(place):
    """Nothing is uploaded twice, and what was deleted meanwhile is deleted."""
    p = place()
    p.write("a", "1")
    p.write("b", "2")
    p.turns()
    p.restart()
    (p.root / "b").unlink()
    p.turns()
    assert len(p.calls("put")) == 2
    assert p.objects() == {"a": b"1"}


def test_an_upload_that_nobody_noted_is_ours(place):
    """Killed after the upload and before its note, the program deletes the file: so does whoever comes next."""
    p = place()
    p.write("a", "1")
    p.turns(1)
    noted = []
    p.storage.put = lambda bucket, key, data: (noted.append(p.record.read_bytes()), p.buckets.put(bucket, key, data))
    p.turns(1)
    p.record.write_bytes(noted[0])
    p.restart()
    (p.root / "a").unlink()
    p.turns()
    assert p.objects() == {}


def test_an_upload_that_was_killed_half_way_is_abandoned(place):
    """Also if its file is gone by then, so that it is never uploaded again; those of others' keys are not."""
    p = place()
    with contextlib.ExitStack() as stack:
        for name in ("mine", "other"):
            writer = p.buckets.open_writer("b", f"{HERE.key}{name}")
            writer.__enter__().write(b"half")
            stack.callback(writer.__exit__, KeyboardInterrupt, KeyboardInterrupt(), None)
        p.record.write_bytes(b'{"mine":null}')
        p.turns()
        assert p.buckets.uploads("b") == 1
        assert p.buckets.abort_uploads("b", {f"{HERE.key}other"}) == 1


@pytest.mark.parametrize("damage", [lambda record: record.unlink(), lambda record: record.write_bytes(b'{"a":')])
def test_a_lost_record_is_made_anew(place, damage):
    """From the objects that still have a file; what has none may be another host's, and stays."""
    p = place()
    p.write("a", "1")
    p.write("b", "2")
    p.turns()
    p.buckets.put("b", "ckpt/other", b"x")
    damage(p.record)
    p.restart()
    p.turns()
    assert p.objects() == {"a": b"1", "b": b"2", "other": b"x"}
    (p.root / "a").unlink()
    p.turns()
    assert p.objects() == {"b": b"2", "other": b"x"}


def test_links_are_followed_inside_only(place, tmp_path):
    """A link to a checkpoint is that checkpoint once more; one that leads out, or to no file, is left out and told of."""
    p = place()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("secret")
    p.write("ckpt-1/model", "m")
    (p.root / "latest").symlink_to("ckpt-1")
    (p.root / "seen").symlink_to("/opt/ml/checkpoints/ckpt-1/model")
    (p.root / "out").symlink_to(tmp_path / "secret")
    (p.root / "up").symlink_to("../secret")
    (p.root / "dir").symlink_to(tmp_path / "private")
    os.mkfifo(p.root / "fifo")
    p.turns()

    assert p.objects() == {"ckpt-1/model": b"m", "latest/model": b"m", "seen": b"m"}
    assert set(p.skipped) == {"out", "up", "dir", "fifo"}


def test_a_directory_that_becomes_a_link_leads_nowhere(place, tmp_path):
    """Even between the look and the upload."""
    p = place()
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("secret")
    p.write("d/key", "mine")
    p.turns(1)
    look = p.mirror._look

    def look_and_swap(*arguments):
        members = look(*arguments)
        (p.root / "d").rename(tmp_path / "moved")
        (p.root / "d").symlink_to(tmp_path / "private")
        return members

    p.mirror._look = look_and_swap
    assert p.mirror.turn(settled=False).whole is False
    assert p.objects() == {}


def test_a_closed_directory_hides_no_deletion(place, monkeypatch):
    """What cannot be looked into is trouble, not gone; the rest is uploaded all the same."""
    p = place()
    p.write("d/a", "x")
    p.turns()
    p.write("new", "y")
    look_into = tree._Walker._look_into

    def closed(walker, parts):
        if parts == ("d",):
            raise PermissionError(errno.EACCES, "Permission denied")
        return look_into(walker, parts)

    with monkeypatch.context() as patch:
        patch.setattr(tree._Walker, "_look_into", closed)  # root, as who tests may run, is let in everywhere
        for _ in range(3):
            with pytest.raises(PermissionError) as trouble:
                p.turns(1)
        assert trouble.value.filename == "d"
    assert p.objects() == {"d/a": b"x", "new": b"y"}
    assert p.turns().deleted == 0


def test_what_cannot_be_looked_into_is_not_gone():
    """Nor is anything below it."""
    known = {"a": None, "d/x": None, "d/e/y": None, "dd": None}
    assert look_at({}, known, hidden=["d"]).gone == {"a", "dd"}
    assert look_at({}, known, hidden=[""]).gone == set()
    mark = Mark(size_bytes=1, mtime_ns=1, inode=1)
    look = look_at({"a": mark}, known, hidden=["d"])
    assert plan({"a": mark}, known, look, Look(marks=frozenset(), gone=frozenset({"dd", "d/x"}))).deletions == ("dd",)


def test_a_file_that_cannot_be_read_keeps_nobody_waiting(place):
    """The others are uploaded, the trouble is told, nothing is deleted."""
    p = place()
    p.write("a", "1")
    p.turns()
    (p.root / "a").unlink()
    p.write("b", "2")
    p.turns(1)
    (p.root / "no\udcff-text").write_text("x")
    with pytest.raises(StorageError, match=r"b'no\\xff-text' is not UTF-8"):
        p.turns(1)
    assert p.objects() == {"a": b"1", "b": b"2"}
    (p.root / "no\udcff-text").unlink()
    p.turns(1)
    assert p.objects() == {"b": b"2"}


@pytest.mark.parametrize("error", [AWAY, AccessDenied("AccessDenied (403): Access Denied")])
@pytest.mark.parametrize("verb", ["put", "open_writer", "delete", "list_objects"])
def test_trouble_of_the_store_is_told_and_made_good(place, verb, error):
    """Whatever call it hits."""
    p = place(Fault(verb=verb, error=error))
    p.write("gone", "x")
    p.write("large", bytes(LARGE))
    p.write("small", "x")
    raised = []
    for turn in range(8):
        if turn == 4:
            (p.root / "gone").unlink()
        try:
            p.turns(1)
        except StorageError as trouble:
            raised.append(trouble)
    assert raised == [error]
    assert sorted(p.objects()) == ["large", "small"]


def test_no_upload_is_under_way_when_a_turn_has_failed(place):
    """One that ended later would have the last word over the next turn's."""
    p = place()
    for name in "abcd":
        p.write(name, "old")
    p.turns(1)
    hold, begun, ended = threading.Event(), [], []

    def slow(bucket, key, data):
        if key.endswith("a"):
            threading.Timer(0.2, hold.set).start()  # others are under way by then
            raise AWAY
        begun.append(key)
        hold.wait(10)
        ended.append(key)

    p.storage.put = slow
    with pytest.raises(Unreachable):
        p.turns(1)
    assert begun
    assert sorted(begun) == sorted(ended)


_NAMES = st.sampled_from(
    ["a", "b", "ä ü", "d/a", "d/b", "d/e/f", "x.tmp", "y.sagemaker-ignore", "d/z.sagemaker-ignore"]
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), _NAMES, st.binary(max_size=3)),
        st.tuples(st.just("replace"), _NAMES, st.binary(max_size=3)),
        st.tuples(st.just("rename"), _NAMES, _NAMES),
        st.tuples(st.just("delete"), _NAMES, st.none()),
        st.tuples(st.just("look"), st.none(), st.none()),
        st.tuples(st.just("fail"), st.sampled_from(["put", "delete", "list_objects"]), st.integers(1, 2)),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(_STEPS, st.booleans())
def test_the_objects_become_the_directory(steps, settled):
    """After any writes, renames, deletions, failures of the store and restarts, in any order, with looks at any time.

    At the end of a program one look suffices; a program that goes on and rests needs two. At no moment does an object have
    a content that its file never had.
    """
    with tempfile.TemporaryDirectory() as root:
        p = Place(Path(root))
        ever: dict[str, set[bytes]] = {}
        for what, first, second in steps:
            _step(p, what, first, second)
            for path, content in _files(p).items():
                ever.setdefault(path, set()).add(content)
            for path, content in p.objects().items():
                assert content in ever[path]
        p.storage._faults = ()
        if settled:
            p.mirror.turn(settled=True)
        else:
            p.turns(2)

        assert p.objects() == _files(p)


def _files(p):
    files = {str(f.relative_to(p.root)): f.read_bytes() for f in p.root.rglob("*") if f.is_file()}
    return {path: content for path, content in files.items() if not path.endswith(".sagemaker-ignore")}


def _step(p, what, first, second):
    file = p.root / (first or "")
    match what:
        case "write":
            p.write(first, second)
        case "replace":
            temporary = p.write("t.sagemaker-ignore", second)
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(file)
        case "rename" if file.exists():
            (p.root / second).parent.mkdir(parents=True, exist_ok=True)
            file.replace(p.root / second)
        case "delete":
            file.unlink(missing_ok=True)
        case "look":
            try:
                p.turns(1)
            except Unreachable:
                assert p.storage._faults
        case "fail":
            faults = FaultyStorage(p.buckets, [Fault(verb=first, error=AWAY, on_call=second)])
            p.storage, p.mirror._storage = faults, faults
        case "restart":
            p.restart()
