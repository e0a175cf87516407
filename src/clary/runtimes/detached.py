"""Programs that outlive whoever started them, without zombies while the starter lives.

Used by the runtimes that start programs on this machine. Knows nothing of what the programs do.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence


class Children:
    """Starts detached programs and reaps those that have ended, for a process that goes on."""

    def __init__(self) -> None:
        self._pids: set[int] = set()

    def spawn(self, argv: Sequence[str], *, executable: str, streams: tuple[int, int, int], keep: Sequence[int]) -> int:
        """Start a program in its own session, in "/", with umask 022 and an empty environment; return its process id.

        Only `streams` (standard input, output, error) and the descriptors in `keep` are open in it. Raises `OSError` if it cannot be run.
        """
        program = subprocess.Popen(
            list(argv),
            executable=executable,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            pass_fds=tuple(keep),
            env={},
            cwd="/",
            umask=0o022,
            start_new_session=True,
        )
        program.returncode = 0  # it is meant to outlive us: without this, subprocess warns that it still runs
        self._pids.add(program.pid)
        return program.pid

    def reap(self) -> None:
        """Forget the programs that have ended."""
        for pid in list(self._pids):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._pids.discard(pid)
