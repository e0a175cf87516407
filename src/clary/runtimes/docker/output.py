"""What a container prints, from its first byte to its last, appended to a file without a gap and without a repetition.

Used by `runtime`. The engine keeps the output; whoever copies it may die at any time, and so may the engine: the next one
reads from the start again and skips what the file has already.
"""

import os
import time
from collections.abc import Iterator

import docker

_BLOCK_BYTES = 1 << 16


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


def copy_output(client: docker.APIClient, container_id: str, output: int, base: int) -> float:
    """Append to the file what the container prints until it ends; what it printed begins at `base` in the file.

    Returns the time of the end in seconds since the epoch. The stream may have ended because the engine did: compare with
    when the container ended. Raises what the client raises when the engine goes away in the middle.
    """
    skip = os.fstat(output).st_size - base
    for block in _printed(client, container_id):
        new = block[skip:] if skip else block
        skip -= len(block) - len(new)
        while new:
            new = new[os.write(output, new) :]
    return time.time()


def _printed(client: docker.APIClient, container_id: str) -> Iterator[bytes]:
    # The client's own `logs` reads a terminal's output byte by byte.
    url = f"{client.base_url}/v{client.api_version}/containers/{container_id}/logs"
    parameters = {"stdout": 1, "stderr": 1, "follow": 1}
    ends = LineEnds()
    # No time limit: a program may be silent for days, and a dead engine closes its end.
    with client.get(url, params=parameters, stream=True, timeout=None) as response:
        response.raise_for_status()
        for block in response.raw.stream(_BLOCK_BYTES):
            yield ends.feed(block)
        yield ends.flush()
