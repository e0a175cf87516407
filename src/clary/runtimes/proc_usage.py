"""What a process and all that descend from it use, read from /proc. Called by `process`.

Whoever loses his parent within a process namespace becomes a child of its first process, so that the descendants of that
one are all there are.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clary.runtimes.port import Usage

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class _Stat(NamedTuple):
    pid: int
    parent: int
    cpu_ticks: int
    resident_pages: int


def usage_of(first: int) -> Usage | None:
    """What the process and its descendants use now; None if it is gone.

    Memory that they share counts once for each of them. Their limit is the memory of the machine.
    """
    children: dict[int, list[_Stat]] = {}
    tree: list[_Stat] = []
    for stat in _all():
        if stat.pid == first:
            tree.append(stat)
        children.setdefault(stat.parent, []).append(stat)
    if not tree:
        return None
    for stat in tree:  # grows while we go
        tree += children.pop(stat.pid, ())
    limit = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    return Usage(
        cpu_s=sum(stat.cpu_ticks for stat in tree) / _TICKS_PER_S,
        memory_bytes=min(limit, sum(stat.resident_pages for stat in tree) * _PAGE_BYTES),
        memory_limit_bytes=limit,
    )


def _all() -> Iterator[_Stat]:
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            after_name = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        # Source: proc(5). With the time of children that have ended and were waited for, or short ones would not count.
        ticks = sum(map(int, after_name[11:15]))
        yield _Stat(int(entry.name), int(after_name[1]), ticks, int(after_name[21]))
