"""What can be known of bytes from what a store says of them."""

import hashlib
import os
import random
import zlib
from base64 import b64encode

import pytest

from clary.storage.integrity import FileDigest, etag_of_parts, fits_checksum

CRC = b64encode(zlib.crc32(b"bytes").to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("headers", "fits", "wrong_fits"),
    [
        ({}, True, True),
        ({"x-amz-checksum-sha256": "AAAA"}, True, True),
        ({"x-amz-checksum-crc32": CRC}, True, False),
        ({"x-amz-checksum-crc32": CRC, "x-amz-checksum-type": "FULL_OBJECT"}, True, False),
        ({"x-amz-checksum-crc32": "AAAAAA==-2"}, True, True),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"}, True, True),
    ],
)
def test_a_checksum_of_the_whole_object_tells(headers, fits, wrong_fits):
    """And no other: that of an upload in parts, where it is made of theirs, says nothing of the bytes as one."""
    assert fits_checksum(headers, b"bytes") is fits
    assert fits_checksum(headers, b"bytEs") is wrong_fits


def test_the_etag_of_parts_is_the_md5_of_their_md5s():
    """As S3 makes it; of parts without MD5s it cannot be told."""
    parts = [hashlib.md5(part, usedforsecurity=False) for part in (b"one", b"two")]
    whole = hashlib.md5(b"".join(part.digest() for part in parts), usedforsecurity=False).hexdigest()
    assert etag_of_parts([f'"{part.hexdigest()}"' for part in parts]) == f'"{whole}-2"'
    assert etag_of_parts([f'"{parts[0].hexdigest()}"', '"opaque"']) is None


def digest_of(path, data, etag, part_bytes):
    """A digest that was told of all of a file, in pieces of 7 bytes that came in any order."""
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        digest = FileDigest(fd, len(data), etag, part_bytes)
        starts = list(range(0, len(data), 7))
        random.Random(1).shuffle(starts)
        ends = [digest.written(start, min(7, len(data) - start)) for start in starts]
        assert ends == [False] * (len(starts) - 1) + [True]
        return digest
    finally:
        os.close(fd)


def etag_in_parts(data, size):
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return etag_of_parts([hashlib.md5(part, usedforsecurity=False).hexdigest() for part in parts])


@pytest.mark.parametrize("size", [1, 3, 7, 10, 14, 99, 100, 101])
def test_a_file_is_held_against_the_etag_of_its_parts(tmp_path, size):
    """However large they were, and whatever pieces it comes in."""
    data = random.Random(size).randbytes(100)
    assert digest_of(tmp_path / "f", data, etag_in_parts(data, size), lambda: size).fits()
    wrong = bytearray(data)
    wrong[random.Random(size).randrange(100)] ^= 1
    assert not digest_of(tmp_path / "f", wrong, etag_in_parts(data, size), lambda: size).fits()


@pytest.mark.parametrize("told", [None, 1000, 9])
def test_parts_of_another_size_say_nothing(tmp_path, told):
    """If the size of the parts is not known, or their number is not that of the ETag, the file is not doubted."""
    assert digest_of(tmp_path / "f", b"wrong" * 20, etag_in_parts(b"right" * 20, 10), lambda: told).fits()


def test_the_etag_of_a_whole_file_needs_no_question(tmp_path):
    """An MD5 is that of all the file."""
    etag = f'"{hashlib.md5(b"right" * 20, usedforsecurity=False).hexdigest()}"'

    def ask():
        raise AssertionError

    assert digest_of(tmp_path / "f", b"right" * 20, etag, ask).fits()
    assert not digest_of(tmp_path / "f", b"wrong" * 20, etag, ask).fits()
