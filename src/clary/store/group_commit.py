"""One thread that writes, and one COMMIT for all writes that wait: a disk's sync is the price of durability, shared.

Used by `sqlite`. Knows nothing of jobs: a write is a function that is given the connection. What a write *refuses*, it
must refuse before it changes anything; then its neighbours in the group are unharmed. Any other error undoes the group.
A joint write is one that does the same for many: it is run once for all of its items that stand side by side.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from clary.base import faults

faults.declare("store.written", "store.committed")

GROUP_MAX = 256
"""The most writes of one transaction: bounds how long the first of them waits."""

_Item = TypeVar("_Item")

Write = Callable[[sqlite3.Connection], None]

JointWrite = Callable[[sqlite3.Connection, Sequence[_Item]], Sequence[Exception | None]]
"""Answers for each item with what it refuses of it; None: it is written."""


class _Order(NamedTuple):
    write: JointWrite[Any]
    item: Any
    done: "asyncio.Future[None]"


class GroupCommit:
    """Runs writes on its own thread, in the order in which they were submitted. Owns the connection.

    `refusals` are the exceptions with which a write says no and has changed nothing.
    """

    def __init__(self, connection: sqlite3.Connection, *, refusals: tuple[type[Exception], ...]) -> None:
        self._connection = connection
        self._refusals = refusals
        self._submitted: list[_Order] = []
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="clary-store-writer", daemon=True)
        self._thread.start()

    async def submit(self, write: Write) -> None:
        """Run the write; returns when it is durable. Raises what the write refused, or what failed the group.

        A caller that is cancelled meanwhile does not take its write back.
        """
        await self.submit_item(self._each, write)

    async def submit_item(self, write: JointWrite[_Item], item: _Item) -> None:
        """As `submit`, of one item of a joint write."""
        loop = asyncio.get_running_loop()
        if not self._submitted:
            # With the rest of this turn of the loop: the thread would begin with the first alone, and the others would
            # wait for a COMMIT more.
            loop.call_soon(self._hand_over)
        done = loop.create_future()
        self._submitted.append(_Order(write, item, done))
        await done

    def _hand_over(self) -> None:
        for order in self._submitted:
            self._orders.put(order)
        self._submitted.clear()

    async def close(self) -> None:
        """Finish what was submitted, and close the connection. Nothing may be submitted afterwards."""
        self._hand_over()
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        closing = False
        while not closing:
            group = [self._orders.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP_MAX:
                    group.append(self._orders.get_nowait())
            closing = group[-1] is None
            orders = [order for order in group if order is not None]
            if orders:
                _answer(orders, self._transact(orders))
        self._connection.close()  # the last connection also empties the log into the file, which takes a while

    def _transact(self, orders: Sequence[_Order]) -> Sequence[BaseException | None]:
        """What became of each order; None: it is durable."""
        outcomes: list[BaseException | None] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write, of_write in groupby(orders, key=attrgetter("write")):
                outcomes += write(self._connection, [order.item for order in of_write])
            faults.point("store.written")
            self._connection.execute("COMMIT")
            faults.point("store.committed")
        except BaseException as error:  # noqa: BLE001  whatever it is, somebody waits for an answer
            # A failed COMMIT leaves the transaction open; left so, every later BEGIN would fail.
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            return [error] * len(orders)
        return outcomes

    def _each(self, connection: sqlite3.Connection, writes: Sequence[Write]) -> list[Exception | None]:
        return [self._apply(connection, write) for write in writes]

    def _apply(self, connection: sqlite3.Connection, write: Write) -> Exception | None:
        try:
            write(connection)
        except self._refusals as refusal:
            return refusal
        return None


def _answer(orders: Sequence[_Order], outcomes: Sequence[BaseException | None]) -> None:
    """Wake the callers, with one call into their loop."""

    def settle() -> None:
        for order, outcome in zip(orders, outcomes, strict=True):
            if order.done.done():
                continue  # its caller was cancelled
            if outcome is None:
                order.done.set_result(None)
            else:
                order.done.set_exception(outcome)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        orders[0].done.get_loop().call_soon_threadsafe(settle)
