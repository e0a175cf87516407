"""The training program as a container of an engine.

The container's name is known before it exists, so that whoever was interrupted finds it again. What must be remembered
lies in the program's directory: `container.json`, written before the container is made, and `status.jsonl`, which a
`Follower` holds locked while it copies the output, and to which it writes how the program ended once all else is done:
the output is whole, and what the program left is ours. Without a follower the next question about the program starts one.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
import msgspec

from clary.base import faults
from clary.base.telemetry import get_logger
from clary.runtimes import liveness
from clary.runtimes.docker import gpus
from clary.runtimes.docker.container import DIRECTORY_LABEL, GPUS_LABEL, container_document
from clary.runtimes.docker.engine import Engine, connect, describe_engine, engine_problem, explanation
from clary.runtimes.docker.follower import Follower, inspect, is_running, own
from clary.runtimes.docker.networks import ensure_network, remove_if_empty, turn
from clary.runtimes.docker.notes import Files, Marker, Outcome
from clary.runtimes.docker.output import Attachment
from clary.runtimes.hearing import hears
from clary.runtimes.port import (
    CannotStart,
    Container,
    EngineAway,
    Exited,
    ImageUnusable,
    Lost,
    ProgramSpec,
    Running,
    Say,
    State,
    Usage,
)
from clary.runtimes.shared_mounts import real_source
from clary.runtimes.supervision import boot_id

_GONE_WITHIN_S = 10.0
_NOT_FOUND, _CONFLICT = 404, 409
_ENDED = {"exited", "dead", "removing", "stopped"}  # the last is Podman's
_MISSING = re.compile(r"executable file (`[^`]*` )?not found")

faults.declare("container.marked", "container.created", "container.started")
_log = get_logger("runtimes")


class DockerRuntime:
    """A `Runtime`. `url` is where the engine's API listens; None: there is no engine.

    `credential_helper` is the command that knows the login at the image's registry; none: Docker's configuration does.
    """

    network_interface = "eth0"

    def __init__(self, url: str | None, *, credential_helper: Sequence[str] = ()) -> None:
        self._url = url
        self._credential_helper = credential_helper
        self._engine: Engine | None = None

    def problem(self) -> str | None:
        """Why the engine can run nothing, with the cure. Asks it."""
        return engine_problem(self._url)

    def provide_image(self, image: str, say: Say, cancelled: Callable[[], bool]) -> str | None:
        """See `Runtime`."""
        from clary.runtimes.docker.pull import provide  # noqa: PLC0415  logins are needed for a pull only

        with connect(self._known_url()) as client:
            return provide(client, image, self._credential_helper, say, cancelled)

    def prepare(self, directory: Path) -> None:
        """Make the program's own directory, closed to other users."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, spec: ProgramSpec) -> None:
        """See `Runtime`. Returns when the engine has started the container, or has found no such program in the image."""
        if spec.container is None:
            raise CannotStart("A container needs an image")
        if any("\0" in text for text in (*spec.environment, *spec.environment.values())):
            raise CannotStart("the program's environment holds a NUL character")
        directory = Path(spec.directory)
        self.prepare(directory)
        files = Files(directory)
        lock = liveness.take(files.status)
        if lock is None:
            return  # a follower is at work: it was started
        try:
            if files.outcome() is not None:
                return
            known = files.read_marker()
            marker = known or self._mark(spec, spec.container, files)
            faults.point("container.marked")
            with connect(marker.url) as client:
                if not marker.made:  # one that was made and is gone, `state` finds lost
                    self._make(client, spec, spec.container, marker, is_first=known is None)
                    files.write_marker(msgspec.structs.replace(marker, made=True))
                    faults.point("container.created")
                new = self._is_new(client, marker)
                # Podman has the output written by a program of the container's own, which loses nothing when the engine
                # ends. To listen there would make the container ready to run, with the errors of its start, and a wait
                # for its next exit may miss the exit.
                listen = new and not self._describe(client, marker.url).is_podman
                attachment = Attachment(marker.url, marker.name) if listen else None
                try:
                    if new and not self._start(client, spec, marker, files, lock):
                        return
                    faults.point("container.started")
                    Follower(marker, lock, self._describe, attachment).start()
                except BaseException:
                    if attachment is not None:
                        attachment.close()
                    raise
            lock = -1
        finally:
            if lock >= 0:
                os.close(lock)

    def state(self, directory: Path) -> State:
        """See `Runtime`. Asks the engine only when nobody follows the program."""
        files = Files(directory)
        if liveness.held(files.status):
            return Running()
        if (outcome := files.outcome()) is not None:
            return _state(outcome)
        marker = files.read_marker()
        if marker is None or not marker.made:
            return Lost()
        lock = liveness.take(files.status)
        if lock is not None:
            _log.info("following container", container=marker.name)
            Follower(marker, lock, self._describe).start()
        return Running()

    def usage(self, directory: Path) -> Usage | None:
        """See `Runtime`. Memory is without the page cache that the kernel can drop."""
        marker = Files(directory).read_marker()
        if marker is None or not liveness.held(Files(directory).status):
            return None
        try:
            with connect(marker.url) as client:
                return _usage(client.stats(marker.name, stream=False, one_shot=True))
        except (EngineAway, docker.errors.APIError):
            return None

    def signal(self, directory: Path, signal_number: int) -> bool:
        """See `Runtime`. Raises `EngineAway`."""
        marker = Files(directory).read_marker()
        if marker is None:
            return True
        with connect(marker.url) as client:
            found = inspect(client, marker.name)
            if found is not None and is_running(found) and not hears(found["State"]["Pid"], signal_number):
                return False
            _signal(client, marker.name, signal_number)
        return True

    def kill(self, directory: Path) -> None:
        """See `Runtime`."""
        files = Files(directory)
        marker = files.read_marker()
        if marker is None or files.outcome() is not None:
            return
        self._end(marker)
        until = time.monotonic() + _GONE_WITHIN_S
        while isinstance(self.state(directory), Running):
            if time.monotonic() > until:
                raise TimeoutError(f"the output of {marker.name} does not end")
            time.sleep(0.005)

    def release(self, directory: Path) -> None:
        """See `Runtime`. Removes the container, and the job's network after its last one."""
        marker = Files(directory).read_marker()
        if marker is None:
            return
        self._end(marker)
        try:
            with connect(marker.url) as client:
                own(client, marker, self._describe)
                with contextlib.suppress(docker.errors.NotFound):
                    client.remove_container(marker.name, v=True, force=True)
                with turn(_instances(directory)):
                    remove_if_empty(client, marker.network)
        except (EngineAway, docker.errors.APIError) as error:
            raise TimeoutError(f"the container {marker.name} cannot be removed: {error}") from error

    def _known_url(self) -> str:
        if self._url is None:
            raise CannotStart(engine_problem(None))
        return self._url

    def _describe(self, client: docker.APIClient, url: str) -> Engine:
        if self._engine is None or self._engine.url != url:
            self._engine = describe_engine(client, url)
        return self._engine

    def _mark(self, spec: ProgramSpec, container: Container, files: Files) -> Marker:
        output = Path(spec.output)
        directory = Path(spec.directory)
        marker = Marker(
            url=self._known_url(),
            name=f"clary-{_short(spec.directory)}-{container.name}",
            network=f"clary-{_short(str(_instances(directory)))}-{container.network}",
            image=container.image,
            boot_id=boot_id(),
            output=spec.output,
            output_base=output.stat().st_size if output.exists() else 0,
            mounts=spec.mounts,
        )
        files.write_marker(marker)
        return marker

    def _make(
        self, client: docker.APIClient, spec: ProgramSpec, container: Container, marker: Marker, *, is_first: bool
    ) -> None:
        """Have the container made, unless an earlier call has. `is_first`: there was none."""
        found = inspect(client, marker.name)
        if found is not None and is_first:
            # Of an instance whose directory was deleted: its output and its model go where nobody finds them.
            _log.warning("orphaned container removed", container=marker.name)
            client.remove_container(marker.name, v=True, force=True)
            found = None
        if found is None:
            self._create(client, spec, container, marker)

    def _is_new(self, client: docker.APIClient, marker: Marker) -> bool:
        """Whether the container was never started. Once is enough, even if it has ended."""
        found = inspect(client, marker.name)
        return found is not None and found["State"]["Status"] in {"created", "configured", "initialized"}

    def _start(self, client: docker.APIClient, spec: ProgramSpec, marker: Marker, files: Files, lock: int) -> bool:
        """Start the container; whether there is a program in it to follow. Raises `CannotStart`."""
        try:
            client.start(marker.name)
        except docker.errors.APIError as error:
            code = exec_failure(explanation(error))
            if code is None:
                with contextlib.suppress(docker.errors.APIError):
                    client.remove_container(marker.name, force=True)
                files.marker.unlink()  # the next call shall try again and fail alike, not find a lost program
                raise CannotStart(f"The container cannot be started: {explanation(error)}") from error
            with Path(spec.output).open("ab") as output:
                output.write(f"{exec_line(explanation(error))}\n".encode())
            os.write(lock, msgspec.json.encode(Outcome(exit_code=code)))
            return False
        return True

    def _create(self, client: docker.APIClient, spec: ProgramSpec, container: Container, marker: Marker) -> None:
        engine = self._describe(client, marker.url)
        directory = Path(spec.directory)
        with turn(_instances(directory)):
            wanted = spec.limits.gpus if engine.nvidia else 0
            chosen = gpus.choose_gpus(gpus.machine_gpus(), _gpus_taken(client), wanted) if wanted else ()
            network = ensure_network(
                client,
                marker.network,
                isolated=spec.isolated_network,
                engine=engine,
                labels={DIRECTORY_LABEL: str(_instances(directory))},
            )
            document = container_document(
                msgspec.structs.replace(spec, mounts=tuple(map(real_source, spec.mounts))),
                msgspec.structs.replace(container, network=marker.network),
                engine=engine,
                network=network,
                gpus=chosen,
            )
            try:
                client.create_container_from_config(document, marker.name)
            except docker.errors.ImageNotFound as error:
                raise ImageUnusable(
                    f"The image {container.image} is not on this machine: {explanation(error)}"
                ) from error
            except docker.errors.APIError as error:
                if error.response is None or error.response.status_code != _CONFLICT:
                    raise CannotStart(f"The container cannot be made: {explanation(error)}") from error

    def _end(self, marker: Marker) -> None:
        """Kill the container; returns when it runs no more. Raises `TimeoutError`."""
        until = time.monotonic() + _GONE_WITHIN_S
        pause = 0.005
        try:
            with connect(marker.url) as client:
                while (found := inspect(client, marker.name)) is not None and is_running(found):
                    if time.monotonic() > until:
                        raise TimeoutError(f"the container {marker.name} does not end, not even by SIGKILL")
                    _signal(client, marker.name, 9)
                    time.sleep(pause)
                    pause = min(pause * 2, 0.1)
        except (EngineAway, docker.errors.APIError) as error:
            raise TimeoutError(f"the container {marker.name} cannot be ended: {error}") from error


