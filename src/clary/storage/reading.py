"""Objects as a stream of blocks, some blocks ahead of the reader: for pipes and for whatever must not fill the disk.

Called for Pipe mode. Every block is one ranged request that ends at once in memory, so that a reader which stops for
hours holds up no connection. Memory is bounded, whatever the sizes and the number of the objects. Bytes that do not fit
an object's ETag are never given to the end: see `integrity`.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import md5 as new_md5
from typing import Protocol

import msgspec

from clary.storage.integrity import ATTEMPTS, Corrupt, md5, md5_of
from clary.storage.port import StorageError
from clary.storage.selection import SelectedObject

BLOCK_BYTES = 8 * 1024 * 1024
AHEAD_BYTES = 4 * BLOCK_BYTES
_AHEAD_REQUESTS = 32


class ReadObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object to be read as it was listed."""

    bucket: str
    key: str
    size_bytes: int
    etag: str


class Gets(Protocol):
    """What is asked of a storage here: see `ObjectStorage`."""

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes | memoryview:
        """A range of an object, or all of it."""
        ...

    def etag_is_md5(self, bucket: str, key: str) -> bool:
        """Whether an ETag that looks like an MD5 is one."""
        ...


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive bytes of one entry; `last` on its last block. An empty object is one empty block."""

    entry: ReadObject | bytes
    data: bytes | memoryview
    last: bool


def read_objects(
    storage_of: Callable[[ReadObject], Gets],
    entries: Iterable[ReadObject | bytes],
    *,
    ahead_bytes: int = AHEAD_BYTES,
    ahead_requests: int = _AHEAD_REQUESTS,
    block_bytes: int = BLOCK_BYTES,
) -> Generator[Block, None, None]:
    """All blocks of the entries, in order, while requests run before the reader: so many, or for so many bytes.

    An entry of bytes is a block as it is. Raises `StorageError` where the object at fault would have begun or gone on.
    Close the generator to stop early.
    """
    pool = ThreadPoolExecutor(ahead_requests, thread_name_prefix="read-ahead")
    reader = Reader(storage_of)
    under_way: deque[tuple[int, Future[Block]]] = deque()
    waiting_bytes = 0
    try:
        for entry, start, length in _requests(entries, block_bytes):
            while under_way and (len(under_way) >= ahead_requests or waiting_bytes + length > ahead_bytes):
                size, future = under_way.popleft()
                yield reader.followed(future.result())
                waiting_bytes -= size
            under_way.append((length, pool.submit(reader.read, entry, start, length)))
            waiting_bytes += length
        while under_way:
            yield reader.followed(under_way.popleft()[1].result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        reader.close()


def _requests(entries: Iterable[ReadObject | bytes], block_bytes: int) -> Iterator[tuple[ReadObject | bytes, int, int]]:
    """Which bytes of which entry to ask for: entry, start, length."""
    for entry in entries:
        if isinstance(entry, bytes):
            yield entry, 0, len(entry)
            continue
        for start in range(0, max(entry.size_bytes, 1), block_bytes):
            yield entry, start, min(block_bytes, entry.size_bytes - start)


class Reader:
    """Reads blocks, from many threads, and holds them against the ETags of their objects."""

    def __init__(self, storage_of: Callable[[ReadObject], Gets]) -> None:
        self._storage_of = storage_of
        self._etags_tell = True
        self._side = ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._digest = new_md5(usedforsecurity=False)
        self._digested: Future[None] | None = None

    def read(self, entry: ReadObject | bytes, start: int, length: int) -> Block:
        """A block; one that is a whole object is read again if it does not fit, and else is `Corrupt`."""
        if isinstance(entry, bytes):
            return Block(entry=entry, data=entry, last=True)
        expected = md5_of(entry.etag) if length == entry.size_bytes else None
        for _ in range(ATTEMPTS):
            data = get_checked(self._storage_of(entry), entry.bucket, entry, start, length)
            if expected is None or not self._etags_tell or md5(data) == expected or not self.ought_to_fit(entry):
                return Block(entry=entry, data=data, last=start + len(data) == entry.size_bytes)
        raise Corrupt(entry.bucket, entry.key)

    def followed(self, block: Block) -> Block:
        """The block, once all blocks of its object before it have been looked at. For one thread, in their order.

        Raises `Corrupt` in the place of the last one of an object that does not fit: there is nothing to be read again, as
        the others have gone out.
        """
        entry = block.entry
        if isinstance(entry, bytes) or len(block.data) == entry.size_bytes or not self._etags_tell:
            return block
        expected = md5_of(entry.etag)
        if expected is None:
            return block
        if self._digested is not None:
            self._digested.result()
        self._digested = self._side.submit(self._digest.update, block.data)
        if block.last:
            self._digested.result()
            found, self._digest = self._digest.hexdigest(), new_md5(usedforsecurity=False)
            if found != expected and self.ought_to_fit(entry):
                raise Corrupt(entry.bucket, entry.key, attempts=1)
        return block

    def close(self) -> None:
        """Let the thread go."""
        self._side.shutdown(wait=False)

    def ought_to_fit(self, entry: ReadObject) -> bool:
        """Whether the ETag is an MD5 indeed; after the first that is not, no other is taken for one: as `transfer`."""
        if self._etags_tell and not self._storage_of(entry).etag_is_md5(entry.bucket, entry.key):
            self._etags_tell = False
        return self._etags_tell


def get_checked(
    storage: Gets, bucket: str, item: SelectedObject | ReadObject, start: int, length: int
) -> bytes | memoryview:
    """Exactly those bytes of the object that was listed, or `StorageError`."""
    if length == item.size_bytes:
        data = storage.get(bucket, item.key, etag=item.etag)  # an empty object has no range to ask for
    else:
        data = storage.get(bucket, item.key, etag=item.etag, start=start, length=length)
    check_length(bucket, item.key, len(data), length)
    return data


def check_length(bucket: str, key: str, came: int, expected: int) -> None:
    """Raise `StorageError` if another number of bytes came than the listing spoke of."""
    if came != expected:
        raise StorageError(f"s3://{bucket}/{key}: {came} bytes came, {expected} were expected")
