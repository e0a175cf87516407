"""A listening socket on the loopback whose port stays the same over restarts, because others have been told of it."""

import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

from clary.base.files import write_atomically

# Below 32768, where Linux takes the ports of outgoing connections from: so that ours is free when we come back.
_LOWEST, _HIGHEST = 10_240, 32_767
_ATTEMPTS = 200


@contextlib.contextmanager
def kept_listener(path: Path) -> Iterator[socket.socket]:
    """Listen on 127.0.0.1, on the port that the file tells, or on another if that one is taken; the file tells it then.

    Raises OSError when no port can be had.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = _bind(listener, _saved(path))
        listener.listen(1024)
        listener.set_inheritable(False)
        write_atomically(path, str(port).encode())
        yield listener


def _bind(listener: socket.socket, saved: int | None) -> int:
    others = random.SystemRandom().sample(range(_LOWEST, _HIGHEST), _ATTEMPTS)
    for port in others if saved is None else [saved, *others]:
        with contextlib.suppress(OSError, OverflowError):
            listener.bind(("127.0.0.1", port))
            return port
    raise OSError(f"none of {_ATTEMPTS} ports of 127.0.0.1 can be listened on")


def _saved(path: Path) -> int | None:
    try:
        return int(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
