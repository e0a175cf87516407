"""The training program as a process of this machine, in a sandbox of bubblewrap: no root, no daemon, no image.

Two programs are started, and outlive us: `cat`, which copies what the program prints from a pipe to the output file (a
program that opens /dev/stderr anew would empty a file, as shell scripts do all the time), and bwrap, which is the
program's parent outside the sandbox and writes its exit code to a file. Both hold a lock for as long as they live.

The program is process 1 of its own process namespace, as in Docker: a signal other than SIGKILL reaches it only if it
has a handler for that signal, and when it ends, everything that it started is killed. bwrap runs without
--die-with-parent, so that neither the end of the instance program nor of the server ends the training.

What is shared with the host: the kernel, the CPU and memory without limit, the number of processes, and the network (with
its abstract sockets) unless the program asks for an isolated one.
"""

import contextlib
import fcntl
import os
import resource
import select
import signal
import stat
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from clary.base import faults, typed
from clary.base.files import write_atomically
from clary.base.telemetry import get_logger
from clary.runtimes import liveness
from clary.runtimes.detached import Children
from clary.runtimes.diagnosis import find_bwrap, sandbox_problem
from clary.runtimes.hearing import hears
from clary.runtimes.port import CannotStart, Exited, Lost, ProgramSpec, Running, Say, State, Usage
from clary.runtimes.proc_usage import usage_of
from clary.runtimes.resolve import Found, find_program
from clary.runtimes.sandbox import DEVICES, etc_files, options, view
from clary.runtimes.shared_mounts import open_shared
from clary.runtimes.supervision import (
    Status,
    all_called,
    boot_id,
    called,
    lives,
    read_status,
    send,
    start_time,
)

_GONE_WITHIN_S = 10.0
_SET_UP_WITHIN_S = 30.0
_EXEC_FAILED = "bwrap: execvp "

faults.declare("runtime.marked", "runtime.spawned", "runtime.started")
_log = get_logger("runtimes")


class _Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Written before the program is started: that it may run from now on, until the machine is started anew.

    `name` is what bwrap and its child call themselves until the program takes the child's place.
    """

    boot_id: str
    output: str
    name: str


class _Files:
    """What the runtime keeps in the program's directory."""

    def __init__(self, directory: Path) -> None:
        self.marker = directory / "started.json"
        self.status = directory / "status.jsonl"  # bwrap's; locked while bwrap lives
        self.relay = directory / "relay.lock"  # locked while what the program printed is being copied
        self.etc = directory / "etc"
        self.nodes = directory / "dev"


