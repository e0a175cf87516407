"""The training program on this machine: the port through which the instance starts, watches and ends it.

The program outlives the instance program: what the runtime must know of it lies in the program's directory, and whoever
finds it there can go on watching. Adapters: `process` (bubblewrap), `docker` (a container engine), `scripted` (for tests).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec


class CannotStart(Exception):
    """The program cannot be started on this machine; the text says why, and the cure, for the user."""


class ImageUnusable(CannotStart):
    """The training image is at fault, or whoever named it: it is not there, not for this machine, or not to be had."""


class EngineAway(Exception):
    """The container engine does not answer: nothing is known, and the same call may succeed later."""


class VolumeTrouble(OSError):
    """The volume of an instance cannot be made, mounted or relied on; the text says why."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A host path and where the program sees it.

    With `within` it is a directory that is not ours, below that one, where others may have put links: such as lead out are
    refused when it is mounted (`CannotStart`). What it holds is neither changed nor deleted when the program has ended.
    With `lower` the program sees that directory, which it cannot change; what it writes goes to the directory `source`, which
    `sandbox_overlays` has made. For the runtime of processes alone.
    """

    source: str
    target: str
    read_only: bool = True
    within: str | None = None
    lower: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the program and all its processes may use; None: what the machine has.

    `cpus` in cores; `gpus` is how many the instance type has, of which the program gets those that are there.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None
    gpus: int = 0


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """What only a container engine needs to know. `name` is the ML instance's, and has no equal on this machine.

    `image` is a reference, or the id that `provide_image` told. `entrypoint` and `arguments` replace the image's own, in
    Docker's sense; None leaves the entrypoint, and no arguments drop the image's command. `network` is a name that the
    hosts of one attempt of one job share, and nobody else.
    """

    name: str
    image: str
    network: str
    entrypoint: tuple[str, ...] | None = None
    arguments: tuple[str, ...] = ()


class ProgramSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. `argv` follows the container contract's start table; `hostname` is algo-N.

    `directory` is this program's own place on the host for whatever the runtime must remember; `output` is the file to
    which standard output and error are appended, together; `hosts` maps host names to addresses. `argv`, `hosts` and
    `working_directory` are for a runtime without images, `container` for one with them.
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
    limits: Limits = Limits()
    container: Container | None = None


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The program runs."""


class Exited(msgspec.Struct, frozen=True, kw_only=True):
    """The program has ended with this code; 128 + n stands for signal n.

    `out_of_memory`: the kernel killed a process of it for want of memory within its limit.
    """

    exit_code: int
    out_of_memory: bool = False


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The program is gone and nobody saw how it ended: a reboot, or its supervisor was killed."""


State = Running | Exited | Lost


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a program and all its processes use: processor time so far, in seconds, and memory now, of what is at most."""

    cpu_s: float
    memory_bytes: int
    memory_limit_bytes: int


Say = Callable[[str], None]
"""Takes a line on how far something has come, for the user."""


