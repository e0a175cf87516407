"""Objects as a stream of blocks, some blocks ahead of the reader: for pipes and for whatever must not fill the disk.

Called for Pipe mode. Every block is one ranged request that ends at once in memory, so that a reader which stops for
hours holds up no connection. Memory is bounded by (ahead + 1) blocks, whatever the sizes of the objects.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from clary.storage.port import ObjectStorage, StorageError
from clary.storage.selection import SelectedObject

BLOCK_BYTES = 8 * 1024 * 1024


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive bytes of one object; `last` on its last block. An empty object is one empty block."""

    object: SelectedObject
    data: bytes | memoryview
    last: bool


def read_objects(
    storage: ObjectStorage,
    bucket: str,
    objects: Iterable[SelectedObject],
    *,
    ahead: int = 4,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """All blocks of the objects, in order, while `ahead` requests run before the reader.

    Raises `StorageError` where the object at fault would have begun or gone on. Close the iterator to stop early.
    """
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead")
    under_way: deque[Future[Block]] = deque()
    try:
        for item in objects:
            for start in range(0, max(item.size_bytes, 1), block_bytes):
                if len(under_way) > ahead:
                    yield under_way.popleft().result()
                under_way.append(pool.submit(_read, storage, bucket, item, start, block_bytes))
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read(storage: ObjectStorage, bucket: str, item: SelectedObject, start: int, block_bytes: int) -> Block:
    data = get_checked(storage, bucket, item, start, min(block_bytes, item.size_bytes - start))
    return Block(object=item, data=data, last=start + len(data) == item.size_bytes)


def get_checked(
    storage: ObjectStorage, bucket: str, item: SelectedObject, start: int, length: int
) -> bytes | memoryview:
    """Exactly those bytes of the object that was listed, or `StorageError`."""
    if length == item.size_bytes:
        data = storage.get(bucket, item.key, etag=item.etag)  # an empty object has no range to ask for
    else:
        data = storage.get(bucket, item.key, etag=item.etag, start=start, length=length)
    if len(data) != length:
        raise StorageError(f"s3://{bucket}/{item.key}: {len(data)} bytes came, {length} were expected")
    return data
