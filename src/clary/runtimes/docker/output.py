"""What a container prints, from its first byte to its last, appended to a file without a gap and without a repetition.

Used by `runtime` and `follower`. Whoever listens from before the start (`Attachment`) gets the very bytes, at the speed of
the program. Where that was cut short, because this process or the engine ended, the engine's own copy is read from its
start, and what the file has already is skipped (`copy_log`). The engine's copy is the second choice: reading it takes
longer, a reader that follows it may miss the last entry, and Docker 20.10 loses the end of a line now and then that is
longer than 16 KiB.
"""

import contextlib
import os
import threading

import docker
import requests
import urllib3

from clary.runtimes.docker.engine import connect
from clary.runtimes.port import EngineAway

_BLOCK_BYTES = 1 << 16
_REGISTERED_WITHIN_S = 2.0


class LineEnds:
    """Undoes what the pseudo-terminal does to the end of each line: CR LF becomes LF, however the blocks are cut."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, block: bytes) -> bytes:
        """The next block; a CR at its end is held back until it is known what follows."""
        block = self._held + block
        self._held = b"\r" if block.endswith(b"\r") else b""
        return block[: len(block) - len(self._held)].replace(b"\r\n", b"\n")

    def flush(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held


class Attachment:
    """Listens to a container from before its start, until closed. Raises `EngineAway`, and what the engine answers."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(connect(url))
            where = f"{client.base_url}/v{client.api_version}/containers/{name}/attach"
            # No time limit: a program may be silent for days, and a dead engine closes its end.
            answer = client.post(where, params={"stdout": 1, "stderr": 1, "stream": 1}, stream=True, timeout=None)
            self._stream = stack.enter_context(answer)
            answer.raise_for_status()
            self._held = stack.pop_all()
        self._exited = False
        self._registered = threading.Event()
        self._waiter = threading.Thread(target=self._wait, daemon=True, name=f"wait for {name}")
        self._waiter.start()
        # A container may end at once: whoever waits for its next exit must have begun to. Podman does not say that he has.
        self._registered.wait(_REGISTERED_WITHIN_S)

    def copy(self, output: int) -> bool:
        """Append what the container prints until it prints no more; whether that is all it ever prints.

        It is, if the engine that we listened to lived to see the container end.
        """
        ends = LineEnds()
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # reset: the engine has died
            while block := self._stream.raw.read1(_BLOCK_BYTES):
                _write(output, ends.feed(block))
        _write(output, ends.flush())
        if not self._registered.is_set():
            return False
        self._waiter.join()
        return self._exited

    def close(self) -> None:
        """Listen no more."""
        self._held.close()

    def _wait(self) -> None:
        try:
            with connect(self._url) as client:
                url = f"{client.base_url}/v{client.api_version}/containers/{self._name}/wait"
                with client.post(url, params={"condition": "next-exit"}, stream=True, timeout=None) as response:
                    response.raise_for_status()
                    self._registered.set()
                    self._exited = "StatusCode" in response.json()
        except (EngineAway, requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            return  # the engine is gone, and we do not know


def copy_log(client: docker.APIClient, container_id: str, output: int, base: int, *, follow: bool) -> None:
    """Append what the engine has kept of a container's output, and with `follow` what is to come until it ends.

    What the container printed begins at `base` in the file. Raises what the client raises when the engine goes away.
    """
    skip = os.fstat(output).st_size - base
    # The client's own `logs` reads a terminal's output byte by byte.
    url = f"{client.base_url}/v{client.api_version}/containers/{container_id}/logs"
    ends = LineEnds()
    with client.get(
        url, params={"stdout": 1, "stderr": 1, "follow": int(follow)}, stream=True, timeout=None
    ) as response:
        response.raise_for_status()
        for block in response.raw.stream(_BLOCK_BYTES):
            skip = _write(output, ends.feed(block), skip)
    _write(output, ends.flush(), skip)


def _write(output: int, block: bytes, skip: int = 0) -> int:
    """Append the block but for its first `skip` bytes; how many are to be skipped of what follows."""
    new = block[skip:]
    left = skip - (len(block) - len(new))
    while new:
        new = new[os.write(output, new) :]
    return left
