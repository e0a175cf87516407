"""An instance's FastFile channels: staged as views, mounted for as long as the training program runs.

Used by `stage_channels` and `run_training`; `fast_file` is the server, a process of its own. One that dies takes its file
system with it, and the program sees errors where data should be: that is noticed (`is_torn`), and the job starts anew.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clary.base import faults
from clary.base.clock import Instant
from clary.base.files import is_locked
from clary.base.telemetry import Logger
from clary.instance.channel_plan import ChannelPlan
from clary.instance.opt_ml import INPUT_DATA, input_mode
from clary.jobs.failure import FAILURE_REASON_MAX
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask
from clary.runtimes.port import CannotStart, Mount, UserMounts

MOUNT = "mount"
_WITHIN_S = 30.0
_END_WITHIN_S = 5.0
_LAST_WORDS_BYTES = 1000

faults.declare("fast_file.mounted")


def fast_file_channels(task: InstanceTask) -> list[str]:
    """The names of the channels that are to be mounted."""
    if task.fast_file != MOUNT:
        return []
    return [channel.channel_name for channel in task.channels if _is_fast_file(task, channel.input_mode)]


def view_file(files: InstanceFiles, channel_name: str) -> Path:
    """Where it is kept what a channel shows."""
    return files.root / f"fast-{channel_name}.view"


def keep_view(files: InstanceFiles, channel_name: str, plan: ChannelPlan, *, now: Instant) -> None:
    """Keep what a channel shows, and make the directory on which the program sees it."""
    from clary.storage.view import write_view  # noqa: PLC0415 - a job without such channels starts without it

    write_view(view_file(files, channel_name), plan.bucket, plan.selection, staged_at=now)
    place = files.opt_ml / INPUT_DATA / channel_name
    place.mkdir(exist_ok=True)
    place.chmod(0o755)


def mounts(task: InstanceTask, files: InstanceFiles) -> tuple[Mount, ...]:
    """What the program sees at the places of its FastFile channels, read-only: what is mounted, or was downloaded. Pure."""
    above = files.fast_file if task.fast_file == MOUNT else files.opt_ml / INPUT_DATA
    return tuple(
        Mount(source=str(above / channel.channel_name), target=f"/opt/ml/{INPUT_DATA}/{channel.channel_name}")
        for channel in task.channels
        if _is_fast_file(task, channel.input_mode)
    )


class FastFileMount:
    """The file system of one instance. Not for several threads. `command` starts its server."""

    def __init__(
        self,
        task: InstanceTask,
        files: InstanceFiles,
        fuse: UserMounts,
        log: Logger,
        *,
        command: Sequence[str] = (sys.executable, "-P", "-m", "clary.instance.fast_file"),
    ) -> None:
        self._task = task
        self._files = files
        self._fuse = fuse
        self._log = log
        self._command = command
        self._needed = bool(fast_file_channels(task))
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have it mounted, before the program starts; takes some 0.3 seconds. Raises `CannotStart`."""
        if not self._needed or is_locked(self._files.fast_file_lock):
            return
        closed = None if self._task.program.reference is None else self._fuse.closed_to_others()
        if closed is not None:
            raise CannotStart(f"FastFile channels cannot be shown in containers: {closed}")
        try:
            self._fuse.detach(self._files.fast_file)  # of a server that died before the program could start
            self._files.fast_file.mkdir(mode=0o700, exist_ok=True)
            with self._files.fast_file_log.open("ab") as log:
                self._server = subprocess.Popen(
                    [*self._command, "--directory", str(self._files.root)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            raise CannotStart(f"FastFile channels cannot be mounted: {error}") from error
        self._wait_for(self._server)
        self._fuse.read_in_large_pieces(self._files.fast_file)
        faults.point("fast_file.mounted")
        self._log.info("channels mounted", pid=self._server.pid)

    def is_torn(self) -> bool:
        """Whether the server has died, so that the program may have met errors instead of data."""
        if not self._needed:
            return False
        if self._server is not None:
            self._server.poll()
        return not is_locked(self._files.fast_file_lock)

    def trouble(self) -> str:
        """Which object could not be read first, and why: the program knows of an input/output error only. "" if all could."""
        try:
            return self._files.fast_file_trouble.read_text(errors="replace")[:FAILURE_REASON_MAX]
        except OSError:
            return ""

    def stop(self) -> None:
        """Take the file system away, once the program has ended. What fails is left to those who give the instance back."""
        if not self._needed:
            return
        try:
            self._fuse.detach(self._files.fast_file)
        except OSError as error:
            self._log.error("channels not unmounted", error=str(error))
        with contextlib.suppress(OSError, ValueError):
            _end(self._files.fast_file_lock)
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(_END_WITHIN_S)

    def leave(self) -> None:
        """Let the server go on without us."""
        if self._server is not None:
            self._server.poll()
            self._server.returncode = 0  # it is meant to outlive us: without this, subprocess warns that it still runs
            self._server = None

    def _wait_for(self, server: "subprocess.Popen[bytes]") -> None:
        until = time.monotonic() + _WITHIN_S
        while not self._is_there():
            if server.poll() is not None or time.monotonic() > until:
                server.kill()
                said = self._files.fast_file_log.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").splitlines()
                raise CannotStart(
                    f"FastFile channels cannot be mounted: {said[-1] if said else 'their server says nothing'}"
                )
            time.sleep(0.002)

    def _is_there(self) -> bool:
        if not self._fuse.is_mounted(self._files.fast_file):
            return False
        try:
            return all((self._files.fast_file / name).is_dir() for name in fast_file_channels(self._task))
        except OSError:  # its server died at once
            return False


def _is_fast_file(task: InstanceTask, channel_input_mode: str | None) -> bool:
    return input_mode(task, channel_input_mode) == "FastFile"


def _end(lock: Path) -> None:
    """Kill the process that holds the lock."""
    fd = os.pidfd_open(int(lock.read_text()))
    try:
        if is_locked(lock):  # so that the id is still its own
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    finally:
        os.close(fd)
