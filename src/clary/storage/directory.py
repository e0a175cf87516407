"""A directory that behaves as an S3: for tests, and as the reference for what the port means.

Each bucket is a sub-directory, each object one file in it: a line of JSON with key and ETag, then the bytes. The file is
named by a hash of the key, because a key is any string and a file name is not. A new object is renamed into place, so
that readers see the old one or the new one, also from other processes.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from clary.base import typed
from clary.storage.crc32 import Sums
from clary.storage.integrity import check_length
from clary.storage.port import Changed, NoSuchBucket, NoSuchKey, ObjectInfo, StorageError, Writer
from clary.storage.seal import Seal, seal_of

_OBJECT = ".object"
_UPLOAD = ".upload"


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    etag: str


class DirectoryStorage:
    """See `port.ObjectStorage`. Knows no permissions and no encryption; `faulty` can refuse on its behalf."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create_bucket(self, bucket: str) -> None:
        """Make an empty bucket; no error if there is one."""
        (self._root / bucket).mkdir(parents=True, exist_ok=True)

    def delete_bucket(self, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        shutil.rmtree(self._root / bucket)

    def uploads(self, bucket: str) -> int:
        """The number of writers' files that are neither finished nor abandoned."""
        return len(list(self._bucket(bucket).glob(f"*{_UPLOAD}")))

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """See `port.ObjectStorage`."""
        found = []
        for path in self._bucket(bucket).glob(f"*{_OBJECT}"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                info = _info(file)
                if info.key.startswith(prefix):
                    found.append(info)
        found.sort(key=lambda info: info.key.encode("utf-8", "surrogatepass"))
        yield from found

    def has_objects(self, bucket: str, prefix: str) -> bool:
        """See `port.ObjectStorage`."""
        return any(True for _ in self.list_objects(bucket, prefix))

    def bucket_exists(self, bucket: str) -> bool:
        """See `port.ObjectStorage`."""
        return (self._root / bucket).is_dir()

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `port.ObjectStorage`."""
        with self._open(bucket, key) as file:
            return _info(file)

    def seal(self, bucket: str, key: str, etag: str, *, sure: bool = False) -> Seal | None:  # noqa: ARG002
        """See `port.ObjectStorage`. Nothing is kept in parts here."""
        if self.head(bucket, key).etag != etag:
            raise Changed(f"PreconditionFailed (412): {key!r} has changed", code="PreconditionFailed", status=412)
        return seal_of({"etag": etag})

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes | memoryview:
        """See `port.ObjectStorage`."""
        with self._open(bucket, key) as file:
            info = _info(file)
            if etag is not None and etag != info.etag:
                raise Changed(f"PreconditionFailed (412): {key!r} has changed", code="PreconditionFailed", status=412)
            if (start, length) != (0, None) and not 0 <= start < info.size_bytes:
                raise StorageError(f"InvalidRange (416): {start} in {key!r}", code="InvalidRange", status=416)
            file.seek(start, os.SEEK_CUR)
            return file.read(-1 if length is None else length)

    def get_into(
        self, bucket: str, key: str, fd: int, *, start: int, length: int, etag: str | None = None, whole: bool = False
    ) -> Sequence[int]:
        """See `port.ObjectStorage`."""
        data = self.get(bucket, key, etag=etag, start=start, length=None if whole else length)
        check_length(bucket, key, len(data), length)
        _write(fd, data, start)
        sums = Sums()
        sums.add(data)
        return sums.crcs

    def put(self, bucket: str, key: str, data: bytes | memoryview, *, kms_key_id: str | None = None) -> None:
        """See `port.ObjectStorage`."""
        with self.open_writer(bucket, key, kms_key_id=kms_key_id) as writer:
            writer.write(data)

    def open_writer(self, bucket: str, key: str, *, kms_key_id: str | None = None) -> AbstractContextManager[Writer]:
        """See `port.ObjectStorage`."""
        if kms_key_id is not None:
            raise StorageError("a directory encrypts nothing", code="NotImplemented")
        if not key:
            raise StorageError("an object needs a key")
        return _DirectoryWriter(self._bucket(bucket), key)

    def abort_uploads(self, bucket: str, keys: Collection[str]) -> int:
        """See `port.ObjectStorage`."""
        left = [path for key in keys for path in self._bucket(bucket).glob(f"{_name(key)}.*{_UPLOAD}")]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def delete(self, bucket: str, key: str) -> None:
        """See `port.ObjectStorage`."""
        (self._bucket(bucket) / f"{_name(key)}{_OBJECT}").unlink(missing_ok=True)

    def _bucket(self, bucket: str) -> Path:
        path = self._root / bucket
        if not path.is_dir():
            raise NoSuchBucket(f"NoSuchBucket (404): no bucket {bucket!r}", code="NoSuchBucket", status=404)
        return path

    def _open(self, bucket: str, key: str) -> IO[bytes]:
        try:
            return (self._bucket(bucket) / f"{_name(key)}{_OBJECT}").open("rb")
        except FileNotFoundError:
            raise NoSuchKey(f"NoSuchKey (404): no key {key!r}", code="NoSuchKey", status=404) from None


class _DirectoryWriter:
    def __init__(self, directory: Path, key: str) -> None:
        self._directory = directory
        self._key = key
        self._md5 = hashlib.md5(usedforsecurity=False)

    def __enter__(self) -> Self:
        self._path = self._directory / f"{_name(self._key)}.{secrets.token_hex(8)}{_UPLOAD}"
        self._file = self._path.open("xb")
        self._file.write(self._head())
        return self

    def write(self, data: bytes | memoryview, /) -> int:
        self._md5.update(data)
        return self._file.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._file.write(self._head())
        if kind is None:
            self._path.rename(self._directory / f"{_name(self._key)}{_OBJECT}")
        else:
            self._path.unlink(missing_ok=True)

    def _head(self) -> bytes:
        """The first line; as long before the bytes are known as after."""
        return msgspec.json.encode(_Head(key=self._key, etag=f'"{self._md5.hexdigest()}"')) + b"\n"


def _write(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _name(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _info(file: IO[bytes]) -> ObjectInfo:
    """What the open file holds; leaves it at the first byte of the object."""
    head = typed.from_json(file.readline(), _Head)
    return ObjectInfo(key=head.key, size_bytes=os.fstat(file.fileno()).st_size - file.tell(), etag=head.etag)
