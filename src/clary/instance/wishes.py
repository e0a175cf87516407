"""What the controller wishes of this instance, read from the file in which it says so.

Read at each turn of the steps: one stat as long as the file stays the same. A signal only makes the next turn come at
once.
"""

from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.telemetry import Logger
from clary.instance.watched_file import WatchedFile
from clary.jobs.task import Wishes


class WishesFile:
    """The newest wishes. Wishes are only ever added, so a file that cannot be read leaves the last ones standing."""

    def __init__(self, path: Path, log: Logger) -> None:
        self._file = WatchedFile(path)
        self._log = log
        self._wishes = Wishes()

    def read(self) -> Wishes:
        """What is wished now."""
        data = self._file.changed()
        if data is not None:
            try:
                self._wishes = typed.from_json(data, Wishes)
            except msgspec.DecodeError:
                self._log.error("wishes unreadable")
            else:
                self._log.info("wishes read", wishes=self._wishes)
        return self._wishes
