"""Reading files of a view: always the right bytes, few requests for who reads on, few bytes for who jumps about."""

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.storage.integrity import ATTEMPTS, Corrupt
from clary.storage.port import Changed, StorageError
from clary.storage.read_ahead import LIMIT_BYTES, WHOLE_BYTES, ReadAhead
from clary.storage.reading import ReadObject
from clary.storage.seal import seal_of
from clary.storage.view import Node

MIB = 1 << 20
DATA = random.Random(1).randbytes(48 * MIB)


class Store:
    """Objects by key. Counts requests; `spoil` changes what is answered; what is whole and spoilt is read again, as a store does."""

    def __init__(self, objects):
        self.objects = objects
        self.asked = []
        self.spoil = lambda _key, _start, data: data
        self.silent = None
        self.lock = threading.Lock()

    def get(self, bucket, key, *, etag=None, start=0, length=None):
        data = self.objects[key]
        if etag != self.etag(key):
            raise Changed("it has changed")
        whole = (start, length) == (0, None)
        data = memoryview(data)[start : len(data) if length is None else start + length]
        for _ in range(ATTEMPTS):
            with self.lock:
                self.asked.append((key, start, len(data)))
            came = self.spoil(key, start, data)
            if not whole or came == data:
                return came
        raise Corrupt(bucket, key)

    def seal(self, bucket, key, etag, *, sure=False):
        if self.silent:
            raise self.silent
        return seal_of({"etag": etag})

    def etag(self, key):
        return f'"{hashlib.md5(self.objects[key]).hexdigest()}"'

    def node(self, key, number=16):
        entry = ReadObject(bucket="b", key=key, size_bytes=len(self.objects[key]), etag=self.etag(key))
        return Node(number=number, entry=entry)


@pytest.fixture
def make():
    made = []

    def make(objects, following=None, **options):
        store = Store(objects)
        ahead = ReadAhead(lambda _entry: store, following or (lambda _n, _k: ()), **options)
        made.append(ahead)
        return store, ahead

    yield make
    for ahead in made:
        ahead.close()


def read_all(file, step=128 * 1024):
    found = []
    while piece := file.read(sum(map(len, found)), step):
        found.append(piece)
    return b"".join(found)


@settings(deadline=None, max_examples=80)
@given(
    size=st.sampled_from([0, 1, 4096, WHOLE_BYTES, WHOLE_BYTES + 1, 5 * MIB + 3]),
    reads=st.lists(st.tuples(st.integers(0, 6 * MIB), st.integers(0, 600_000), st.booleans()), max_size=25),
    limit=st.sampled_from([0, MIB, LIMIT_BYTES]),
)
def test_any_reads_give_the_bytes_that_are_there(size, reads, limit):
    """Random ones and ones that go on, whatever the size of the object and the room."""
    store = Store({"k": DATA[:size]})
    ahead = ReadAhead(lambda _entry: store, limit_bytes=limit)
    file = ahead.open(store.node("k"))
    position = 0
    for start, length, goes_on in reads:
        at = position if goes_on else start
        assert file.read(at, length) == DATA[at : min(at + length, size)]
        position = at + length
    file.close()
    assert ahead.held_bytes == 0
    ahead.close()


def test_reading_on_asks_for_each_byte_once_and_in_large_pieces(make):
    """And never holds more than it may."""
    store, ahead = make({"k": DATA})
    file = ahead.open(store.node("k"))
    assert hashlib.sha256(read_all(file)).digest() == hashlib.sha256(DATA).digest()

    assert sum(length for *_, length in store.asked) == len(DATA)
    assert len(store.asked) < 40
    assert max(length for *_, length in store.asked) <= 8 * MIB


def test_requests_of_one_reader_that_come_in_any_order_are_reading_on(make):
    """As the kernel sends them."""
    store, ahead = make({"k": DATA})
    file = ahead.open(store.node("k"))
    step = 128 * 1024
    for group in range(0, len(DATA), 4 * step):
        for start in (group + step, group, group + 3 * step, group + 2 * step):
            assert file.read(start, step) == DATA[start : start + step]

    assert sum(length for *_, length in store.asked) == len(DATA)
    assert len(store.asked) < 40


