"""An epoch of a Pipe mode channel: order, unpacking, framing."""

import gzip
import io
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.storage import recordio
from clary.storage.directory import DirectoryStorage
from clary.storage.epoch import order, stream
from clary.storage.faulty import Corruption, FaultyStorage
from clary.storage.integrity import Corrupt
from clary.storage.port import StorageError
from clary.storage.reading import BLOCK_BYTES, ReadObject
from clary.storage.seal import Seal

BUCKET = "bucket"


@pytest.fixture
def storage(tmp_path):
    (tmp_path / BUCKET).mkdir()
    return DirectoryStorage(tmp_path)


def put(storage, *bodies):
    entries = []
    for number, body in enumerate(bodies):
        storage.put(BUCKET, f"{number:04}", body)
        info = storage.head(BUCKET, f"{number:04}")
        entries.append(ReadObject(bucket=BUCKET, key=info.key, size_bytes=info.size_bytes, etag=info.etag))
    return entries


def sent(storage, entries, **more):
    options = {"gunzip": False, "recordio": False} | more
    return b"".join(map(bytes, stream(lambda _entry: storage, entries, **options)))


def records(data):
    """A reader of RecordIO, written from the format's table: payloads, parts joined."""
    source, found, parts = io.BytesIO(data), [], []
    while header := source.read(8):
        magic, word = struct.unpack("<II", header)
        assert magic == 0xCED7230A
        flag, length = word >> 29, word & (1 << 29) - 1
        parts.append(source.read(length))
        assert source.read(-length % 4) == bytes(-length % 4)
        assert (flag in (0, 1)) == (len(parts) == 1)
        if flag in (0, 3):
            found.append(b"".join(parts))
            parts = []
    assert not parts
    return found


def test_bodies_come_back_to_back(storage):
    """Nothing between them, and nothing repaired."""
    assert sent(storage, put(storage, b"a,1\n", b"", b"b,2", b"c,3\n")) == b"a,1\nb,2c,3\n"


def test_literal_bytes_are_sent_as_they_are(storage):
    """Between objects, in their place; gzip is not sought in them."""
    (one,) = put(storage, gzip.compress(b"image"))
    assert sent(storage, [one, b"7"], gunzip=True) == b"image7"
    assert records(sent(storage, [one, b"7"], gunzip=True, recordio=True)) == [b"image", b"7"]


def test_each_object_is_a_record(storage):
    """Also an empty one; the frame of "hi" is byte for byte the format's example."""
    entries = put(storage, b"hi", b"", b"abcd", b"abcde")
    data = sent(storage, entries, recordio=True)
    assert data.startswith(bytes.fromhex("0A23D7CE02000000") + b"hi\0\0")
    assert records(data) == [b"hi", b"", b"abcd", b"abcde"]


def test_gzip_of_several_members_and_padding(storage):
    """Members follow each other as gzip(1) has it."""
    packed = gzip.compress(b"one") + gzip.compress(b"two") + bytes(10)
    assert sent(storage, put(storage, packed, gzip.compress(b"")), gunzip=True) == b"onetwo"


def test_large_gzip_objects_come_through_in_bounded_pieces(storage):
    """A few bytes that unpack to many never stand in memory as one."""
    data = bytes(30 << 20)
    pieces = list(stream(lambda _entry: storage, put(storage, gzip.compress(data)), gunzip=True, recordio=False))
    assert sum(map(len, pieces)) == len(data)
    assert max(map(len, pieces)) <= 4 << 20


@pytest.mark.parametrize(
    "bad",
    [b"plain text", gzip.compress(b"x" * 1000)[:-12], gzip.compress(b"x") + b"tail"],
    ids=["plain", "cut", "tail"],
)
def test_what_is_no_gzip_is_told(storage, bad):
    """With the object's name."""
    with pytest.raises(StorageError, match="s3://bucket/0000"):
        sent(storage, put(storage, bad), gunzip=True)


