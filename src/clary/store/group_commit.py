"""One thread that writes, and one COMMIT for all writes that wait: a disk's sync is the price of durability, shared.

Used by `sqlite`. Knows nothing of jobs: a write is a function that is given the connection. What a write *refuses*, it
must refuse before it changes anything; then its neighbours in the group are unharmed. Any other error undoes the group.

Writes of one kind that stand side by side can be done together. Should one of them be refused then, which is rare, the
group begins anew, and each write is done by itself.
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

Write = Callable[[sqlite3.Connection], None]

_Item = TypeVar("_Item")

Together = Callable[[sqlite3.Connection, Sequence[_Item]], None]
"""Does for many items what their writes do. Raises sqlite3.IntegrityError if one of these would refuse."""


class _Order(NamedTuple):
    write: Write
    together: Together[Any] | None
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

    async def submit(self, write: Write, *, together: Together[_Item] | None = None, item: _Item | None = None) -> None:
        """Run the write; returns when it is durable. Raises what the write refused, or what failed the group.

        `together` may be called instead, with the `item` of this write and those of others. A caller that is cancelled
        meanwhile does not take its write back.
        """
        loop = asyncio.get_running_loop()
        if not self._submitted:
            # With the rest of this turn of the loop: the thread would begin with the first alone, and the others would
            # wait for a COMMIT more.
            loop.call_soon(self._hand_over)
        done = loop.create_future()
        self._submitted.append(_Order(write, together, item, done))
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
