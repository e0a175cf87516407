"""Which runtime runs a program, and which one did. Used by the instance program and by `app`.

The container engine's adapter is imported when it is needed: a program that is a process starts without it.
"""

from pathlib import Path

from clary.jobs.model import Program
from clary.runtimes.port import Runtime
from clary.runtimes.process import ProcessRuntime

_CONTAINER_MARKER = "container.json"


def runtime_for(program: Program, *, container_engine: str | None) -> Runtime:
    """The runtime for a program: an image goes to the engine whose URL is given, anything else is a process."""
    if program.reference is None:
        return ProcessRuntime()
    from clary.runtimes.docker.runtime import DockerRuntime  # noqa: PLC0415

    return DockerRuntime(container_engine, credential_helper=program.credential_helper)


def kill(directory: Path) -> None:
    """End the program that any runtime has started in the directory. See `Runtime.kill`."""
    _runtime_of(directory).kill(directory)


def release(directory: Path) -> None:
    """Give back all that any runtime holds for the program of the directory. See `Runtime.release`."""
    _runtime_of(directory).release(directory)


def _runtime_of(directory: Path) -> Runtime:
    if not (directory / _CONTAINER_MARKER).exists():
        return ProcessRuntime()
    from clary.runtimes.docker.runtime import DockerRuntime  # noqa: PLC0415

    return DockerRuntime(None)  # where its engine is, it has noted
