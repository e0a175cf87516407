"""Objects as a stream of blocks, some blocks ahead of the reader: for pipes and for whatever must not fill the disk.

Called for Pipe mode. Every block is one ranged request that ends at once in memory, so that a reader which stops for
hours holds up no connection. Memory is bounded, whatever the sizes and the number of the objects. Bytes that do not fit
an object's seal are never given to the end.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import msgspec

from clary.storage.integrity import Corrupt, check_length
from clary.storage.seal import Running, Seal
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

    def seal(self, bucket: str, key: str, etag: str, *, sure: bool = False) -> Seal | None:
        """What the store tells of an object's bytes."""
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
    """Reads blocks, from many threads, and holds objects of several blocks against their seals."""

    def __init__(self, storage_of: Callable[[ReadObject], Gets]) -> None:
        self._storage_of = storage_of
        self._side = ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._running: Running | None = None
        self._begun = False
        self._seen: Future[None] | None = None

    def read(self, entry: ReadObject | bytes, start: int, length: int) -> Block:
        """A block; one that is a whole object has been held against its seal."""
        if isinstance(entry, bytes):
            return Block(entry=entry, data=entry, last=True)
        data = get_checked(self._storage_of(entry), entry.bucket, entry, start, length)
        return Block(entry=entry, data=data, last=start + len(data) == entry.size_bytes)

    def followed(self, block: Block) -> Block:
        """The block, once all blocks of its object before it have been looked at. For one thread, in their order.

        Raises `Corrupt` in the place of the last one of an object that does not fit: there is nothing to be read again, as
        the others have gone out.
        """
        entry = block.entry
        if isinstance(entry, bytes) or len(block.data) == entry.size_bytes:
            return block
        if self._seen is not None:
            self._seen.result()
        self._seen = self._side.submit(self._see, entry, block.data)
        if block.last:
            self._seen.result()
            running, self._running, self._begun = self._running, None, False
            if running is not None and not running.fits() and self.seal(entry, sure=True) is not None:
                raise Corrupt(entry.bucket, entry.key, attempts=1)
        return block

    def seal(self, entry: ReadObject, *, sure: bool = False) -> Seal | None:
        """What its store tells of an object."""
        return self._storage_of(entry).seal(entry.bucket, entry.key, entry.etag, sure=sure)

    def close(self) -> None:
        """Let the thread go."""
        self._side.shutdown(wait=False)

    def _see(self, entry: ReadObject, data: bytes | memoryview) -> None:
        if not self._begun:
            self._begun = True
            seal = self.seal(entry)
            self._running = None if seal is None else Running(seal, entry.size_bytes)
        if self._running is not None:
            self._running.update(data)


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
