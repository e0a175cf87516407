"""Memory, limits on files and processes, and the clock: facts about this machine and what they mean for Clary.

Called by `examination`. Each `…_finding` is a pure function of facts that a `gather_…` function asks the machine for.
"""

import os
import resource
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from clary.doctor.finding import Finding, missing, ok, warning

GIB = 1 << 30

_MEMORY_AT_LEAST_BYTES = GIB
_FILES_AT_LEAST = 1024
_PROCESSES_AN_INSTANCE = 64  # threads too: the instance program, the supervisor, the program itself
_PROCESSES_OF_THE_SERVER = 256
_SKEW_S = 300  # signatures may be 15 minutes old or early; a third of that is left to the callers' own clocks
_YEARS = (2024, 2100)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes: of the machine, of these what is available now, and what the control group that we are in may use."""

    total: int
    available: int
    limit: int | None = None


def memory_finding(memory: Memory) -> Finding:
    """Whether there is room for the server, the store and a program."""
    usable = memory.available if memory.limit is None else min(memory.available, memory.limit)
    found = f"{_gib(memory.available)} available of {_gib(memory.total)}"
    if memory.limit is not None and memory.limit < memory.total:
        found += f", of which this control group may use {_gib(memory.limit)}"
    if usable < _MEMORY_AT_LEAST_BYTES:
        return warning(
            "memory", found, "free some memory, or raise the limit: the server and the store take about 0.4 GiB"
        )
    return ok("memory", found)


def gather_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Memory:
    """Ask the kernel. Raises OSError, ValueError."""
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
    limits = [size for path in _memory_limit_files(proc, cgroups) if (size := _size(path)) is not None]
    return Memory(total=sizes["MemTotal"], available=sizes["MemAvailable"], limit=min(limits, default=None))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What this process and its user may open and start; None: as many as they like."""

    files: int | None
    files_at_most: int | None
    processes: int | None


def limits_finding(limits: Limits, instances: int) -> Finding:
    """Whether the limits bear as many ML instances as the setting `instances` allows."""
    found = f"{_count(limits.files)} open files, {_count(limits.processes)} processes"
    needed = _PROCESSES_OF_THE_SERVER + instances * _PROCESSES_AN_INSTANCE
    if limits.files is not None and limits.files < _FILES_AT_LEAST:
        at_most = limits.files_at_most
        how = "LimitNOFILE= of the unit, or limits.conf" if at_most is not None and at_most < _FILES_AT_LEAST else None
        return warning(
            "limits",
            f"{found}; a third of the files is there for connections",
            f"raise the limit of open files ({how or 'ulimit -n 65536'})",
        )
    if limits.processes is not None and limits.processes < needed:
        return warning(
            "limits",
            f"{found}; {instances} ML instances may need {needed}",
            f"ulimit -u {needed}, or fewer `instances`",
        )
    return ok("limits", found)


def gather_limits() -> Limits:
    """Ask the kernel. Root is not held to the limit of processes."""
    files, files_at_most = map(_limited, resource.getrlimit(resource.RLIMIT_NOFILE))
    processes = _limited(resource.getrlimit(resource.RLIMIT_NPROC)[0]) if os.geteuid() else None
    return Limits(files=files, files_at_most=files_at_most, processes=processes)


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds since the epoch: now, when Clary was installed, the newest time of a file in the home (and its name), and
    what the container engine's clock says, if there is one.
    """

    now: float
    installed: float
    newest: tuple[str, float] | None = None
    engine: float | None = None


def clock_finding(clock: Clock) -> Finding:
    """Whether the clock can be right, as far as that shows without asking anyone: a wrong one breaks every signature."""
    said = _date(clock.now)
    cure = "set the clock, and keep it set: timedatectl set-ntp true"
    if not _YEARS[0] <= datetime.fromtimestamp(clock.now, UTC).year < _YEARS[1]:
        return missing("clock", f"{said}, which cannot be", cure)
    if clock.now < clock.installed - _SKEW_S:
        return warning("clock", f"{said}, before Clary was installed here ({_date(clock.installed)})", cure)
    if clock.newest is not None and clock.now < clock.newest[1] - _SKEW_S:
        name, time = clock.newest
        return warning("clock", f"{said}, but {name} in the home was written at {_date(time)}", cure)
    if clock.engine is not None and abs(clock.engine - clock.now) > _SKEW_S:
        return warning(
            "clock",
            f"{said}; the container engine says {_date(clock.engine)}",
            "set the clock of the engine's machine: programs there sign their requests with it",
        )
    return ok("clock", said)


def newest_file(root: Path) -> tuple[str, float] | None:
    """The newest file of the home: its path in it and its time; of the top two levels, where something is written with
    every start and every job.
    """
    found: tuple[str, float] | None = None
    for path in (*_entries(root), *(inner for outer in _entries(root) if outer.is_dir() for inner in _entries(outer))):
        try:
            time = path.lstat().st_mtime
        except OSError:
            continue  # deleted meanwhile, or not for us to see
        if found is None or time > found[1]:
            found = str(path.relative_to(root)), time
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _memory_limit_files(proc: Path, cgroups: Path) -> list[Path]:
    """Where the limits of our control group and those around it stand, in version 2 and in version 1."""
    files = []
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):
            root, name = (cgroups, "memory.max") if not controllers else (cgroups / "memory", "memory.limit_in_bytes")
            place = root / group.lstrip("/")
            files += [directory / name for directory in (place, *place.parents) if directory.is_relative_to(root)]
    return files


def _size(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # no such limit, or "max"


def _limited(number: int) -> int | None:
    return None if number == resource.RLIM_INFINITY else number


def _count(number: int | None) -> str:
    return "any number of" if number is None else str(number)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def _date(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
