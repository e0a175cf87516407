"""One COMMIT for all writes that wait: a disk's sync is the price of durability, shared.

Used by `sqlite`. Knows nothing of jobs: a write is a function that is given the connection. What a write *refuses*, it
must refuse before it changes anything; then its neighbours in the group are unharmed. Any other error undoes the group.

Writes of one kind that stand side by side can be done together. Should one of them be refused then, which is rare, the
group begins anew, and each write is done by itself.

A group is written on the event loop itself as long as the disk is quick: to hand it to a thread and back costs more than
the sync, since thread and loop take turns at the interpreter's lock in each statement. Where the last group took longer,
the next is written on a thread, so that a slow disk delays nobody but its writers.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from clary.base import faults

faults.declare("store.written", "store.committed")

GROUP_MAX = 256
"""The most writes of one transaction: bounds how long the first of them waits."""

PATIENCE = 6
"""How many turns of the event loop that bring no further write a group is waited for: some 50 microseconds."""

QUICK_S = 0.002
"""A group that takes longer than this is not for the event loop."""

Write = Callable[[sqlite3.Connection], None]

_Item = TypeVar("_Item")

Together = Callable[[sqlite3.Connection, Sequence[_Item]], None]
"""Does for many items what their writes do. Raises sqlite3.IntegrityError if one of these would refuse."""


class _Order(NamedTuple):
    write: Write
    together: Together[Any] | None
    item: Any
    is_long: bool
    done: "asyncio.Future[None]"


class GroupCommit:
    """Runs writes in the order in which they were submitted, on one event loop. Owns the connection.

    `refusals` are the exceptions with which a write says no and has changed nothing.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        refusals: tuple[type[Exception], ...],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._connection = connection
        self._refusals = refusals
        self._waiting: deque[_Order] = deque()
        self._at_work = False
        self._last_s = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clary-store-writer")

    async def submit(
        self,
        write: Write,
        *,
        together: Together[_Item] | None = None,
        item: _Item | None = None,
        is_long: bool = False,
    ) -> None:
        """Run the write; returns when it is durable. Raises what the write refused, or what failed the group.

        `together` may be called instead, with the `item` of this write and those of others. A write that `is_long` is
        never done on the event loop, nor with others. A caller that is cancelled meanwhile does not take its write back.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append(_Order(write, together, item, is_long, done))
        if not self._at_work:
            self._at_work = True
            loop.call_soon(self._turn, loop, 1, PATIENCE)
        await done

    async def close(self) -> None:
        """Finish what was submitted, and close the connection. Nothing may be submitted afterwards."""
        while self._at_work:  # noqa: ASYNC110  once in the life of a server: no event is kept for it
            await asyncio.sleep(0.001)
        # The last connection also empties the log into the file, which takes a while.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def _turn(self, loop: asyncio.AbstractEventLoop, seen: int, patience: int) -> None:
        """Write the next group, once some turns of the loop have brought no more for it: who comes a moment later would wait
        for a COMMIT more, and so would all after him.
        """
        waiting = len(self._waiting)
        if waiting > seen:
            patience = PATIENCE
        if 0 < waiting < GROUP_MAX and patience:
            loop.call_soon(self._turn, loop, waiting, patience - 1)
            return
        orders = self._take()
        if not orders:
            self._at_work = False
        elif orders[0].is_long or self._last_s > QUICK_S:
            work = loop.run_in_executor(self._thread, self._timed, orders)
            work.add_done_callback(lambda work: self._settled(loop, orders, work.result()))
        else:
            self._settled(loop, orders, self._timed(orders))

    def _take(self) -> list[_Order]:
        orders: list[_Order] = []
        while self._waiting and len(orders) < GROUP_MAX and not (orders and self._waiting[0].is_long):
            orders.append(self._waiting.popleft())
            if orders[0].is_long:
                break
        return orders

    def _timed(self, orders: Sequence[_Order]) -> Sequence[BaseException | None]:
        began = self._monotonic()
        outcomes = self._transact(orders)
        if not orders[0].is_long:
            self._last_s = self._monotonic() - began
        return outcomes

    def _settled(
        self, loop: asyncio.AbstractEventLoop, orders: Sequence[_Order], outcomes: Sequence[BaseException | None]
    ) -> None:
        for order, outcome in zip(orders, outcomes, strict=True):
            if order.done.done():
                continue  # its caller was cancelled
            if outcome is None:
                order.done.set_result(None)
            else:
                order.done.set_exception(outcome)
        loop.call_soon(self._turn, loop, len(self._waiting), PATIENCE)

    def _transact(self, orders: Sequence[_Order]) -> Sequence[BaseException | None]:
        """What became of each order; None: it is durable."""
        try:
            try:
                return self._commit(self._write_together, orders)
            except sqlite3.IntegrityError:
                self._roll_back()
                return self._commit(self._write_each, orders)
        except BaseException as error:  # noqa: BLE001  whatever it is, somebody waits for an answer
            self._roll_back()
            return [error] * len(orders)

    def _commit(
        self, write: Callable[[Sequence[_Order]], list[BaseException | None]], orders: Sequence[_Order]
    ) -> Sequence[BaseException | None]:
        self._connection.execute("BEGIN IMMEDIATE")
        outcomes = write(orders)
        faults.point("store.written")
        self._connection.commit()
        faults.point("store.committed")
        return outcomes

    def _write_together(self, orders: Sequence[_Order]) -> list[BaseException | None]:
        outcomes: list[BaseException | None] = []
        for together, found in groupby(orders, key=attrgetter("together")):
            alike = list(found)
            if together is None:
                outcomes += self._write_each(alike)
            else:
                together(self._connection, [order.item for order in alike])
                outcomes += [None] * len(alike)
        return outcomes

    def _write_each(self, orders: Sequence[_Order]) -> list[BaseException | None]:
        return [self._apply(order.write) for order in orders]

    def _apply(self, write: Write) -> BaseException | None:
        try:
            write(self._connection)
        except self._refusals as refusal:
            return refusal
        return None

    def _roll_back(self) -> None:
        """A failed COMMIT leaves the transaction open; left so, every later BEGIN would fail."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
