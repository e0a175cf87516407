"""Ends this host's process when another host of the training is lost, whatever it is doing.

Used by the training program for as long as it shares a job with other hosts. It cannot be left to the library: its
collective operations can wait for ever for a host that went away. (In version 3.2, `Loop::ProcessQueue` answers the
waiting thread before it has noted the error; the error is then found by the next operation, which stops the thread
that should answer it. While hosts connect to each other, the library notices nothing at all.)
"""

import threading
import time
from pathlib import Path
from types import TracebackType

from clary_algorithms.container import EXIT_ALGORITHM_ERROR, fail, leave
from clary_algorithms.xgboost.meeting import LOST, Chair, Guest

#: How long the program may take to fail by itself: the library's own error tells more, and SIGTERM may come.
GRACE_S = 3.0


class Watch:
    """Within this context the process ends, with a failure text, `GRACE_S` seconds after another host was lost."""

    def __init__(self, meeting: Chair | Guest, failure_file: Path) -> None:
        self._meeting = meeting
        self._failure_file = failure_file
        self._lock = threading.Lock()
        self._left = False

    def __enter__(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="watch").start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        # With the lock in hand, the thread is ending the process: two must not write one failure file.
        with self._lock:
            self._left = True

    def _run(self) -> None:
        try:
            reason = self._meeting.attend()
        except Exception as error:  # noqa: BLE001 -- a host that hears no more could wait for ever
            reason = f"{LOST}: {type(error).__name__}: {error}"
        if reason is None:
            return
        time.sleep(GRACE_S)
        with self._lock:
            if not self._left:
                leave(fail(self._failure_file, reason, EXIT_ALGORITHM_ERROR))
