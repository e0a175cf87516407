"""Whether the first process of a sandbox or container would get a signal that is sent to it now.

Asked by the runtimes before they send one. The kernel drops a signal to process 1 of a pid namespace that this neither
handles nor blocks, and tells nobody: a SIGTERM in the first moments of a program, before it has said what it does with
it, would be lost, and the program killed two minutes later. Source: pid_namespaces(7); signal masks: proc(5).
"""

import signal
import time
from pathlib import Path

_ALMOST_ALL = 56
"""So many blocked signals of the 64: all but those that nobody can block or that the C library keeps for itself."""

_LOOKS = 5
_LOOK_AGAIN_S = 0.01


def hears(pid: int, signal_number: int) -> bool:
    """False if the process has said nothing of the signal; true wherever that cannot be told.

    SIGKILL is always heard. So is anything by a process that is not process 1 of a namespace of its own: the id may be
    one of an engine on another machine.
    """
    for _ in range(_LOOKS):
        masks = None if signal_number == signal.SIGKILL else _masks(pid)
        if masks is None:
            return True
        blocked, ignored, caught = masks
        wanted = 1 << (signal_number - 1)
        if (ignored | caught) & wanted:
            return True
        if blocked.bit_count() < _ALMOST_ALL:
            return bool(blocked & wanted)
        time.sleep(_LOOK_AGAIN_S)  # the C library blocks everything for the moment in which it starts a process
    return True


def _masks(pid: int) -> tuple[int, int, int] | None:
    """The signals that process 1 of a namespace blocks, ignores and handles; None for any other process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    ids = status.get("NSpid", [])
    if len(ids) < 2 or ids[-1] != "1":
        return None
    blocked, ignored, caught = (int(status[name][0], 16) for name in ("SigBlk", "SigIgn", "SigCgt"))
    return blocked, ignored, caught