class Runtime(Protocol):
    """Starts and watches one program. Calls block for some ten milliseconds at most, where nothing else is said."""

    network_interface: str
    """The name of the program's interface on which the hosts of a job reach each other."""

    def problem(self) -> str | None:
        """Why nothing can be started on this machine, with the cure; None if all is well. May take 100 ms."""
        ...

    def provide_image(self, image: str, say: Say, cancelled: Callable[[], bool]) -> str | None:
        """Have the image on this machine; blocks while it is pulled. Returns its digest or its id, by which it is started
        from then on whatever its name comes to mean; None from a runtime without images, and when cancelled.

        Raises `ImageUnusable` if it cannot be had, and `EngineAway`.
        """
        ...

    def prepare(self, directory: Path) -> None:
        """Make the program's own directory ready, before `start`."""
        ...

    def start(self, spec: ProgramSpec) -> None:
        """Start the program, or find it if it was started in `spec.directory` before. Raises `CannotStart`.

        A crash at any point of this call followed by a second call leaves one program, started once. A program that
        does not exist is the user's error: its line goes to the output, and it counts as exited with 127 (126: it is
        there and cannot be executed). Raises `EngineAway` too. Source: the shell's exit codes, which Docker keeps.
        """
        ...

    def state(self, directory: Path) -> State:
        """How the program that was started in `directory` is; `Lost` if none was.

        Anything but `Running` means that nothing of it runs any more, that all it printed is in the output file, and that
        all it left in mounts of ours belongs to us. While an engine does not answer, its programs count as running.
        """
        ...

    def usage(self, directory: Path) -> Usage | None:
        """What the program uses; None if it does not run."""
        ...

    def signal(self, directory: Path, signal_number: int) -> bool:
        """Send a signal to the program's first process; without effect if it has ended.

        As process 1 it gets SIGTERM only if it handles SIGTERM, as in Docker; SIGKILL always ends it. False: nothing was
        sent, since the program does not handle the signal, or does not yet. Ask again later.
        """
        ...

    def kill(self, directory: Path) -> None:
        """End the program and all its children at once; returns when nothing of it is left.

        Raises `TimeoutError` if the kernel does not let go of it within 10 seconds. `directory` may have been renamed
        since the start, and may never have seen one.
        """
        ...

    def release(self, directory: Path) -> None:
        """Kill, and give back all that is held for the program outside its directories, so that those can be deleted.

        As `kill`; raises `EngineAway` too.
        """
        ...


class Volumes(Protocol):
    """Disks of limited size for the instances of this machine. Calls block for some ten milliseconds; a large volume that
    the machine lost under way is checked for longer.

    Adapter: `volumes`, a module.
    """

    def attach(self, image: Path, mount_point: Path, size_bytes: int) -> None:
        """Have a volume at `mount_point`, which is made: the one in the file `image` or else, of this size, a new one.

        A crash at any point of this call followed by a second call leaves one volume, mounted once. A volume that the disk
        of the machine has no room for is made as large as the room that there is. Raises `VolumeTrouble`.
        """
        ...

    def attach_again(self, image: Path, mount_point: Path) -> None:
        """Have the volume back that was at `mount_point` before the machine was started anew; without effect if there was
        none, or it is there. Raises `VolumeTrouble`.
        """
        ...

    def settle(self, mount_point: Path) -> None:
        """Raise `VolumeTrouble` if something that was written to the volume is lost: it had room, the machine's disk none.

        The kernel tells of a loss once. Without effect if there is no volume.
        """
        ...


class Overlays(Protocol):
    """Directories that several programs read, each with changes of its own.

    Adapter: `overlays`, a module.
    """

    def attach(self, lower: Path, own: Path) -> Path:
        """Where what `lower` holds is shown, with nothing changed yet: a directory in `own`, which is made anew on the disk that
        is to hold the changes.

        A crash at any point of this call followed by a second call leaves one such mount. Raises `OSError` where there can
        be none.
        """
        ...

    def attach_again(self, lower: Path, own: Path) -> None:
        """Have back what was there before the machine was started anew; without effect if it is there. Raises `OSError`."""
        ...

    def detach_below(self, directory: Path) -> None:
        """Unmount what is mounted at a directory or below it. Raises `OSError`."""
        ...


class UserMounts(Protocol):
    """File systems that a process of ours serves.

    Adapter: `fuse`, a module.
    """

    def closed_to_others(self) -> str | None:
        """Why other users than ourselves cannot look into what we mount, those of a container, say, with the cure."""
        ...

    def is_mounted(self, mount_point: Path) -> bool:
        """Whether something is mounted there, its server alive or not."""
        ...

    def read_in_large_pieces(self, mount_point: Path) -> None:
        """Let the kernel ask for more at once, for whoever reads on, as far as we may say so."""
        ...

    def detach(self, mount_point: Path) -> None:
        """Take away what is mounted there, alive or dead, in use or not; without effect if nothing is. Raises `OSError`."""
        ...
