"""What happens to objects whose bytes are not those that were stored: they are read again, and then given up.

Raised by the adapters for what they bring whole, and by whoever brings an object in several requests. How it is found out is
`seal`.
"""

from clary.storage.port import StorageError

ATTEMPTS = 3
"""How often an object is read before its store is believed to hold other bytes than it says."""


class Corrupt(StorageError):
    """The bytes of an object are not those that its store speaks of, however often they are read."""

    def __init__(self, bucket: str, key: str, *, attempts: int = ATTEMPTS) -> None:
        times = f", read {attempts} times" if attempts > 1 else ""
        super().__init__(
            f"BadDigest: the bytes of s3://{bucket}/{key} do not fit its checksum or ETag{times}", code="BadDigest"
        )


def check_length(bucket: str, key: str, came: int, expected: int) -> None:
    """Raise `StorageError` if another number of bytes came than the listing spoke of."""
    if came != expected:
        raise StorageError(f"s3://{bucket}/{key}: {came} bytes came, {expected} were expected")
