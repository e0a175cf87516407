"""One epoch of a Pipe mode channel as a stream of bytes: which objects in which order, and what becomes of each.

`order` is pure. `stream` reads ahead in bounded memory, unpacks and frames. Called by whoever feeds a channel's FIFOs.
Source: input-data facts on Pipe mode: bodies back to back, nothing in between; Gzip unpacked, then wrapped.
"""

import random
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

from isal import igzip_lib

from clary.storage.port import StorageError
from clary.storage.reading import AHEAD_BYTES, Block, Gets, ReadObject, read_objects
from clary.storage.recordio import frame
from clary.storage.selection import shard

_SPOOL_BYTES = 64 * 1024 * 1024
_UNPACKED_BYTES = 4 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_NO_GZIP: tuple[type[Exception], ...] = (cast("type[Exception]", igzip_lib.IsalError), EOFError)

T = TypeVar("T")


def order(entries: Sequence[T], epoch: int, *, seed: int | None, host_index: int, host_count: int) -> Sequence[T]:
    """What a host is sent in an epoch. With a seed all entries are shuffled anew for each epoch, and then dealt out.

    Source: API model, ShuffleConfig and S3DataDistributionType; the generator is our own (SageMaker's is not public).
    """
    if seed is not None:
        shuffled = list(entries)
        random.Random(f"{seed} {epoch}").shuffle(shuffled)  # noqa: S311  an order, not a secret
        entries = shuffled
    return entries if host_count == 1 else shard(entries, host_index, host_count)


def stream(
    storage_of: Callable[[ReadObject], Gets],
    entries: Iterable[ReadObject | bytes],
    *,
    gunzip: bool,
    recordio: bool,
    ahead_bytes: int = AHEAD_BYTES,
    spool: Path | None = None,
) -> Generator[bytes | memoryview, None, None]:
    """The bytes of an epoch. An entry is an object, or bytes that are sent as they are (framed like an object).

    Objects are read `ahead_bytes` ahead. `spool` is a directory for a packed object that is to be a record and is too long
    for memory. Raises `StorageError` where the object at fault would have begun or gone on; close the iterator to stop early.
    """
    blocks = read_objects(storage_of, entries, ahead_bytes=ahead_bytes)
    try:
        if not gunzip and not recordio:
            for block in blocks:
                yield block.data
            return
        for first in blocks:
            whole = _object(first, blocks)
            packed = gunzip and isinstance(first.entry, ReadObject)
            if not recordio:
                yield from _unpacked(first.entry, whole)
            elif not packed:
                yield from frame(whole, _size(first.entry))
            else:
                yield from _framed(_unpacked(first.entry, whole), spool)
    finally:
        blocks.close()


def _object(first: Block, rest: Iterator[Block]) -> Iterator[bytes | memoryview]:
    """The blocks of one object, taken from the stream of all."""
    block = first
    yield block.data
    while not block.last:
        block = next(rest)
        yield block.data


def _size(entry: ReadObject | bytes) -> int:
    return len(entry) if isinstance(entry, bytes) else entry.size_bytes


def _framed(payload: Iterator[bytes | memoryview], directory: Path | None) -> Iterator[bytes | memoryview]:
    """A record whose length is known at its end only: it waits in memory, or on disk if it is long."""
    with tempfile.SpooledTemporaryFile(
        max_size=_SPOOL_BYTES, dir=None if directory is None else str(directory)
    ) as spool:
        size = 0
        for block in payload:
            size += spool.write(block)
        spool.seek(0)
        yield from frame(iter(lambda: spool.read(_UNPACKED_BYTES), b""), size)


def _unpacked(entry: ReadObject | bytes, packed: Iterator[bytes | memoryview]) -> Iterator[bytes]:
    """What gzip packed; several members follow each other, as gzip(1) has it. Empty stays empty."""
    if isinstance(entry, bytes):
        yield from map(bytes, packed)
        return
    member = None
    try:
        for block in packed:
            data: bytes = bytes(block)
            while data or (member is not None and not member.needs_input and not member.eof):
                if member is None:
                    if not _GZIP.startswith(data[: len(_GZIP)]):
                        raise StorageError(f"s3://{entry.bucket}/{entry.key} is not in gzip format")
                    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
                yield member.decompress(data, _UNPACKED_BYTES)
                data = b""
                if member.eof:
                    # Zeros after the last member are padding, which gzip(1) passes over.
                    data = member.unused_data.lstrip(b"\0")
                    member = None
    except _NO_GZIP as error:
        raise StorageError(f"s3://{entry.bucket}/{entry.key} is not in gzip format: {error}") from None
    if member is not None:
        raise StorageError(f"s3://{entry.bucket}/{entry.key} ends in the middle of its gzip data")