def test_jumping_about_asks_for_little_more_than_is_read(make):
    """4,096 bytes here and there do not bring megabytes."""
    store, ahead = make({"k": DATA})
    file = ahead.open(store.node("k"))
    rng = random.Random(2)
    for _ in range(100):
        start = rng.randrange(2 * MIB, len(DATA) - 4096)
        assert file.read(start, 4096) == DATA[start : start + 4096]

    assert sum(length for *_, length in store.asked) < 100 * 4096 * 8


def test_a_small_object_is_asked_for_once(make):
    """Whole, wherever its reader begins; and again if its bytes do not fit."""
    store, ahead = make({"k": DATA[:500_000]})
    spoilt = [b"x" * 500_000]
    store.spoil = lambda _key, _start, data: spoilt.pop() if spoilt else data
    file = ahead.open(store.node("k"))
    assert file.read(300_000, 10) == DATA[300_000:300_010]
    assert read_all(file) == DATA[:500_000]

    assert store.asked == [("k", 0, 500_000)] * 2


@pytest.mark.parametrize("size", [1000, 5 * MIB])
def test_wrong_bytes_are_no_whole_file(make, size):
    """A small object gives nothing; of a larger one that is read through, the last bytes are missing."""
    store, ahead = make({"k": DATA[:size]})
    store.spoil = lambda _key, _start, data: bytes([data[0] ^ 1]) + bytes(data[1:])
    file = ahead.open(store.node("k"))
    with pytest.raises(Corrupt):
        read_all(file)


@pytest.mark.parametrize("error", [StorageError("later"), RuntimeError("a fault of ours")])
def test_readers_do_not_wait_for_a_seal_that_cannot_be_had(make, error):
    """The bytes are what was read."""
    store, ahead = make({"k": DATA[: 5 * MIB]})
    store.silent = error
    assert read_all(ahead.open(store.node("k"))) == DATA[: 5 * MIB]


def test_an_object_that_changes_is_not_read_on(make):
    """Neither its new bytes nor a part of them."""
    store, ahead = make({"k": DATA[: 20 * MIB]})
    file = ahead.open(store.node("k"))
    assert file.read(0, 4096) == DATA[:4096]
    store.objects["k"] = DATA[: 20 * MIB][::-1]
    with pytest.raises(Changed):
        file.read(15 * MIB, 4096)


def test_files_that_are_opened_one_after_the_other_are_there_already(make):
    """More of them, the longer it goes on; none for who opens any."""
    names = [f"{n:03}" for n in range(60)]
    nodes = []
    store, ahead = make(
        {name: DATA[n : n + 100_000] for n, name in enumerate(names)},
        lambda number, count: nodes[number - 15 : number - 15 + count],
    )
    nodes += [store.node(name, n) for n, name in enumerate(names, start=16)]
    for n, node in enumerate(nodes[:30]):
        file = ahead.open(node)
        assert read_all(file) == DATA[n : n + 100_000]
        file.close()
    until = time.monotonic() + 30
    while len(store.asked) < len(names) and time.monotonic() < until:
        time.sleep(0.01)  # the last ones are on their way

    assert sorted(key for key, *_ in store.asked) == names  # what follows the thirtieth, too, each once
    store.asked.clear()
    for n in (50, 3, 40, 7):
        file = ahead.open(nodes[n])
        read_all(file)
        file.close()
    assert {key for key, *_ in store.asked} <= {"003", "007", "040", "050"}


def test_many_readers_hold_no_more_than_the_limit(make):
    """Each reads its own file through, in threads; what waits behind idle readers makes room."""
    objects = {str(n): DATA[: 6 * MIB] for n in range(12)}
    store, ahead = make(objects, limit_bytes=8 * MIB)
    most = []

    def go(key):
        file = ahead.open(store.node(key))
        digest = hashlib.sha256()
        position = 0
        while piece := file.read(position, 128 * 1024):
            digest.update(piece)
            position += len(piece)
            most.append(ahead.held_bytes)
        file.close()
        return digest.digest()

    with ThreadPoolExecutor(12) as pool:
        found = set(pool.map(go, objects))
    assert found == {hashlib.sha256(DATA[: 6 * MIB]).digest()}
    assert max(most) < 8 * MIB + 12 * 2 * MIB
    assert ahead.held_bytes == 0
