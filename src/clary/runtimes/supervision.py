"""What bubblewrap's own process wrote of the program that it watches, and how to reach the program's first process.

bubblewrap appends JSON documents, one a line, to the file that it was given with --json-status-fd: first the process id
and the namespaces of the program, at its end the exit code. `process` adds the start time to it. A process id alone is
never trusted: it may belong to another process by now.
"""

import contextlib
import errno
import os
import signal
from pathlib import Path

import msgspec

from clary.base import typed


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the program: its first process as the host sees it, and its exit code once it has ended."""

    child_pid: int | None = None
    pid_namespace: int | None = None
    start_time: int | None = None
    exit_code: int | None = None


def read_status(path: Path) -> Status:
    """Read the status file; an absent file or a half-written last line counts as not yet written."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        lines = []
    known: dict[str, int] = {}
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            known.update(typed.from_json(line, dict[str, int]))
    return Status(
        child_pid=known.get("child-pid"),
        pid_namespace=known.get("pid-namespace"),
        start_time=known.get("start-time"),
        exit_code=known.get("exit-code"),
    )


def boot_id() -> str:
    """What the kernel calls the time since it was last started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it has ended (a zombie has ended)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])


def called(pid: int, name: str) -> bool:
    """Whether a process calls itself so, by its first argument."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(os.fsencode(name) + b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_called(name: str) -> list[int]:
    """All processes that call themselves so. Takes some milliseconds: it looks at every process."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and called(int(path.name), name)]


def lives(status: Status) -> bool:
    """Whether the program's first process is there, and is the one that was started."""
    if status.child_pid is None:
        return False
    started = start_time(status.child_pid)
    if started is None or (status.start_time is not None and started != status.start_time):
        return False
    try:
        namespace = Path(f"/proc/{status.child_pid}/ns/pid").readlink()
    except OSError:  # it ended just now, or belongs to somebody else
        return False
    return str(namespace) == f"pid:[{status.pid_namespace}]"


def send(status: Status, signal_number: int) -> None:
    """Send a signal to the program's first process, if it lives."""
    if status.child_pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        try:
            fd = os.pidfd_open(status.child_pid)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            if lives(status):  # Linux before 5.3: the id could pass to another process between the look and the signal
                os.kill(status.child_pid, signal_number)
            return
        try:
            if lives(status):
                signal.pidfd_send_signal(fd, signal_number)
        finally:
            os.close(fd)
