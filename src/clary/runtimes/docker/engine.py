"""The container engine of this machine: where its API listens, what it can do, and what its errors mean.

Used by the rest of this package, by `app` and by `clary doctor`. Only Unix sockets: the job's directories are mounted into
its containers, so that the engine has to be on this machine.
"""

import contextlib
import http.client
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import docker.errors
import msgspec
import requests
import urllib3

from clary.runtimes.port import EngineAway

AUTO = "auto"
NONE = "none"
_UNIX = "unix://"
_TIMEOUT_S = 60
_CDI = (Path("/etc/cdi"), Path("/var/run/cdi"))
_OLDEST_API = (1, 40)  # Docker 19.03: the first with device requests
_NO_ENGINE = (
    "No container engine is set up. Cure: install Docker (Debian: apt-get install docker.io) or Podman, start it, and let "
    "Clary's user open its socket (group docker)"
)


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says of itself. `rootless`: its root user is the user that runs it, and not the machine's."""

    url: str
    name: str
    version: str
    architecture: str
    rootless: bool = False
    selinux: bool = False
    nvidia: bool = False
    cpus: int = 1
    memory_bytes: int = 0

    @property
    def is_podman(self) -> bool:
        """Whether it is Podman behind the compatible API."""
        return self.name == "Podman"


def find_engine(
    setting: str, environment: Mapping[str, str], *, exists: Callable[[str], bool] = os.path.exists
) -> str | None:
    """The URL of the engine's API: as set, or DOCKER_HOST, or the first of the usual sockets; None if there is none.

    A socket that is there may still belong to an engine that does not run: `engine_problem` tells.
    """
    if setting == NONE:
        return None
    if setting != AUTO:
        return setting
    if given := environment.get("DOCKER_HOST"):
        return given
    run = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    usual = ("/var/run/docker.sock", f"{run}/docker.sock", f"{run}/podman/podman.sock", "/run/podman/podman.sock")
    return next((f"{_UNIX}{path}" for path in usual if exists(path)), None)


def engine_problem(url: str | None) -> str | None:
    """Why no container can be run by this engine, with the cure; None if all is well. Asks the engine."""
    if url is None:
        return _NO_ENGINE
    if not url.startswith(_UNIX):
        return (
            f"The container engine at {url} is not reached through a Unix socket. Cure: run Clary beside the engine, and "
            "set container_engine (or DOCKER_HOST) to unix:///path/to/socket"
        )
    try:
        with connect(url, timeout_s=10) as client:
            version = client.version()
    except EngineAway as error:
        return str(error)
    api = str(version.get("ApiVersion", "0"))
    if tuple(map(int, api.split("."))) < _OLDEST_API:
        return f"The container engine at {url} speaks API {api} only. Cure: Docker 19.03 or newer, or Podman 4 or newer"
    if version.get("Os", "linux") != "linux":
        return f"The container engine at {url} runs {version['Os']} containers. Cure: switch it to Linux containers"
    return None


def describe_engine(client: docker.APIClient, url: str) -> Engine:
    """Ask the engine what it is."""
    with translated(url):
        version, info = client.version(), client.info()
    components = {component.get("Name", "") for component in version.get("Components") or ()}
    podman = any("Podman" in name for name in components)
    security = [str(option) for option in info.get("SecurityOptions") or ()]
    return Engine(
        url=url,
        name="Podman" if podman else "Docker",
        version=str(version.get("Version", "")),
        architecture=str(version.get("Arch", "")),
        rootless=any("rootless" in option for option in security),
        selinux=any("selinux" in option for option in security),
        nvidia=_passes_gpus(podman, str(version.get("Version", "")), info),
        cpus=int(info.get("NCPU") or 1),
        memory_bytes=int(info.get("MemTotal") or 0),
    )


def _passes_gpus(podman: bool, version: str, info: Mapping[str, Any]) -> bool:
    """Docker by NVIDIA's runtime; Podman by a CDI specification, for which its API can be asked since 5.4."""
    if not podman:
        return "nvidia" in (info.get("Runtimes") or {})
    numbers = tuple(int(part) for part in version.partition("-")[0].split(".")[:2] if part.isdigit())
    return numbers >= (5, 4) and any((directory / "nvidia.yaml").exists() for directory in _CDI)


@contextlib.contextmanager
def connect(url: str, *, timeout_s: int = _TIMEOUT_S) -> Iterator[docker.APIClient]:
    """A client of the engine's API, for the calls of the block. Raises `EngineAway`."""
    version = _api_version(url, timeout_s)
    with translated(url):
        client = docker.APIClient(base_url=url, version=version, timeout=timeout_s)
    try:
        with translated(url):
            yield client
    finally:
        client.close()


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn everything that means "no answer" into `EngineAway`; what the engine did answer stays `docker.errors.APIError`."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.response is not None and error.response.status_code in {502, 503, 504}:
            raise EngineAway(f"The container engine at {url} is not ready: {explanation(error)}") from error
        raise
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise EngineAway(f"The container engine at {url} does not answer. {_cure(url, error)}") from error


def _api_version(url: str, timeout_s: float) -> str:
    """The API's version, or "auto" if the client has to find out. Raises `EngineAway`.

    The client would leave its socket open where nobody listens, and would ask for all versions, for which Docker starts
    other programs each time.
    """
    if not url.startswith(_UNIX):
        return "auto"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        try:
            line.connect(url.removeprefix(_UNIX))
            line.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            with http.client.HTTPResponse(line) as answer:
                answer.begin()
                return answer.getheader("Api-Version") or "auto"
        except (OSError, http.client.HTTPException) as error:
            raise EngineAway(f"The container engine at {url} does not answer. {_cure(url, error)}") from error


def explanation(error: docker.errors.APIError) -> str:
    """What the engine said."""
    said: Any = error.explanation or error
    return str(said)


def _cure(url: str, error: Exception) -> str:
    path = url.removeprefix(_UNIX)
    if url.startswith(_UNIX) and not Path(path).exists():
        return f"There is no socket {path}. Cure: start the engine (systemctl start docker), or set container_engine"
    if url.startswith(_UNIX) and not os.access(path, os.R_OK | os.W_OK):
        return f"{path} may not be opened. Cure: usermod -aG docker USER, then log in again"
    return f"Cure: start the engine (systemctl start docker). It said: {error}"
