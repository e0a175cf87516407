"""Whether the program can be executed at all, told before it is started, in the words of SageMaker's log.

Called by `process`. A script whose interpreter is missing passes here and fails when it is executed.
"""

import os

import msgspec

from clary.runtimes.port import ProgramSpec
from clary.runtimes.sandbox import DEFAULT_PATH, Entry, on_host


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The program, by its absolute path as the program itself sees it."""

    path: str


class NotExecutable(msgspec.Struct, frozen=True, kw_only=True):
    """No such program: the line for the log, and the exit code that a shell and Docker give (127 or 126)."""

    line: str
    exit_code: int


def find_program(spec: ProgramSpec, entries: tuple[Entry, ...]) -> Found | NotExecutable:
    """Look for argv[0] as execvp(3) does, in what the program will see.

    The text for a bare name was observed on SageMaker; the others are those of Docker (inferred).
    """
    name = spec.argv[0]
    if "/" in name:
        path = name if name.startswith("/") else f"{spec.working_directory.rstrip('/')}/{name}"
        host = on_host(entries, path)
        if host is None:
            return NotExecutable(line=f'exec: "{name}": stat {name}: no such file or directory', exit_code=127)
        if host.is_dir():
            return NotExecutable(line=f'exec: "{name}": is a directory', exit_code=126)
        if not os.access(host, os.X_OK):
            return NotExecutable(line=f'exec: "{name}": permission denied', exit_code=126)
        return Found(path=path)
    for directory in spec.environment.get("PATH", DEFAULT_PATH).split(":"):
        path = f"{directory.rstrip('/')}/{name}"
        host = on_host(entries, path) if directory.startswith("/") else None
        if host is not None and host.is_file() and os.access(host, os.X_OK):
            return Found(path=path)
    return NotExecutable(line=f'exec: "{name}": executable file not found in $PATH', exit_code=127)
