"""The instance programs of this machine: starting them so that they outlive us, waking and ending them.

Used by `local`. An instance program is known by its command line, which ends with its directory, and by the lock that
it holds; it may have been started by a server that is gone.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clary.base.files import is_locked
from clary.base.telemetry import get_logger
from clary.compute.port import LaunchFailed
from clary.jobs.instance_files import InstanceFiles

_DEATHS_AT_MOST = 5
_FIRST_PAUSE_S = 0.25
_PAUSE_AT_MOST_S = 10.0
_LOG_TAIL_BYTES = 2000
_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HOME", "DOCKER_CONFIG", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),  # where registry logins are
)
"""What of our environment an instance program gets, beside CLARY_FAULT_… and PYTHONPATH: nothing that is secret."""

_log = get_logger("compute")


class _History:
    """The instance programs of one instance, as far as this server started them."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.pidfd = -1
        self.gone = asyncio.Event()
        self.sequence = -1  # of the newest report when the last one was started
        self.deaths = 0  # in a row, without any report
        self.not_before = 0.0


class Agents:
    """Starts the instance programs of this machine. `command` is followed by their options; used on one event loop.

    `newest` tells the sequence number of an instance's newest report, -1 without one; `ended` is called with the name
    when an instance program that was started here has ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        newest: Callable[[str], int],
        ended: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = tuple(command)
        self._newest = newest
        self._ended = ended
        self._monotonic = monotonic
        self._histories: dict[str, _History] = {}

    def runs(self, name: str) -> bool:
        """Whether one that was started here runs, perhaps without having taken its lock yet."""
        history = self._histories.get(name)
        return history is not None and history.pid is not None

    def start(self, name: str, files: InstanceFiles, options: Sequence[str]) -> None:
        """Start an instance program, unless the last one died a moment ago. Raises `LaunchFailed`.

        Five that die in a row without a single report are enough: the last words of their log become the reason.
        """
        history = self._histories.setdefault(name, _History())
        if history.pid is not None or self._monotonic() < history.not_before:
            return
        if history.deaths >= _DEATHS_AT_MOST:
            raise LaunchFailed(f"the instance program died {history.deaths} times: {_tail(files.agent_log)}")
        history.sequence = self._newest(name)
        command = [*self._command, "--directory", str(files.root), *options]
        try:
            with files.agent_log.open("ab") as log:
                program = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                )
            history.pidfd = os.pidfd_open(program.pid)
        except OSError as error:
            raise LaunchFailed(f"cannot start the instance program: {error}") from error
        program.returncode = 0  # it is meant to outlive us: without this, subprocess warns that it still runs
        history.pid = program.pid
        history.gone.clear()
        asyncio.get_running_loop().add_reader(history.pidfd, self._reap, name)
        _log.info("instance program started", instance=name, pid=program.pid)

    async def kill(self, name: str) -> None:
        """Kill the one that was started here, if it runs; returns when it has ended."""
        history = self._histories.get(name)
        if history is not None and history.pid is not None:
            os.kill(history.pid, signal.SIGKILL)  # not yet reaped, so that the id is still its own
            await history.gone.wait()

    def forget(self, name: str) -> None:
        """The instance is gone, and so are the deaths of its programs."""
        history = self._histories.pop(name, None)
        if history is not None and history.pid is not None:
            self._stop_watching(history)

    def close(self) -> None:
        """Stop watching; the instance programs go on."""
        for name in list(self._histories):
            self.forget(name)

    def _reap(self, name: str) -> None:
        history = self._histories[name]
        pid, sequence = history.pid, history.sequence
        self._stop_watching(history)
        reported = self._newest(name) > sequence
        history.deaths = 0 if reported else history.deaths + 1
        pause = 0.0 if reported else min(_FIRST_PAUSE_S * 2 ** (history.deaths - 1), _PAUSE_AT_MOST_S)
        history.not_before = self._monotonic() + pause
        _log.info("instance program ended", instance=name, pid=pid, deaths=history.deaths)
        self._ended(name)

    def _stop_watching(self, history: _History) -> None:
        asyncio.get_running_loop().remove_reader(history.pidfd)
        os.close(history.pidfd)
        if history.pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(history.pid, os.WNOHANG)
        history.pid, history.pidfd = None, -1
        history.gone.set()


def poke(files: InstanceFiles) -> None:
    """Send SIGUSR1 to the instance program, if one is at work: there is something new in its directory.

    The lock's file names its holder or the one before, whose process id may be anybody's by now: only an instance
    program of this directory is signalled. (To probe the lock here could make one fail that is just taking it.)
    """
    with contextlib.suppress(OSError, ValueError):
        pid = int(files.lock.read_text())
        _send(pid, signal.SIGUSR1, files.root)


def end(files: InstanceFiles, *, within_s: float) -> None:
    """Kill every instance program of the directory; returns when none is left. Raises `TimeoutError`.

    Looks twice: the kernel shows no command line of a program that is just being executed.
    """
    until = time.monotonic() + within_s
    looks = 0
    while looks < 2:
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        left = [pid for pid in found if _send(pid, signal.SIGKILL, files.root)]
        looks = 0 if left or is_locked(files.lock) else looks + 1
        if time.monotonic() > until:
            raise TimeoutError(f"the instance program of {files.root.name} does not end")
        time.sleep(0.005)


def _send(pid: int, number: int, directory: Path) -> bool:
    """Send a signal to the process if it is an instance program of the directory; whether it is."""
    if not _works_on(pid, directory):
        return False
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _works_on(pid, directory):  # the id was used again between the first look and the opening
            return False
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def _works_on(pid: int, directory: Path) -> bool:
    """Whether a process was started for the directory. What has ended has no command line any more."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(pair == (b"--directory", os.fsencode(directory)) for pair in itertools.pairwise(words))


def _environment() -> dict[str, str]:
    chosen = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    chosen |= {name: value for name, value in os.environ.items() if name.startswith("CLARY_FAULT_")}
    if path := os.environ.get("PYTHONPATH"):
        chosen["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in path.split(os.pathsep))
    return chosen


def _tail(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip() or "it said nothing"
    return "it said nothing"