class ProcessRuntime:
    """A `Runtime`. `bwrap` is the path of bubblewrap's binary; without it, the one that was installed with Clary."""

    network_interface = "lo"  # on one machine, each host has an address of its own on the loopback

    def __init__(self, bwrap: Path | None = None) -> None:
        self._bwrap = bwrap or find_bwrap()
        self._children = Children()

    def problem(self) -> str | None:
        """Why no sandbox can be made on this machine, with the cure. Makes one and takes some 30 ms."""
        return sandbox_problem(self._bwrap)

    def provide_image(self, image: str, say: Say, cancelled: Callable[[], bool]) -> None:
        """None: a local environment stands for the image."""

    def prepare(self, directory: Path) -> None:
        """Make the program's own directory, closed to other users."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, spec: ProgramSpec) -> None:
        """Start the program unless it was started before. Returns when it has taken the place of the set-up.

        A program that is not there is no failure of the machine: the line of SageMaker's log goes to the output, and
        the program counts as exited with 127. Raises `CannotStart` if the sandbox cannot be made as asked.
        """
        directory = Path(spec.directory)
        self.prepare(directory)
        files = _Files(directory)
        status = liveness.take(files.status)
        if status is None:
            return
        try:
            if _was_started(files):
                return
            os.ftruncate(status, 0)
            marker = _Marker(boot_id=boot_id(), output=spec.output, name=f"clary-sandbox:{directory}")
            write_atomically(files.marker, msgspec.json.encode(marker))
            faults.point("runtime.marked")
            self._start(spec, files, status, marker.name)
        finally:
            os.close(status)

    def state(self, directory: Path) -> State:
        """How the program is; `Lost` too if none was ever started in `directory`.

        Without its supervisor nobody would learn how the program ends, so that what is left of it is killed.
        """
        self._children.reap()
        files = _Files(directory)
        if liveness.held(files.status):
            return Running()
        status = read_status(files.status)
        if status.exit_code is None and _end(files, status):
            _log.warning("supervisor is gone, its program was killed", directory=str(directory))
            return Running()
        if liveness.held(files.relay):
            return Running()  # its last lines are on their way to the output
        if status.exit_code is not None:
            return Exited(exit_code=status.exit_code)
        return _exec_failed(files) or Lost()

    def usage(self, directory: Path) -> Usage | None:
        """What the program and all its descendants use."""
        status = read_status(_Files(directory).status)
        return usage_of(status.child_pid) if status.child_pid is not None and lives(status) else None

    def signal(self, directory: Path, signal_number: int) -> bool:
        """See `Runtime`."""
        status = read_status(_Files(directory).status)
        if not liveness.held(_Files(directory).status) or status.child_pid is None:
            return True
        if not hears(status.child_pid, signal_number):
            return False
        send(status, signal_number)
        return True

    def kill(self, directory: Path) -> None:
        """End the program, whether or not its supervisor lives. Raises `TimeoutError` after 10 s."""
        files = _Files(directory)
        until = time.monotonic() + _GONE_WITHIN_S
        pause = 0.001
        while True:
            left = _end(files, read_status(files.status))
            self._children.reap()
            if not left and not liveness.held(files.status) and not liveness.held(files.relay):
                return
            if time.monotonic() > until:
                raise TimeoutError(f"the program in {directory} does not end, not even by SIGKILL")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def release(self, directory: Path) -> None:
        """Kill: nothing is held elsewhere."""
        self.kill(directory)

    def _start(self, spec: ProgramSpec, files: _Files, status: int, name: str) -> None:
        """Start the program, with the status file locked."""
        if any("\0" in text for text in (*spec.argv, *spec.environment, *spec.environment.values())):
            raise CannotStart("the program's arguments or environment hold a NUL character")
        files.etc.mkdir(exist_ok=True)
        for file, text in etc_files(spec).items():
            (files.etc / file).write_text(text)
        for mount in spec.mounts:
            if not Path(mount.source).exists():
                raise CannotStart(f"{mount.source}, to be seen as {mount.target}, does not exist")
        nodes = files.nodes if _make_nodes(files.nodes) else None
        with contextlib.closing(_Descriptors()) as fds:
            shared = {mount: fds.add(open_shared(mount)[0]) for mount in spec.mounts if mount.within is not None}
            entries = view(spec, files.etc, shared)
            output = fds.add(os.open(spec.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
            program = find_program(spec, entries)
            if not isinstance(program, Found):
                os.write(output, f"{program.line}\n".encode())
                os.write(status, msgspec.json.encode({"exit-code": program.exit_code}) + b"\n")
                return
            printed = os.fstat(output).st_size
            argv = [*("--argv0", spec.argv[0], "--"), program.path, *spec.argv[1:]]
            null = fds.add(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            lines_out, lines_in = fds.pipe()
            relay = liveness.take(files.relay)
            if relay is None:
                raise CannotStart(f"another program still prints to {spec.output}")
            info_out, info_in = fds.pipe()
            # cat keeps the reading end of bwrap's news open: if we were killed, bwrap would die of SIGPIPE writing them,
            # and its child would wait for it for ever.
            self._spawn(["cat"], _cat(), streams=(lines_out, output, output), keep=[fds.add(relay), info_out])
            fds.close(lines_out, relay)
            hold_out, hold_in = fds.pipe()
            opened = ["--json-status-fd", str(status), "--info-fd", str(info_in), "--block-fd", str(hold_out)]
            arguments = fds.add(_in_memory([*options(spec, entries, nodes), *opened]))
            command = [name, "--args", str(arguments), *argv]
            keep = [status, arguments, info_in, hold_out, *shared.values()]
            pid = self._spawn(command, str(self._bwrap), streams=(null, lines_in, lines_in), keep=keep)
            faults.point("runtime.spawned")
            fds.close(lines_in, info_in, hold_out, arguments)
            child = _child(info_out)
            # The program is held before its first instruction: now is the time for what must be true all its life.
            with contextlib.suppress(ProcessLookupError):
                if child is not None and (started := start_time(child)) is not None:
                    os.write(status, msgspec.json.encode({"start-time": started}) + b"\n")
                    resource.prlimit(child, resource.RLIMIT_CORE, (0, 0))
            if _let_go(hold_in):
                # bwrap tells no exit code of a child that is killed before it has become the program.
                while child is not None and called(child, name):
                    time.sleep(0.0002)
                faults.point("runtime.started")
                return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        self._wait_for_relay(files)
        os.ftruncate(status, 0)  # the next call shall try again and fail alike, not find a lost program
        raise CannotStart(_text_from(spec.output, printed) or "bubblewrap ended without a word")

    def _spawn(self, argv: list[str], executable: str, *, streams: tuple[int, int, int], keep: list[int]) -> int:
        try:
            return self._children.spawn(argv, executable=executable, streams=streams, keep=keep)
        except OSError as error:
            raise CannotStart(f"cannot run {executable}: {error.strerror}") from error

    def _wait_for_relay(self, files: _Files) -> None:
        until = time.monotonic() + _GONE_WITHIN_S
        while liveness.held(files.relay) and time.monotonic() < until:
            time.sleep(0.001)


class _Descriptors:
    """Open descriptors that are closed together."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def add(self, fd: int) -> int:
        self._open.add(fd)
        return fd

    def pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        return self.add(read), self.add(write)

    def close(self, *fds: int) -> None:
        for fd in fds or tuple(self._open):
            self._open.discard(fd)
            os.close(fd)


