"""A storage that fails on purpose, by rule, around one that works: for tests of what must survive a failing store."""

import os
import random
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from clary.storage.crc32 import Sums
from clary.storage.integrity import ATTEMPTS, Corrupt, check_length
from clary.storage.port import ObjectInfo, ObjectStorage, Writer
from clary.storage.seal import Seal


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Raise `error` in calls of the method `verb`, beginning with call number `on_call` (from 1), `times` times.

    With `key` only calls for that key (or that prefix, when listing) count. With `after_bytes` a call fails only once
    that many bytes of the matching calls have passed: `get` gives them first, a writer takes them first.
    """

    verb: str
    error: Exception
    on_call: int = 1
    times: int = 1
    key: str | None = None
    after_bytes: int = 0


@dataclass(kw_only=True)
class Corruption:
    """The next `times` gets of `key` give bytes of which one, at random, is wrong; of a whole object, it is read again."""

    key: str
    times: int = 1


class FaultyStorage:
    """See `port.ObjectStorage`; `calls` is every call made so far, as (verb, key)."""

    def __init__(
        self, inner: ObjectStorage, faults: Sequence[Fault] = (), corruptions: Sequence[Corruption] = ()
    ) -> None:
        self._inner = inner
        self._faults = tuple(faults)
        self._corruptions = tuple(corruptions)
        self._lock = threading.Lock()
        self._seen = [0] * len(self._faults)
        self._bytes = [0] * len(self._faults)
        self._raised = [0] * len(self._faults)
        self.calls: list[tuple[str, str]] = []

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """See `port.ObjectStorage`."""
        self._call("list_objects", prefix)
        return self._inner.list_objects(bucket, prefix)

    def has_objects(self, bucket: str, prefix: str) -> bool:
        """See `port.ObjectStorage`."""
        self._call("has_objects", prefix)
        return self._inner.has_objects(bucket, prefix)

    def bucket_exists(self, bucket: str) -> bool:
        """See `port.ObjectStorage`."""
        self._call("bucket_exists", "")
        return self._inner.bucket_exists(bucket)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `port.ObjectStorage`."""
        self._call("head", key)
        return self._inner.head(bucket, key)

    def seal(self, bucket: str, key: str, etag: str, *, sure: bool = False) -> Seal | None:
        """See `port.ObjectStorage`."""
        self._call("seal", key)
        return self._inner.seal(bucket, key, etag, sure=sure)

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes | memoryview:
        """See `port.ObjectStorage`."""
        for _ in range(ATTEMPTS):
            self._call("get", key)
            block = self._inner.get(bucket, key, etag=etag, start=start, length=length)
            self._passed("get", key, len(block))
            came = self._corrupted(key, block)
            if came is block or (start, length) != (0, None):
                return came
        raise Corrupt(bucket, key)

    def get_into(
        self, bucket: str, key: str, fd: int, *, start: int, length: int, etag: str | None = None, whole: bool = False
    ) -> Sequence[int]:
        """See `port.ObjectStorage`. Counts as a `get`."""
        came = self.get(bucket, key, etag=etag, start=start, length=None if whole else length)
        check_length(bucket, key, len(came), length)
        os.pwrite(fd, came, start)
        sums = Sums()
        sums.add(came)
        return sums.crcs

    def put(self, bucket: str, key: str, data: bytes | memoryview, *, kms_key_id: str | None = None) -> None:
        """See `port.ObjectStorage`."""
        self._call("put", key)
        self._inner.put(bucket, key, data, kms_key_id=kms_key_id)

    def open_writer(self, bucket: str, key: str, *, kms_key_id: str | None = None) -> AbstractContextManager[Writer]:
        """See `port.ObjectStorage`."""
        self._call("open_writer", key)
        return self._writing(self._inner.open_writer(bucket, key, kms_key_id=kms_key_id), key)

    def abort_uploads(self, bucket: str, keys: Collection[str]) -> int:
        """See `port.ObjectStorage`. Its calls are noted without their keys."""
        self._call("abort_uploads", "")
        return self._inner.abort_uploads(bucket, keys)

    def delete(self, bucket: str, key: str) -> None:
        """See `port.ObjectStorage`."""
        self._call("delete", key)
        self._inner.delete(bucket, key)

    @contextmanager
    def _writing(self, inner: AbstractContextManager[Writer], key: str) -> Iterator[Writer]:
        with inner as writer:
            yield _FaultyWriter(self, writer, key)

    def _call(self, verb: str, key: str) -> None:
        with self._lock:
            self.calls.append((verb, key))
            for index, fault in self._matching(verb, key):
                self._seen[index] += 1
                if not fault.after_bytes and self._seen[index] >= fault.on_call:
                    self._raise(index, fault)

    def _passed(self, verb: str, key: str, size_bytes: int) -> None:
        with self._lock:
            for index, fault in self._matching(verb, key):
                self._bytes[index] += size_bytes
                if fault.after_bytes and self._bytes[index] > fault.after_bytes:
                    self._raise(index, fault)

    def _corrupted(self, key: str, block: bytes | memoryview) -> bytes | memoryview:
        with self._lock:
            found = next((each for each in self._corruptions if each.key == key and each.times and len(block)), None)
            if found is None:
                return block
            found.times -= 1
            wrong = bytearray(block)
            wrong[random.randrange(len(wrong))] ^= 1 << random.randrange(8)  # noqa: S311
            return bytes(wrong)

    def _matching(self, verb: str, key: str) -> list[tuple[int, Fault]]:
        return [
            (index, fault)
            for index, fault in enumerate(self._faults)
            if fault.verb == verb and fault.key in {None, key}
        ]

    def _raise(self, index: int, fault: Fault) -> None:
        if self._raised[index] < fault.times:
            self._raised[index] += 1
            raise fault.error


class _FaultyWriter:
    def __init__(self, storage: FaultyStorage, writer: Writer, key: str) -> None:
        self._storage = storage
        self._writer = writer
        self._key = key

    def write(self, data: bytes | memoryview, /) -> int:
        self._storage._passed("open_writer", self._key, memoryview(data).nbytes)  # noqa: SLF001
        return self._writer.write(data)
