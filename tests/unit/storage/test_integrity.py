"""What can be known of bytes from what a store says of them."""

import hashlib
import zlib
from base64 import b64encode

import pytest

from clary.storage.integrity import etag_of_parts, fits_checksum

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