def exec_failure(said: str) -> int | None:
    """The shell's exit code of a program that could not be executed; None if the engine's trouble is another. Pure.

    Source: `docker run` ends with 127 for a program that is not there and with 126 for one that cannot be executed. The
    words are those of runc and of crun.
    """
    said = said.lower()
    if _MISSING.search(said) or ("no such file or directory" in said and "exec" in said):
        return 127
    if "permission denied" in said and "exec" in said:
        return 126
    return None


def exec_line(said: str) -> str:
    """The line of SageMaker's log for a program that is not there, out of what the engine said. Pure."""
    if crun := re.search(r"executable file `([^`]*)` not found", said):
        return f'exec: "{crun[1]}": executable file not found in $PATH'
    start = said.find("exec: ")
    return (said[start:] if start >= 0 else said).removesuffix(": unknown").strip()


def _state(outcome: Outcome) -> State:
    if outcome.exit_code is None:
        return Lost()
    return Exited(exit_code=outcome.exit_code, out_of_memory=outcome.out_of_memory)


def _signal(client: docker.APIClient, name: str, number: int) -> None:
    try:
        client.kill(name, number)
    except docker.errors.APIError as error:
        # 404: it is gone; 409: it does not run.
        if error.response is None or error.response.status_code not in {_NOT_FOUND, _CONFLICT}:
            raise


def _gpus_taken(client: docker.APIClient) -> list[str]:
    """One entry for each user of a GPU. One that has not started yet counts: it starts after its maker's `turn`."""
    there = client.containers(all=True, filters={"label": GPUS_LABEL})
    users = [found for found in there if found["State"] not in _ENDED]
    return [gpu for found in users for gpu in found["Labels"].get(GPUS_LABEL, "").split(",") if gpu]


def _usage(stats: dict[str, Any]) -> Usage | None:
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None  # it has ended, or the engine cannot measure
    details = memory.get("stats") or {}
    droppable = details.get("total_inactive_file", details.get("inactive_file", 0))
    limit = int(memory.get("limit") or 0) or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Usage(
        cpu_s=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_bytes=min(limit, max(0, int(memory["usage"]) - droppable)),
        memory_limit_bytes=limit,
    )


def _instances(directory: Path) -> Path:
    """Where the instances lie side by side."""
    return directory.parent.parent


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
