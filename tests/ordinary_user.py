"""A user who is not root, for tests that run as root. PYTEST_DONT_REWRITE

with ordinary_user(group_of=socket) as user:
    subprocess.run([*user.command, sys.executable, …])
"""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import clary

NOBODY_ELSE = 61_234
"""A user that no system has: its files can be no one else's."""


@dataclass(frozen=True, kw_only=True)
class User:
    """`command` is what precedes a command to have it run by the user."""

    id: int
    command: list[str]


@contextlib.contextmanager
def ordinary_user(*, group_of):
    """Such a user, who is also of the group that owns a file; whoever runs the tests, if that is not root.

    The interpreter, its packages and Clary may lie in a directory that only root may enter. The user gets a mount namespace
    of its own in which that directory is open, and holds nothing else.
    """
    if os.geteuid() != 0:
        yield User(id=os.geteuid(), command=[])
        return
    needed = [Path(sys.base_prefix), Path(sys.prefix), Path(clary.__file__).parents[1]]
    with tempfile.TemporaryDirectory(prefix="clary-test-") as aside:
        ids = [f"--reuid={NOBODY_ELSE}", f"--regid={NOBODY_ELSE}", f"--groups={Path(group_of).stat().st_gid}"]
        script = "\n".join(["set -e", "umask 022", *_openings(needed, aside), f'exec setpriv {" ".join(ids)} -- "$@"'])
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        subprocess.run([*command, sys.executable, "-c", "import clary"], check=True, cwd="/")
        yield User(id=NOBODY_ELSE, command=command)


def _openings(needed, aside):
    """Shell commands that open the closed directories above what is needed, and put that, and no more, back in place."""
    closed = {path: top for path in needed if (top := _topmost_closed(path.resolve())) is not None}
    kept = {path.resolve(): Path(aside) / str(number) for number, path in enumerate(closed)}
    for path, place in kept.items():
        yield shlex.join(["mkdir", str(place)])
        yield shlex.join(["mount", "--rbind", str(path), str(place)])
    for top in set(closed.values()):
        yield shlex.join(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(top)])
    for path, place in kept.items():
        yield shlex.join(["mkdir", "-p", str(path)])
        yield shlex.join(["mount", "--move", str(place), str(path)])
        yield shlex.join(["rmdir", str(place)])


def _topmost_closed(path):
    above = [path, *path.parents]
    return next((directory for directory in reversed(above) if not directory.stat().st_mode & 0o001), None)
