"""What a container's users have left in the job's directories, given to the user that Clary runs as.

Called by `runtime`. The engine's root user writes files that an ordinary user could neither upload nor delete. A container
is lent the machine's own chown and chmod for it: the training image need not have any.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors

from clary.runtimes.docker.engine import Engine
from clary.runtimes.port import Mount

#: Where a system keeps chown, its libraries and its loader. Source: the file system hierarchy standard.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_OURS = "/clary"
# Root reads what is closed to its owner, too (on SageMaker such files are uploaded), and we do not.
_RECLAIM = 'owner=$1; shift; chown -hR "$owner" "$@" && chmod -R u+rX "$@"'
_WITHIN_S = 600


def needs_reclaiming(mounts: Sequence[Mount], user_id: int) -> bool:
    """Whether something in the directories that the program could write to belongs to somebody else. Reads the disk."""
    return user_id != 0 and any(_foreign(Path(root), user_id) for root in _roots(mounts))


def reclaim(client: docker.APIClient, image: str, mounts: Sequence[Mount], *, engine: Engine, name: str) -> None:
    """Make everything in the writable directories ours, and readable. Raises `docker.errors.APIError`, and `OSError` if that
    fails.
    """
    roots = _roots(mounts)
    # The engine's root is us already if it is rootless.
    owner = "0:0" if engine.rootless else f"{os.getuid()}:{os.getgid()}"
    document: dict[str, Any] = {
        "Image": image,
        "Entrypoint": ["/bin/sh", "-c", _RECLAIM, "sh"],
        "Cmd": [owner, *(f"{_OURS}/{n}" for n, _ in enumerate(roots))],
        "User": "0:0",
        "Env": ["PATH=/usr/bin:/bin"],
        "HostConfig": {
            "NetworkMode": "none",
            "UsernsMode": "host",
            "Mounts": [
                *(_bind(path, path, read_only=True) for path in _SYSTEM if Path(path).is_dir()),
                *(_bind(root, f"{_OURS}/{n}", read_only=False) for n, root in enumerate(roots)),
            ],
        },
    }
    if engine.selinux:
        document["HostConfig"]["SecurityOpt"] = ["label=disable"]
    with contextlib.suppress(docker.errors.NotFound):
        client.remove_container(name, force=True)  # of an attempt that was cut short
    made = client.create_container_from_config(document, name)["Id"]
    try:
        client.start(made)
        code = client.wait(made, timeout=_WITHIN_S)["StatusCode"]
        if code != 0:
            raise OSError(f"chown ended with {code}: {client.logs(made).decode(errors='replace')[:500]}")
    finally:
        client.remove_container(made, force=True)


def _roots(mounts: Sequence[Mount]) -> list[str]:
    """What the program could write to and is ours: a shared file system is not."""
    return [mount.source for mount in mounts if not mount.read_only and mount.within is None]


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(Path(source).resolve()), "Target": target, "ReadOnly": read_only}


def _foreign(root: Path, user_id: int) -> bool:
    """Whether something below the directory belongs to somebody else, or cannot be looked at. Follows no link."""
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_uid != user_id:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except FileNotFoundError:
            continue
        except PermissionError:
            return True
    return False