@given(st.lists(st.binary(max_size=40), max_size=8), st.sampled_from([4, 8, 12]))
def test_payloads_survive_framing_in_parts(payloads, part_bytes):
    """However short the parts are."""
    data = b"".join(
        bytes(piece)
        for payload in payloads
        for piece in recordio.frame([payload[:7], payload[7:]], len(payload), part_bytes=part_bytes)
    )
    assert records(data) == payloads


@pytest.mark.parametrize("size", [1, 5])
def test_a_payload_of_another_size_is_refused(size):
    """A frame's length goes out before its payload: a wrong one would put every later record out of step."""
    with pytest.raises(ValueError, match="bytes"):
        list(recordio.frame([b"abc"], size))


@given(st.integers(0, 30), st.integers(1, 5), st.integers(), st.integers(0, 3))
def test_an_epoch_deals_out_everything_once(count, hosts, seed, epoch):
    """Shuffled or not, sharded or not; the same for the same seed and epoch."""
    entries = list(range(count))
    for use in (None, seed):
        dealt = [order(entries, epoch, seed=use, host_index=host, host_count=hosts) for host in range(hosts)]
        assert sorted(entry for share in dealt for entry in share) == entries
        assert dealt[0] == order(entries, epoch, seed=use, host_index=0, host_count=hosts)
    assert list(order(entries, epoch, seed=None, host_index=0, host_count=1)) == entries


def test_epochs_are_shuffled_differently():
    """Reshuffled at the start of every epoch."""
    entries = list(range(100))
    orders = {tuple(order(entries, epoch, seed=5, host_index=0, host_count=1)) for epoch in range(5)}
    assert len(orders) == 5


def test_many_small_and_large_objects_in_order(storage):
    """Prefetching keeps the order."""
    rng = random.Random(1)
    bodies = [rng.randbytes(rng.choice([0, 1, 100, 9 << 20 if n % 20 == 0 else 5])) for n in range(60)]
    assert sent(storage, put(storage, *bodies)) == b"".join(bodies)


LARGE = random.Random(3).randbytes(20_000_000)


def test_a_wrong_byte_of_a_small_object_is_read_again(storage):
    """Whatever the object is, if the next attempt fits."""
    entries = put(storage, b"one", b"two")
    faulty = FaultyStorage(storage, corruptions=[Corruption(key="0001", times=2)])
    assert sent(faulty, entries) == b"onetwo"


@pytest.mark.parametrize("body", [b"two", LARGE], ids=["small", "large"])
def test_bytes_that_do_not_fit_are_never_given_to_their_end(storage, body):
    """The objects before have been given, and of a large one what came before its last block."""
    entries = put(storage, b"one", body, b"three")
    faulty = FaultyStorage(storage, corruptions=[Corruption(key="0001", times=3)])
    given = b""
    with pytest.raises(Corrupt, match="s3://bucket/0001"):
        for block in stream(lambda _entry: faulty, entries, gunzip=False, recordio=False):
            given += bytes(block)
    assert given.startswith(b"one")
    assert len(given) <= 3 + len(body) // BLOCK_BYTES * BLOCK_BYTES


@pytest.mark.parametrize("answer", [None, Seal(kind="md5", digest=bytes(16))])
def test_what_is_not_sure_is_no_reason_to_doubt(storage, answer):
    """A store that tells nothing of an object, and one whose word does not hold once all parts are asked for."""

    class Unsure(FaultyStorage):
        def seal(self, bucket, key, etag, *, sure=False):
            super().seal(bucket, key, etag, sure=sure)
            return None if sure else answer

    entries = put(storage, b"one", LARGE, b"three", LARGE)
    unsure = Unsure(storage)
    assert sent(unsure, entries) == b"one" + LARGE + b"three" + LARGE
    assert sum(verb == "seal" for verb, _ in unsure.calls) == (2 if answer is None else 4)
