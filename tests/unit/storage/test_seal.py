"""What can be known of bytes from what a store says of them."""

import hashlib
import os
import random
import zlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clary.storage.crc32 import PIECE_BYTES, Sums, checksum, joined
from clary.storage.file_check import FileCheck
from clary.storage.seal import Running, Seal, etag_of_parts, seal_of

CRC = checksum(b"bytes")
MD5 = hashlib.md5(b"bytes", usedforsecurity=False).hexdigest()
OF_ALL = Seal(kind="crc32", digest=zlib.crc32(b"bytes").to_bytes(4, "big"))
BY_ETAG = Seal(kind="md5", digest=bytes.fromhex(MD5))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_sums_of_pieces_make_the_sum_of_all(first, second):
    """As zlib has it."""
    assert joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@given(st.lists(st.integers(0, 2 * PIECE_BYTES), max_size=5))
def test_every_piece_is_summed_up(lengths):
    """However the bytes come."""
    data, sums = random.Random(1).randbytes(sum(lengths)), Sums()
    position = 0
    for length in lengths:
        sums.add(memoryview(data)[position : position + length])
        position += length
    assert sums.crcs == [zlib.crc32(data[start : start + PIECE_BYTES]) for start in range(0, len(data), PIECE_BYTES)]


@pytest.mark.parametrize(
    ("headers", "seal"),
    [
        ({}, None),
        ({"x-amz-checksum-sha256": "AAAA"}, None),
        ({"x-amz-checksum-crc32": CRC}, OF_ALL),
        ({"x-amz-checksum-crc32": CRC, "x-amz-checksum-type": "FULL_OBJECT", "etag": f'"{MD5}-2"'}, OF_ALL),
        ({"x-amz-checksum-crc32": CRC, "etag": '"opaque"', "x-amz-server-side-encryption": "aws:kms"}, OF_ALL),
        ({"x-amz-checksum-crc32": f"{CRC}-2", "x-amz-checksum-type": "COMPOSITE"}, replace(OF_ALL, parts=2)),
        ({"x-amz-checksum-crc32": CRC, "x-amz-checksum-type": "COMPOSITE"}, None),
        ({"x-amz-checksum-crc32": "short", "etag": f'"{MD5}"'}, BY_ETAG),
        ({"etag": f'"{MD5}"'}, BY_ETAG),
        ({"etag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"}, BY_ETAG),
        ({"etag": f'"{MD5}"', "x-amz-server-side-encryption": "aws:kms"}, None),
        ({"etag": f'"{MD5}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, None),
        ({"etag": f'"{MD5}-12"'}, replace(BY_ETAG, parts=12)),
        ({"etag": f'"{MD5}-0"'}, None),
        ({"etag": '"opaque"'}, None),
    ],
)
def test_what_headers_tell(headers, seal):
    """A checksum goes before an ETag, which tells nothing of what is encrypted with keys of KMS or of the client."""
    assert seal_of(headers) == seal


def test_the_etag_of_parts_is_the_md5_of_their_md5s():
    """As S3 makes it; of parts without MD5s it cannot be told."""
    parts = [hashlib.md5(part, usedforsecurity=False) for part in (b"one", b"two")]
    whole = hashlib.md5(b"".join(part.digest() for part in parts), usedforsecurity=False).hexdigest()
    assert etag_of_parts([f'"{part.hexdigest()}"' for part in parts]) == f'"{whole}-2"'
    assert etag_of_parts([f'"{parts[0].hexdigest()}"', '"opaque"']) is None


def sealed(kind, data, size):
    """The seal of an object in parts of a size; of all its bytes if that is None."""
    digest = {
        "crc32": lambda piece: zlib.crc32(piece).to_bytes(4, "big"),
        "md5": lambda piece: hashlib.md5(piece, usedforsecurity=False).digest(),
    }[kind]
    if size is None:
        return Seal(kind=kind, digest=digest(data))
    digests = [digest(data[start : start + size]) for start in range(0, len(data), size)]
    return Seal(kind=kind, digest=digest(b"".join(digests)), parts=len(digests), part_bytes=size)


def check_of(path, data, seal, step):
    """A check that was told of all of a file, in steps that came in any order."""
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    asked = []
    try:
        check = FileCheck(fd, len(data), lambda: asked.append(1) or seal)
        starts = list(range(0, len(data), step))
        random.Random(1).shuffle(starts)
        ends = []
        for start in starts:
            piece, sums = data[start : start + step], Sums()
            sums.add(piece)
            ends.append(check.written(start, len(piece), sums.crcs))
        assert ends == [False] * (len(starts) - 1) + [True]
        assert asked == [1]
        return check
    finally:
        os.close(fd)


def wrong(data):
    changed = bytearray(data)
    changed[random.Random(len(data)).randrange(len(data))] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("kind", ["crc32", "md5"])
@pytest.mark.parametrize("size", [None, 1, 3, 7, 10, 14, 99, 100, 101])
def test_a_file_is_held_against_its_seal(tmp_path, kind, size):
    """However large the parts were, and whatever pieces it comes in."""
    data = random.Random(size).randbytes(100)
    seal = sealed(kind, data, size)
    assert check_of(tmp_path / "f", data, seal, 7).fits()
    assert not check_of(tmp_path / "f", wrong(data), seal, 7).fits()


@pytest.mark.parametrize("size", [None, PIECE_BYTES, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1, 5_000_000])
def test_a_large_file_is_held_against_its_seal(tmp_path, size):
    """Also where its parts do not end where its pieces do."""
    data = random.Random(1).randbytes(9 * PIECE_BYTES + 5)
    seal = sealed("crc32", data, size)
    for step in (4 * PIECE_BYTES, len(data)):
        assert check_of(tmp_path / "f", data, seal, step).fits()
        assert not check_of(tmp_path / "f", wrong(data), seal, step).fits()


def test_where_pieces_and_parts_end_alike_nothing_is_read_again(tmp_path):
    """The sums of what came are enough: the file may be anything."""
    data = random.Random(1).randbytes(5 * PIECE_BYTES + 5)
    fd = os.open(tmp_path / "empty", os.O_RDWR | os.O_CREAT)
    try:
        sums = Sums()
        sums.add(data)
        check = FileCheck(fd, len(data), lambda: sealed("crc32", data, 2 * PIECE_BYTES))
        assert check.written(0, len(data), sums.crcs)
        assert check.fits()
    finally:
        os.close(fd)


def test_a_file_of_which_nothing_is_told_is_not_doubted(tmp_path):
    """It is what came."""
    assert check_of(tmp_path / "f", b"whatever" * 20, None, 7).fits()


@pytest.mark.parametrize("kind", ["crc32", "md5"])
def test_bytes_in_their_order_are_held_against_their_seal(kind):
    """Nothing fits that has not come to its end, or has another number of parts; no bytes are bytes, too."""
    data = random.Random(2).randbytes(50)
    for size in (None, 7, 50):
        running = Running(sealed(kind, data, size), 50)
        running.update(data[:30])
        assert not running.fits()
        running.update(data[30:])
        assert running.fits()
    other = Running(replace(sealed(kind, data, 7), parts=9), 50)
    other.update(data)
    assert not other.fits()
    assert Running(sealed(kind, b"", None), 0).fits()
    assert not Running(sealed(kind, b"x", None), 0).fits()


def test_a_checksum_is_written_as_s3_does():
    """In base64, most significant byte first."""
    assert b64encode(zlib.crc32(b"bytes").to_bytes(4, "big")).decode() == CRC
