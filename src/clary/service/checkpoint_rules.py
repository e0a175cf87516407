"""Where a program may have its checkpoints. Pure; called by `training_jobs`.

Anywhere but where the container contract, or the system, has something already. Source: the developer guide's layout of
/opt/ml; that these places are refused, and the texts, are inferred.
"""

import posixpath
from collections.abc import Iterable
from pathlib import PurePosixPath

from clary.aws.errors import ValidationException
from clary.jobs.model import CheckpointConfig, Program

_PATH_MAX_BYTES = 1024  # there must be room for keys behind it: Linux takes 4,096 in all
_NAME_MAX_BYTES = 255
_MOUNTS = ("/opt/ml", "/tmp")  # noqa: S108 - the program's own
_TAKEN = (
    *("/opt/ml/input", "/opt/ml/model"),
    *(f"/opt/ml/output/{name}" for name in ("data", "failure", "metrics", "profiler")),
    *("/dev", "/proc", "/sys"),
)
_SYSTEM = ("/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr")


def check_checkpoints(config: CheckpointConfig | None, program: Program) -> None:
    """Raise `ValidationException` for a LocalPath at which nothing can be mounted, or something would be hidden."""
    if config is None:
        return
    problem = _problem(config.directory, program)
    if problem is not None:
        raise ValidationException(f"Invalid CheckpointConfig.LocalPath '{config.directory}': {problem}.")


def _problem(text: str, program: Program) -> str | None:
    if not text.startswith("/"):
        return "it must be an absolute path"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "it must not hold control characters"
    if {".", ".."} & set(text.split("/")):
        return "it must not have '.' or '..' as a part"
    path = PurePosixPath("/" + text.strip("/"))
    if len(str(path).encode()) > _PATH_MAX_BYTES or any(len(part.encode()) > _NAME_MAX_BYTES for part in path.parts):
        return f"it must have at most {_PATH_MAX_BYTES} bytes, and {_NAME_MAX_BYTES} in each of its parts"
    if is_reserved(str(path)):
        return "the platform has something else there"
    if program.reference is None and _is_in(path, _SYSTEM):
        return "a local environment has the machine's system there, which cannot be written to"
    if _is_in(path, program.read_only_paths) or _holds(path, program.read_only_paths):
        return "the local environment's own files are there"
    return None


def is_reserved(path: str) -> bool:
    """Whether something at this absolute path would hide, or change, what the container contract has there."""
    place = PurePosixPath(posixpath.normpath("/" + path.lstrip("/")))
    return _is_in(place, _TAKEN) or _holds(place, (*_TAKEN, *_MOUNTS))


def _is_in(path: PurePosixPath, places: Iterable[str]) -> bool:
    """Whether the path is one of the places, or lies below one."""
    return any(path.is_relative_to(place) for place in places)


def _holds(path: PurePosixPath, places: Iterable[str]) -> bool:
    """Whether one of the places is the path, or lies below it."""
    return any(PurePosixPath(place).is_relative_to(path) for place in places)
