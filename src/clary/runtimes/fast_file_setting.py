"""What the setting `fast_file` comes to on this machine: how channels of the input mode FastFile come, or why they do not.

Used by `app`. Where something can be mounted, they are; else "refuse" takes no such job, and "download" brings all of a
channel before the program starts.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from clary.runtimes import fuse

_AGAIN_AFTER_S = 60.0


class FastFileSetting:
    """The setting, for instances below `directory`. Tries whether anything can be mounted when it is first asked, and again
    after a minute where nothing could; that takes some 0.2 seconds. Thread-safe.
    """

    def __init__(
        self,
        setting: str,
        directory: Path,
        *,
        problem: Callable[[Path], str | None] = fuse.problem,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setting = setting
        self._directory = directory
        self._find_problem = problem
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._why: str | None = None
        self._asked_at: float | None = None

    def refusal(self) -> str | None:
        """Why no job with such a channel can be taken, with the cure."""
        why = self._problem()
        if why is None or self._setting != "refuse":
            return None
        return f'{why}, or set fast_file = "download", which brings all of a channel before the program starts'

    def way(self) -> str:
        """How such channels come: see `InstanceTask.fast_file`."""
        return "download" if self._setting == "download" and self._problem() is not None else "mount"

    def _problem(self) -> str | None:
        with self._lock:
            now = self._monotonic()
            if self._asked_at is None or (self._why is not None and now > self._asked_at + _AGAIN_AFTER_S):
                self._why, self._asked_at = self._find_problem(self._directory), now
            return self._why
