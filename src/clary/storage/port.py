"""Object storage as the rest of Clary sees it: one verb per S3 call, and the few ways in which a call can fail.

Called by `transfer`, `upload` and `reading` here and by whoever stages or uploads. Adapters: `s3` (any S3), `directory`
(a directory, for tests), `faulty` (wraps another and fails on purpose). All are synchronous and may be used from many
threads at once. Planning (what to move, and to where) is `selection`; moving many objects is `transfer`.

    StorageError
    ├── NoSuchBucket
    ├── NoSuchKey
    ├── AccessDenied     refused: no permission, unknown or expired credentials
    ├── Changed          the object is no longer the one whose ETag was asked for
    ├── Unreachable      no answer, or none but "later", until the retry bound
    └── UnfaithfulKey    this store would keep the object under another key than the one asked for
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from clary.storage.seal import Seal


class StorageError(Exception):
    """The store refused a request.

    `code` is S3's own error code ("" where there is none), `status` the HTTP status (0 where there is none). The text
    is fit for a FailureReason: "AccessDenied (403): Access Denied".
    """

    def __init__(self, text: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class NoSuchBucket(StorageError):
    """The bucket does not exist."""


class NoSuchKey(StorageError):
    """The object does not exist."""


class AccessDenied(StorageError):
    """The credentials do not allow the request, or are not valid (any more)."""


class Changed(StorageError):
    """The object changed between listing and reading."""


class Unreachable(StorageError):
    """The store gave no answer, or only put us off, until the retries were used up: it may come back."""


class UnfaithfulKey(StorageError):
    """The store is known to normalise such a key, so that the object would land, or be sought, under another name."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that sign requests; `session_token` is None for long-lived keys."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id})"  # a secret must not reach a log by way of a traceback


CredentialsProvider = Callable[[], Credentials]
"""Answers the credentials to use now. Called for every request or nearly so: it should be cheap, and thread-safe."""


class S3Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an S3 is: `endpoint_url` is "http(s)://host[:port]"; buckets are addressed in path style."""

    endpoint_url: str
    region: str


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One object as a listing shows it; `etag` with its double quotes, as in If-Match."""

    key: str
    size_bytes: int
    etag: str


class Writer(Protocol):
    """An object in the making. Nothing is visible before the `with` block that it stands in ends without exception."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes; answers their number. May wait until earlier bytes have left."""
        ...


class ObjectStorage(Protocol):
    """An S3, or something that behaves as one. Every method raises `StorageError` or one of its kinds."""

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with the string `prefix`, sorted by the UTF-8 bytes of their keys.

        The prefix is raw: "data/train" finds "data/train-2/y" too (Source: S3Prefix, and S3's ListObjectsV2).
        Raises `NoSuchBucket`.
        """
        ...

    def has_objects(self, bucket: str, prefix: str) -> bool:
        """Whether `list_objects` would yield anything, at the cost of one request."""
        ...

    def bucket_exists(self, bucket: str) -> bool:
        """Whether the bucket is there; `AccessDenied` if the store will not say."""
        ...

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What a listing would say of one object. Raises `NoSuchKey`, `NoSuchBucket`."""
        ...

    def seal(self, bucket: str, key: str, etag: str, *, sure: bool = False) -> Seal | None:
        """What the store tells of the bytes of an object that still has that ETag; None if nothing that helps, or if nobody is
        to spend time on it.

        Of an object in parts it tells the size of the first, and the others are taken to be like it; who finds bytes that
        do not fit asks again, to be `sure`, which costs a request for each part: None if they are not. Raises `NoSuchKey`
        and `Changed` as `get` does.
        """
        ...

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes | memoryview:
        """The whole object, or `length` bytes from `start` on (fewer where the object ends), held in memory.

        With `etag`, only if the object still has that ETag, else `Changed`. A range must begin inside the object; ask
        for an empty object whole. A whole object is held against its seal, and read again if it does not fit, else
        `integrity.Corrupt`; a range is not. For objects of any size use `reading.read_objects`, or `get_into`.
        """
        ...

    def get_into(
        self, bucket: str, key: str, fd: int, *, start: int, length: int, etag: str | None = None, whole: bool = False
    ) -> Sequence[int]:
        """The same range, written to the same place in the file `fd`, which may be read, too, and not held in memory; answers
        the CRC-32 of each `crc32.PIECE_BYTES` that came.

        `whole`: these are known to be all bytes of the object, which is held against its seal as by `get`. Raises
        `StorageError` if another number of bytes came, and `OSError` for what befalls the file, and may have written some.
        """
        ...

    def put(self, bucket: str, key: str, data: bytes | memoryview, *, kms_key_id: str | None = None) -> None:
        """Create or replace a small object in one request.

        `kms_key_id` asks for SSE-KMS with that key; None leaves encryption to the bucket.
        """
        ...

    def open_writer(self, bucket: str, key: str, *, kms_key_id: str | None = None) -> AbstractContextManager[Writer]:
        """Create or replace an object of any size from a stream, in bounded memory.

        The object appears when the `with` block ends; an exception inside the block abandons everything sent so far.
        """
        ...

    def abort_uploads(self, bucket: str, keys: Collection[str]) -> int:
        """Abandon unfinished uploads of exactly these keys, left by a writer whose process was killed; their number."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; no error if there is none (Source: S3, DeleteObject)."""
        ...
