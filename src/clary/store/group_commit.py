"""One COMMIT for all writes that wait: a disk's sync is the price of durability, and they share it.

Used by `sqlite`. Knows nothing of jobs: a write is a function that is given the connection. What a write *refuses*, it
must refuse before it changes anything; then its neighbours in the group are unharmed. Any other error undoes the group.

The statements run on the event loop, microseconds each, and only the COMMIT, which waits for the disk, has a thread.
A thread that ran the statements too would take the interpreter's lock back after each of them, and while the loop is busy
each time may cost it five milliseconds.
"""

import asyncio
import contextlib
import functools
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clary.base import faults

faults.declare("store.written", "store.committed")

GROUP_MAX = 256
"""The most writes of one transaction: bounds how long the event loop is kept by them."""

LOCK_RETRY_S = 0.01

Write = Callable[[sqlite3.Connection], None]


@dataclass(frozen=True, kw_only=True)
class _Order:
    write: Write
    done: "asyncio.Future[None]"


class GroupCommit:
    """Runs writes in the order in which they were submitted. Owns the connection, whose busy timeout must be 0.

    `refusals` are the exceptions with which a write says no and has changed nothing. `patience_s`: how many seconds a
    group waits for a lock that another process holds.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, refusals: tuple[type[Exception], ...], patience_s: float
    ) -> None:
        self._connection = connection
        self._refusals = refusals
        self._patience_s = patience_s
        self._waiting: deque[_Order] = deque()
        self._at_work = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clary-store-commit")

    async def submit(self, write: Write) -> None:
        """Run the write; returns when it is durable. Raises what the write refused, or what failed the group.

        A caller that is cancelled meanwhile does not take its write back.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append(_Order(write=write, done=done))
        if not self._at_work:
            self._at_work = True
            # Soon, not now: whoever else is about to write, such as those whom the last COMMIT woke, still gets in.
            loop.call_soon(self._begin, loop, loop.time() + self._patience_s)
        await done

    async def close(self) -> None:
        """Finish what was submitted, and close the connection. Nothing may be submitted afterwards."""
        with contextlib.suppress(sqlite3.Error):  # told to those who submitted
            await self.submit(lambda _connection: None)
        await asyncio.to_thread(self._close)

    def _begin(self, loop: asyncio.AbstractEventLoop, patient_until: float) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if _is_lock(error) and loop.time() < patient_until:
                loop.call_later(LOCK_RETRY_S, self._begin, loop, patient_until)
            else:
                self._fail(loop, self._next_group(), error)
            return
        orders = self._next_group()
        try:
            outcomes = [self._apply(order.write) for order in orders]
        except Exception as error:  # noqa: BLE001  whatever it is, somebody waits for an answer
            self._fail(loop, orders, error)
            return
        committing = loop.run_in_executor(self._thread, self._commit)
        committing.add_done_callback(functools.partial(self._committed, loop, orders, outcomes))

    def _next_group(self) -> list[_Order]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]

    def _apply(self, write: Write) -> Exception | None:
        try:
            write(self._connection)
        except self._refusals as refusal:
            return refusal
        return None

    def _commit(self) -> None:
        faults.point("store.written")
        self._connection.execute("COMMIT")
        faults.point("store.committed")

    def _committed(
        self,
        loop: asyncio.AbstractEventLoop,
        orders: Sequence[_Order],
        outcomes: Sequence[Exception | None],
        committing: "asyncio.Future[None]",
    ) -> None:
        error = committing.exception()
        if error is None:
            self._answer(loop, orders, outcomes)
        else:
            self._fail(loop, orders, error)

    def _fail(self, loop: asyncio.AbstractEventLoop, orders: Sequence[_Order], error: BaseException) -> None:
        # A failed COMMIT leaves the transaction open; left so, every later BEGIN would fail.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._answer(loop, orders, [error] * len(orders))

    def _answer(
        self, loop: asyncio.AbstractEventLoop, orders: Sequence[_Order], outcomes: Sequence[BaseException | None]
    ) -> None:
        for order, outcome in zip(orders, outcomes, strict=True):
            if order.done.done():
                continue  # its caller was cancelled
            if outcome is None:
                order.done.set_result(None)
            else:
                order.done.set_exception(outcome)
        self._at_work = bool(self._waiting)
        if self._at_work:
            loop.call_soon(self._begin, loop, loop.time() + self._patience_s)

    def _close(self) -> None:
        self._thread.shutdown()
        self._connection.close()  # the last connection also empties the log into the file, which takes a while


def _is_lock(error: sqlite3.Error) -> bool:
    # An error of the sqlite3 module itself has no code. The low byte is the code, the rest says more closely why.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
