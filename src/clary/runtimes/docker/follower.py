"""Follows a container to its end: the thread that copies its output and notes how it ended.

Started by `runtime`. Also what both must ask the engine about a container.
"""

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import docker.errors
import msgspec

from clary.base.telemetry import get_logger
from clary.runtimes.docker.engine import Engine, connect
from clary.runtimes.docker.notes import Marker, Outcome
from clary.runtimes.docker.output import Attachment, copy_log
from clary.runtimes.docker.ownership import needs_reclaiming, reclaim
from clary.runtimes.port import EngineAway
from clary.runtimes.supervision import boot_id

_TRY_AGAIN_S = 1.0
_REFUSALS_MAX = 3

_log = get_logger("runtimes")

Describe = Callable[[docker.APIClient, str], Engine]


class Follower(threading.Thread):
    """Copies a container's output to its end, and then notes how the container ended, in the file that it holds locked.

    It goes on while the engine is away, for as long as this process lives. `attachment` listens to the container since
    before its start; without one, the engine's own copy of the output is read.
    """

    def __init__(self, marker: Marker, lock: int, describe: Describe, attachment: Attachment | None = None) -> None:
        super().__init__(daemon=True, name=f"follow {marker.name}")
        self._marker = marker
        self._lock = lock
        self._describe = describe
        self._attachment = attachment
        self._refusals = 0

    def run(self) -> None:
        """See above."""
        try:
            output = _open(Path(self._marker.output))
            try:
                whole = output is None  # nobody will ever read it
                if output is not None and self._attachment is not None:
                    whole = self._attachment.copy(output)
                while (outcome := self._attempt(None if whole else output)) is None:
                    time.sleep(_TRY_AGAIN_S)
            finally:
                if output is not None:
                    os.close(output)
            os.ftruncate(self._lock, 0)
            os.write(self._lock, msgspec.json.encode(outcome))
            os.fsync(self._lock)
        except Exception:  # noqa: BLE001  a disk that is full, say: the next question about the program tries again
            _log.error("container not followed", container=self._marker.name)
        finally:
            if self._attachment is not None:
                self._attachment.close()
            os.close(self._lock)

    def _own(self, client: docker.APIClient) -> None:
        """Make what the program left ours. Whoever cannot after some attempts leaves the end of the job to the upload."""
        try:
            own(client, self._marker, self._describe)
        except (docker.errors.APIError, OSError) as error:
            self._refusals += 1
            if self._refusals < _REFUSALS_MAX:
                raise
            _log.error("files not made ours", container=self._marker.name, why=str(error))

    def _attempt(self, output: int | None) -> Outcome | None:
        """Copy what there is to `output`, None once it is whole, and see how the container ended; None: not yet."""
        marker = self._marker
        try:
            with connect(marker.url) as client:
                found = inspect(client, marker.name)
                if found is not None and output is not None and is_running(found):
                    copy_log(client, found["Id"], output, marker.output_base, follow=True)
                    found = inspect(client, marker.name)
                if found is None:
                    return Outcome(exit_code=None)
                if is_running(found):
                    return None
                if output is not None:
                    copy_log(client, found["Id"], output, marker.output_base, follow=False)
                self._own(client)
                return _outcome(found, marker)
        except EngineAway as error:
            _log.warning("container engine does not answer", container=marker.name, error=str(error))
        except (docker.errors.APIError, OSError) as error:
            _log.warning("container not followed", container=marker.name, error=str(error))
        return None


def inspect(client: docker.APIClient, name: str) -> dict[str, Any] | None:
    """What the engine says of the container; None if there is none of that name."""
    try:
        found: dict[str, Any] = client.inspect_container(name)
    except docker.errors.NotFound:
        return None
    return found


def is_running(found: dict[str, Any]) -> bool:
    """Whether its processes are there."""
    state = found["State"]
    return bool(state.get("Running") or state.get("Paused") or state.get("Restarting"))


def _finished(found: dict[str, Any]) -> float:
    """When the container ended, in seconds since the epoch; 0 if it never ran. The engine counts nanoseconds."""
    text = str(found["State"].get("FinishedAt") or "")
    if not text or text.startswith("0001"):
        return 0.0
    return datetime.fromisoformat(text).timestamp()


def _booted_at() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def own(client: docker.APIClient, marker: Marker, describe: Describe) -> None:
    """Make what the program left in its directories ours."""
    if needs_reclaiming(marker.mounts, os.geteuid()):
        engine = describe(client, marker.url)
        reclaim(client, marker.image, marker.mounts, engine=engine, name=f"{marker.name}-chown")


def _outcome(found: dict[str, Any], marker: Marker) -> Outcome:
    state = found["State"]
    if str(state.get("StartedAt") or "0001").startswith("0001"):
        # Made, and never started; or the engine has noted why it could not be.
        return Outcome(exit_code=int(state["ExitCode"]) or None)
    if int(state["ExitCode"]) < 0 or not _finished(found):
        # Podman: its supervisor was killed, or the machine went down, after which it says exited with 0 at no time.
        return Outcome(exit_code=None)
    if marker.boot_id != boot_id() and _finished(found) > _booted_at():
        # It died with the machine, and the engine made up an exit code when it came back.
        return Outcome(exit_code=None)
    return Outcome(exit_code=int(state["ExitCode"]), out_of_memory=bool(state.get("OOMKilled")))


def _open(output: Path) -> int | None:
    """The output file, for appending; None if its directory is gone, and with it the reader."""
    try:
        return os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
