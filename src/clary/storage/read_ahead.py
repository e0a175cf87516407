"""The bytes of objects for those who read files of a view: any range, at once, and much of it before it is asked for.

Called by whoever serves a FastFile channel, from many threads. Every block is a ranged request of the object as it was
listed (its ETag, else `Changed`). A small object comes whole, and is held against its seal before a byte is given. A
larger one that is read from its beginning to its end is held against it, too, before its last bytes are given (by an MD5
up to `TOLD_BYTES` only); of one that is read here and there nothing is known but that it is the one that was listed.

Memory: what is held ahead of readers stays within a limit; what they wait for comes on top.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from clary.storage.integrity import Corrupt
from clary.storage.patterns import SLACK_BYTES, Pattern, Runs
from clary.storage.port import StorageError
from clary.storage.reading import Gets, Reader, ReadObject
from clary.storage.seal import Running
from clary.storage.view import Node

WHOLE_BYTES = 1024 * 1024
"""Objects up to here are read whole."""

TOLD_BYTES = 8 * 1024 * 1024
"""Objects up to here are held against their MD5 while they are read through, if that is all there is: to compute it takes longer
than all the rest of reading.
"""

LIMIT_BYTES = 128 * 1024 * 1024
_OF_ONE_BYTES = 32 * 1024 * 1024
_OF_ONE_AT_LEAST_BYTES = 2 * 1024 * 1024
_FIRST_BYTES = 512 * 1024
_BLOCK_BYTES = (256 * 1024, 8 * 1024 * 1024)
_UNSEEN_BYTES = 16 * 1024 * 1024
_AT_ONCE = 24
_IDLE_S = 2.0


class ReadAhead:
    """All that is read of a view. `following` answers the files after a number, so many: see `View`. Thread-safe."""

    def __init__(
        self,
        storage_of: Callable[[ReadObject], Gets],
        following: Callable[[int, int], Sequence[Node]] = lambda _number, _limit: (),
        *,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._following = following
        self._limit = limit_bytes
        self.reader = Reader(storage_of)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="read-ahead")
        self._lock = threading.Lock()
        self._held = 0
        self._files: OrderedDict[OpenFile, float] = OrderedDict()  # with the time of the last read, the oldest first
        self._runs = Runs()
        self._early: OrderedDict[int, _Block] = OrderedDict()  # of files that are not open yet
        self._early_bytes = 0

    @property
    def held_bytes(self) -> int:
        """How many bytes are held or asked for."""
        return self._held

    def open(self, node: Node) -> "OpenFile":
        """A file to be read. Also asks for the next ones, where files are opened one after the other."""
        if node.entry is None:
            raise IsADirectoryError
        with self._lock:
            after, count = self._runs.opened(node.number)
        nodes = self._following(after, count) if count else ()
        with self._lock:
            file = OpenFile(self, node.entry, min(_OF_ONE_BYTES, self._limit // 4))
            self._files[file] = time.monotonic()
            block = self._early.pop(node.number, None)
            if block is not None:
                self._early_bytes -= block.length
                file.blocks.append(block)
                file.follow(block)
            for other in nodes:
                self._ask_early(other)
        return file

    def close(self) -> None:
        """Ask for nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # What follows is called by open files.

    def blocks(self, file: "OpenFile", start: int, end: int) -> "list[_Block]":
        """The blocks that together hold these bytes of a file, in order; asks for what comes after them."""
        with self._lock:
            self._files[file] = time.monotonic()
            self._files.move_to_end(file)
            goes_on = file.pattern.read(start, end)
            if not goes_on:
                self._drop(file, [block for block in file.blocks if block.end <= start or block.start >= end])
            found = []
            position = start
            while position < end:
                block = file.block_at(position)
                if block is None:
                    block = self._ask(file, position, self._up_to(file, position, end, goes_on=goes_on))
                found.append(block)
                position = block.end
            if goes_on:
                self._ask_ahead(file, position)
            return found

    def read(self, file: "OpenFile") -> None:
        """Let go of what lies behind the reader."""
        with self._lock:
            behind = file.pattern.next - SLACK_BYTES
            if file.blocks and file.blocks[0].end <= behind:
                self._drop(file, [block for block in file.blocks if block.end <= behind and block.data.done()])

    def forget(self, file: "OpenFile", blocks: "Sequence[_Block]") -> None:
        """Let go of blocks that did not come."""
        with self._lock:
            self._drop(file, [block for block in blocks if block in file.blocks])

    def closed(self, file: "OpenFile") -> None:
        """Let go of a file."""
        with self._lock:
            self._files.pop(file, None)
            self._drop(file, list(file.blocks))

    def _up_to(self, file: "OpenFile", start: int, end: int, *, goes_on: bool) -> int:
        """Where the block ends that is asked for because a reader wants its bytes from `start` to `end`."""
        size = file.entry.size_bytes
        if size <= WHOLE_BYTES:
            return size
        if goes_on and start == 0:
            end = max(end, _FIRST_BYTES)
        elif goes_on and file.pattern.window:
            end = max(end, start + _BLOCK_BYTES[0])
        later = (block.start for block in file.blocks if block.start > start)
        return min(size, end, *later)

    def _ask(self, file: "OpenFile", start: int, end: int) -> "_Block":
        if file.entry.size_bytes <= WHOLE_BYTES:
            start = 0
        block = self._block(file.entry, start, end, file)
        file.blocks.append(block)
        file.blocks.sort(key=lambda block: block.start)
        return block

    def _ask_ahead(self, file: "OpenFile", position: int) -> None:
        size, window = file.entry.size_bytes, file.pattern.window
        position = file.covered_to(position)
        if not window or position >= size or position - file.pattern.next >= window:
            return
        active = sum(1 for other in self._files if other.blocks)
        window = min(window, max(_OF_ONE_AT_LEAST_BYTES, self._limit // max(1, active)))
        length = min(max(window // 4, _BLOCK_BYTES[0]), _BLOCK_BYTES[1])
        while position < size and position - file.pattern.next < window:
            # Pieces that begin where the store's own do cost it less, and all but the first few are equal.
            end = min(
                (position // length + 1) * length,
                size,
                *(block.start for block in file.blocks if block.start > position),
            )
            if not self._room(end - position, file):
                return
            self._ask(file, position, end)
            position = file.covered_to(end)

    def _ask_early(self, node: Node) -> None:
        entry = node.entry
        if entry is None or node.number in self._early or not entry.size_bytes:
            return
        end = entry.size_bytes if entry.size_bytes <= WHOLE_BYTES else _FIRST_BYTES
        if not self._room(end, None):
            return
        while self._early and self._early_bytes + end > self._limit // 4:
            self._drop_early()
        self._early[node.number] = self._block(entry, 0, end, None)
        self._early_bytes += end

    def _room(self, length: int, file: "OpenFile | None") -> bool:
        """Whether so much more may be held. What nobody has looked at for a while makes room."""
        now = time.monotonic()
        for other in list(self._files):
            if self._held + length <= self._limit:
                return True
            if self._files[other] > now - _IDLE_S:
                break
            if other is not file:
                self._drop(other, list(other.blocks))
        while self._early and file is not None and self._held + length > self._limit:
            self._drop_early()
        return self._held + length <= self._limit

    def _block(self, entry: ReadObject, start: int, end: int, file: "OpenFile | None") -> "_Block":
        self._held += end - start
        block = _Block(start, end, self._pool.submit(self._get, entry, start, end))
        if file is not None:
            file.follow(block)
        return block

    def _get(self, entry: ReadObject, start: int, end: int) -> bytes | memoryview:
        return self.reader.read(entry, start, end - start).data

    def _drop(self, file: "OpenFile", blocks: "Sequence[_Block]") -> None:
        for block in blocks:
            file.blocks.remove(block)
            self._let_go(block)

    def _drop_early(self) -> None:
        _, block = self._early.popitem(last=False)
        self._early_bytes -= block.length
        self._let_go(block)

    def _let_go(self, block: "_Block") -> None:
        self._held -= block.length
        block.data.cancel()


class _Block:
    """Consecutive bytes of an object that have come, or are on their way."""

    def __init__(self, start: int, end: int, data: "Future[bytes | memoryview]") -> None:
        self.start = start
        self.end = end
        self.data = data
        self.length = end - start


class OpenFile:
    """A file that somebody has opened. Thread-safe."""

    def __init__(self, ahead: ReadAhead, entry: ReadObject, window_at_most: int) -> None:
        self.entry = entry
        self.blocks: list[_Block] = []
        self.pattern = Pattern(window_at_most)
        self._ahead = ahead
        self._digest = _Digest(entry, ahead.reader) if entry.size_bytes > WHOLE_BYTES else None

    def read(self, start: int, size: int) -> bytes | memoryview:
        """The bytes from `start` on, so many or up to the end of the file: a copy only where they came in several pieces.

        Raises `StorageError`.
        """
        end = min(start + size, self.entry.size_bytes)
        if start >= end:
            return b""
        while True:
            blocks = self._ahead.blocks(self, start, end)
            try:
                pieces = [_piece(block, start, end) for block in blocks]
            except CancelledError:  # somebody else took the room while nobody had begun to ask: ask again
                self._ahead.forget(self, blocks)
                continue
            except StorageError:
                self._ahead.forget(self, [block for block in blocks if _failed(block)])
                raise
            break
        if self._digest is not None:
            self._digest.wait_for(end - _UNSEEN_BYTES)
            if end == self.entry.size_bytes and not self._digest.fits():
                raise Corrupt(self.entry.bucket, self.entry.key, attempts=1)
        self._ahead.read(self)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def block_at(self, position: int) -> _Block | None:
        """The block that holds the byte at a position."""
        return next((block for block in self.blocks if block.start <= position < block.end), None)

    def covered_to(self, position: int) -> int:
        """The first byte from a position on that no block holds."""
        while (block := self.block_at(position)) is not None:
            position = block.end
        return position

    def follow(self, block: _Block) -> None:
        """Hold a block that was asked for against the object's seal, with all before it."""
        if self._digest is not None:
            self._digest.follow(block)

    def close(self) -> None:
        """Let go of all that is held for it."""
        self._ahead.closed(self)


def _failed(block: _Block) -> bool:
    return block.data.done() and (block.data.cancelled() or block.data.exception() is not None)


def _piece(block: _Block, start: int, end: int) -> memoryview:
    return memoryview(block.data.result())[max(0, start - block.start) : end - block.start]


class _Digest:
    """What an object's seal says to blocks that are asked for in order; of no use once they are not."""

    def __init__(self, entry: ReadObject, reader: Reader) -> None:
        self._entry = entry
        self._reader = reader
        self._asked_to = 0
        self._waiting: dict[int, bytes | memoryview] = {}
        self._position = 0
        self._running: Running | None = None
        self._busy = False
        self._over = threading.Event()
        self._fits = True
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)

    def follow(self, block: _Block) -> None:
        """A block was asked for."""
        if self._over.is_set():
            return
        if block.start != self._asked_to:
            self._give_up()
            return
        self._asked_to = block.end
        start = block.start  # a callback that knew the block would keep its bytes until the next garbage collection
        block.data.add_done_callback(lambda data: self._came(start, data))

    def wait_for(self, position: int) -> None:
        """Wait until the bytes up to a position have been looked at: those that wait for it are held in memory."""
        if self._position < position <= self._asked_to and not self._over.is_set():
            with self._moved:
                self._moved.wait_for(lambda: self._position >= position or self._over.is_set())

    def fits(self) -> bool:
        """Whether all bytes are right, as far as can be known. Waits for those that were asked for."""
        if self._asked_to < self._entry.size_bytes:
            return True
        self._over.wait()
        return self._fits or self._reader.seal(self._entry, sure=True) is None

    def _came(self, start: int, data: "Future[bytes | memoryview]") -> None:
        if data.cancelled() or data.exception() is not None:
            self._give_up()
            return
        with self._lock:
            self._waiting[start] = data.result()
            if self._busy or self._over.is_set():
                return
            self._busy = True
        if self._running is None:
            self._running = self._begun()
            if self._running is None:
                self._give_up()
                return
        while True:
            with self._lock:
                piece = self._waiting.pop(self._position, None)
                if piece is None:
                    self._busy = False
                    break
            self._running.update(piece)
            with self._moved:
                self._position += len(piece)
                self._moved.notify_all()
        if self._position == self._entry.size_bytes and not self._over.is_set():
            self._fits = self._running.fits()
            self._end()

    def _begun(self) -> Running | None:
        try:
            seal = self._reader.seal(self._entry)
        except Exception:  # noqa: BLE001  whoever reads on will learn of it; one that waits for the digest must not wait for ever
            return None
        if seal is None or (seal.kind == "md5" and self._entry.size_bytes > TOLD_BYTES):
            return None
        return Running(seal, self._entry.size_bytes)

    def _give_up(self) -> None:
        with self._lock:
            self._waiting.clear()
        self._end()

    def _end(self) -> None:
        self._over.set()
        with self._moved:
            self._moved.notify_all()
