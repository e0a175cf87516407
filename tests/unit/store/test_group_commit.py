"""Writes that share a COMMIT, on the event loop or beside it."""

import asyncio
import contextlib
import sqlite3
import threading

import pytest

from clary.store.group_commit import QUICK_S, GroupCommit


class Refused(Exception):
    pass


class Book:
    """A database whose writes note the thread on which they were done, and whose transactions are counted. Its clock tells
    what the writes are said to take, and nothing else: a machine may be busy with other things.
    """

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE line (text)")
        self.connection.set_trace_callback(self._trace)
        self.transactions = 0
        self.threads = []
        self.now_s = 0.0
        self.group = GroupCommit(self.connection, refusals=(Refused,), monotonic=lambda: self.now_s)

    def _trace(self, statement):
        self.transactions += statement.startswith("BEGIN")

    def write(self, text, *, takes_s=0.0, refuse=False):
        def write(connection):
            self.threads.append(threading.current_thread())
            self.now_s += takes_s
            if refuse:
                raise Refused(text)
            connection.execute("INSERT INTO line VALUES (?)", (text,))

        return write

    def lines(self):
        return [text for (text,) in self.connection.execute("SELECT text FROM line ORDER BY rowid")]


def run(scene):
    async def scenario():
        book = Book()
        try:
            await scene(book)
        finally:
            await book.group.close()

    asyncio.run(scenario())


def test_writes_of_one_turn_of_the_loop_share_a_commit():
    """And stay in their order."""

    async def scene(book):
        await asyncio.gather(*(book.group.submit(book.write(str(n))) for n in range(20)))
        assert book.transactions == 1
        assert book.lines() == [str(n) for n in range(20)]

    run(scene)


def test_a_quick_disk_is_written_on_the_loop_and_a_slow_one_beside_it():
    """After a group that took long the next is not for the loop; after a quick one it is again."""

    async def scene(book):
        for takes_s in (0.0, 3 * QUICK_S, 0.0, 0.0):
            await book.group.submit(book.write("x", takes_s=takes_s))
        here = threading.current_thread()
        assert [thread is here for thread in book.threads] == [True, True, False, True]

    run(scene)


def test_a_long_write_is_done_alone_and_never_on_the_loop():
    """Others wait for their turn, and are done on the loop as before."""

    async def scene(book):
        await asyncio.gather(
            book.group.submit(book.write("a")),
            book.group.submit(book.write("b", takes_s=3 * QUICK_S), is_long=True),
            book.group.submit(book.write("c")),
            book.group.submit(book.write("d")),
        )
        here = threading.current_thread()
        assert [thread is here for thread in book.threads] == [True, False, True, True]
        assert book.transactions == 3
        assert book.lines() == ["a", "b", "c", "d"]

    run(scene)


def test_a_refusal_leaves_its_neighbours_and_an_error_fails_the_group():
    """A refusal has changed nothing; any other error undoes all."""

    async def scene(book):
        outcomes = await asyncio.gather(
            book.group.submit(book.write("a")),
            book.group.submit(book.write("b", refuse=True)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), Refused]

        def broken(_connection):
            raise sqlite3.OperationalError("disk I/O error")

        outcomes = await asyncio.gather(
            book.group.submit(book.write("c")), book.group.submit(broken), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [sqlite3.OperationalError] * 2
        assert book.lines() == ["a"]

    run(scene)


def test_a_cancelled_caller_does_not_take_his_write_back():
    """It is done, and the others are answered."""

    async def scene(book):
        cancelled = asyncio.create_task(book.group.submit(book.write("a")))
        other = asyncio.create_task(book.group.submit(book.write("b")))
        await asyncio.sleep(0)
        cancelled.cancel()
        await other
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert book.lines() == ["a", "b"]

    run(scene)


def test_closing_finishes_what_was_submitted():
    """Also what waits behind a long write."""

    async def scenario():
        book = Book()
        tasks = [
            asyncio.create_task(book.group.submit(book.write("a", takes_s=2 * QUICK_S), is_long=True)),
            asyncio.create_task(book.group.submit(book.write("b"))),
        ]
        await asyncio.sleep(0)
        await book.group.close()
        await asyncio.gather(*tasks)
        with contextlib.suppress(sqlite3.ProgrammingError):
            book.connection.execute("SELECT 1")
            raise AssertionError("the connection is open")

    asyncio.run(scenario())