def _was_started(files: _Files) -> bool:
    """Whether the program may have run: then it is not started again, whatever became of it."""
    status = read_status(files.status)
    if status.child_pid is not None or status.exit_code is not None:
        return True
    # bwrap names its child before the child does anything. Only a machine that stopped may have lost that line.
    return files.marker.exists() and not _booted_since(files)


def _marker(files: _Files) -> _Marker | None:
    try:
        return typed.from_json(files.marker.read_bytes(), _Marker)
    except FileNotFoundError:
        return None


def _booted_since(files: _Files) -> bool:
    """Whether the program was started since the machine was, so that its process id still means something."""
    marker = _marker(files)
    return marker is not None and marker.boot_id == boot_id()


def _end(files: _Files, status: Status) -> bool:
    """Kill what is left of the program; whether anything was."""
    marker = _marker(files)
    if marker is None or marker.boot_id != boot_id():
        return False
    if status.child_pid is None:
        # bwrap has not named its child yet, or was killed before it could: the child waits for it, then for ever.
        found = all_called(marker.name)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)
    send(status, signal.SIGKILL)
    return lives(status)


def _exec_failed(files: _Files) -> Exited | None:
    """The exit of a program that passed `find_program` and yet could not be executed; bwrap's last line tells."""
    marker = _marker(files)
    if marker is None or not Path(marker.output).exists():
        return None
    lines = _text_from(marker.output, max(0, Path(marker.output).stat().st_size - 4096)).splitlines()
    if not lines or not lines[-1].startswith(_EXEC_FAILED):
        return None
    return Exited(exit_code=127 if lines[-1].endswith("No such file or directory") else 126)


def _text_from(path: str, offset: int) -> str:
    with Path(path).open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace").strip()


def _make_nodes(directory: Path) -> bool:
    """Make device nodes for this program alone, if we are root; False if that cannot be done.

    A program of root owns the host's nodes and could change their mode: `chmod 0 /dev/null` would break the host.
    """
    if os.geteuid() != 0 or os.statvfs(directory.parent).f_flag & os.ST_NODEV:
        return False
    directory.mkdir(exist_ok=True)
    for name in DEVICES:
        try:
            os.mknod(directory / name, 0o666 | stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
        except FileExistsError:
            pass
        except PermissionError:  # the root of a container: not the owner of the nodes
            return False
        (directory / name).chmod(0o666)
    return True


def _in_memory(arguments: list[str]) -> int:
    """A descriptor from which bwrap reads its options: no other user sees the environment in its command line."""
    fd = os.memfd_create("options", os.MFD_CLOEXEC)
    os.write(fd, b"".join(os.fsencode(argument) + b"\0" for argument in arguments))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _cat() -> str:
    return next(path for path in _cats() if os.access(path, os.X_OK))


def _cats() -> Iterator[str]:
    yield from ("/usr/bin/cat", "/bin/cat")
    raise CannotStart("there is no /usr/bin/cat on this machine")


def _child(info: int) -> int | None:
    """The program's process id, once bwrap has made its process; None if bwrap has failed before.

    Read from here, because bwrap writes it to its status file only afterwards.
    """
    told = b""
    while block := os.read(info, 4096):
        told += block
    return typed.from_json(told, dict[str, int])["child-pid"] if told else None


def _let_go(hold: int) -> bool:
    """Let the set-up run to its end; False if it failed.

    The reader closes its end when it has read our byte or died; a byte that is still in the pipe tells which.
    """
    with contextlib.suppress(BrokenPipeError):
        os.write(hold, b"\n")
        poll = select.poll()
        poll.register(hold, 0)
        if not poll.poll(_SET_UP_WITHIN_S * 1000):
            raise CannotStart(f"the sandbox was not set up within {_SET_UP_WITHIN_S:.0f} seconds")
        unread = bytearray(4)
        fcntl.ioctl(hold, termios.FIONREAD, unread)
        return not any(unread)
    return False
