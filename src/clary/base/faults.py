"""Named points at which a test may kill or hold this process.

Controller, instance and stores call `point("room.step")` between an effect and the note of it, where a crash would hurt
most. Nothing happens unless the environment names the point, so a point costs one dictionary look-up:

    CLARY_FAULT_CRASH=NAME        the process kills itself with SIGKILL there
    CLARY_FAULT_HOLD=NAME:PATH    the process waits there until the file PATH is gone

Several are separated by commas. Children inherit the environment, so that a fault can be set in a process that the
server starts. POINTS is the list that the fault tests walk.
"""

import os
import signal
import time
from pathlib import Path

POINTS: set[str] = set()
"""Every point that has been named by `declare`, for tests that walk them all."""


def declare(*names: str) -> None:
    """Name the points of a module, once, when it is imported."""
    POINTS.update(names)


def point(name: str) -> None:
    """Crash or wait here if the environment says so."""
    if name in os.environ.get("CLARY_FAULT_CRASH", "").split(","):
        os.kill(os.getpid(), signal.SIGKILL)
    for hold in os.environ.get("CLARY_FAULT_HOLD", "").split(","):
        where, _, path = hold.partition(":")
        if where == name:
            while Path(path).exists():
                time.sleep(0.01)  # a test holds us: the sleep stands for whatever would have kept us here
