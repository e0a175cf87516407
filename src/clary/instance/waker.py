"""How the main loop sleeps, and what may wake it: signals, and background work that has ended.

SIGUSR1 says that there are new wishes. SIGTERM and SIGINT tell this program to leave; they are no wish about the
training program, which goes on.
"""

import contextlib
import os
import select
import signal


class Waker:
    """Sleeps until woken. `wake` may be called from any thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.leaving = False

    def install(self) -> None:
        """Take the signals, in the main thread, before anybody can learn our process id and send one."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.leave())

    def leave(self) -> None:
        """Make the main loop end; what runs beside it goes on, or starts again with the next instance program."""
        self.leaving = True
        self.wake()

    def wake(self) -> None:
        """End the present sleep, or the next one at its beginning."""
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._write, b"\0")

    def wait(self, seconds: float) -> None:
        """Sleep that long, or until woken."""
        if select.select([self._read], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._read, 4096):
                    pass
