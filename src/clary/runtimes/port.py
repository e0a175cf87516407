"""The training program on this machine: the port through which the instance starts, watches and ends it.

The program outlives the instance program: a handle is plain JSON, kept in the journal, and whoever reads it there can go
on watching. Adapters: `process` (bubblewrap), `scripted` (for tests).
"""

from pathlib import Path
from typing import Protocol

import msgspec


class CannotStart(Exception):
    """The program cannot be started on this machine; the text says why, and the cure, for the user."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A host path and where the program sees it."""

    source: str
    target: str
    read_only: bool = True


class ProgramSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. `argv` follows the container contract's start table; `hostname` is algo-N.

    `directory` is this program's own place on the host for whatever the runtime must remember; `output` is the file to
    which standard output and error are appended, together; `hosts` maps host names to addresses.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    hostname: str
    hosts: dict[str, str]
    mounts: tuple[Mount, ...]
    directory: str
    output: str
    isolated_network: bool
    working_directory: str = "/"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The program runs."""


class Exited(msgspec.Struct, frozen=True, kw_only=True):
    """The program has ended with this code; 128 + n stands for signal n."""

    exit_code: int


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The program is gone and nobody saw how it ended: a reboot, or its supervisor was killed."""


State = Running | Exited | Lost


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a program and all its processes use: processor time so far, in seconds, and memory now, of what is at most."""

    cpu_s: float
    memory_bytes: int
    memory_limit_bytes: int


class Runtime(Protocol):
    """Starts and watches one program. Calls block for some ten milliseconds at most."""

    def problem(self) -> str | None:
        """Why nothing can be started on this machine, with the cure; None if all is well. May take 100 ms."""
        ...

    def prepare(self, directory: Path) -> None:
        """Make the program's own directory ready, before `start`."""
        ...

    def start(self, spec: ProgramSpec) -> None:
        """Start the program, or find it if it was started in `spec.directory` before. Raises `CannotStart`.

        A crash at any point of this call followed by a second call leaves one program, started once. A program that
        does not exist is the user's error: its line goes to the output, and it counts as exited with 127 (126: it is
        there and cannot be executed). Source: container.md 1.
        """
        ...

    def state(self, directory: Path) -> State:
        """How the program that was started in `directory` is; `Lost` if none was.

        Anything but `Running` means that nothing of it runs any more, and that all it printed is in the output file.
        """
        ...

    def usage(self, directory: Path) -> Usage | None:
        """What the program uses; None if it does not run."""
        ...

    def signal(self, directory: Path, signal_number: int) -> None:
        """Send a signal to the program's first process; without effect if it has ended.

        As process 1 it gets SIGTERM only if it handles SIGTERM, as in Docker; SIGKILL always ends it.
        """
        ...

    def kill(self, directory: Path) -> None:
        """End the program and all its children at once; returns when nothing of it is left.

        Raises `TimeoutError` if the kernel does not let go of it within 10 seconds. `directory` may have been renamed
        since the start, and may never have seen one.
        """
        ...
