"""One piece of blocking work beside the main loop.

Used by the steps that move data. The thread is a daemon, and nobody ever waits for it without bound: an instance
program that is told to go, or to stop the job, leaves unfinished work behind and ends.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs `work` from the moment it is made; calls `wake` when it has ended."""

    def __init__(self, work: Callable[[], T], wake: Callable[[], None]) -> None:
        self._work = work
        self._wake = wake
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="background").start()

    @property
    def done(self) -> bool:
        """Whether the work has ended, well or not."""
        return self._done.is_set()

    def outcome(self) -> T:
        """What the work gave; raises what it raised. Only once it is done."""
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
        self._done.set()
        self._wake()
