"""The answer to a GET of an object, read from its socket with as few copies, calls and allocations as there can be.

Called by `s3_wire`, which connects, signs, retries and knows what errors mean. The standard library's reader of answers costs
more than all the rest of a small object; here is just what an object's answer needs: a head, and a body whose length the
head tells. Any other answer is left to that reader.
"""

import os
import socket
from http.client import RemoteDisconnected
from typing import Protocol

from clary.storage.crc32 import Sums
from clary.storage.port import StorageError

_HEAD_BYTES = 64 * 1024
_BLOCK_BYTES = 32 * 1024
"""Of a body on its way into a file. Larger pieces make the kernel look for larger pages, which a machine that has copied a lot
has none of: they were slower, and as often much slower."""


class DiskTrouble(Exception):
    """The file could not be written: `error` says why. Not an `OSError` itself, which would be the connection's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class UnknownLength(Exception):
    """The answer does not begin by telling how long it is."""


class Body(Protocol):
    """Where the body of a success goes. Each attempt begins anew; no more than was asked for is taken."""

    def take(self, connection: socket.socket, first: memoryview, length: int) -> None:
        """Read `length` bytes, of which `first` have come already. Raises `OSError` for what befalls the connection."""
        ...

    def give(self, data: bytes) -> None:
        """The whole body, when it was read by other means."""
        ...


class InMemory:
    """A body of any length in `data`."""

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""

    def take(self, connection: socket.socket, first: memoryview, length: int) -> None:
        """See `Body`."""
        data = bytearray(length)
        view = memoryview(data)
        view[: len(first)] = first
        done = len(first)
        while done < length:
            done += _received(connection.recv_into(view[done:]))
        self.data = data

    def give(self, data: bytes) -> None:
        """See `Body`."""
        self.data = data


class IntoFile:
    """A body of at most `length_max` bytes, written to `fd` from `offset` on as it comes; `length` is how many it had, and
    `sums` what they sum up to.
    """

    def __init__(self, fd: int, offset: int, length_max: int) -> None:
        self._fd = fd
        self._offset = offset
        self._length_max = length_max
        self.length = 0
        self.sums = Sums()

    def take(self, connection: socket.socket, first: memoryview, length: int) -> None:
        """See `Body`. Raises `DiskTrouble`."""
        self.length, self.sums = length, Sums()
        if length > self._length_max:  # then it is another object than the one that was listed
            raise StorageError(f"{length} bytes came, {self._length_max} were expected")
        self._write(first, self._offset)
        position, end = self._offset + len(first), self._offset + length
        block = memoryview(bytearray(min(_BLOCK_BYTES, end - position)))
        while position < end:
            count = _received(connection.recv_into(block[: end - position]))
            self._write(block[:count], position)
            position += count

    def give(self, data: bytes) -> None:
        """See `Body`. Raises `DiskTrouble`."""
        self.length, self.sums = len(data), Sums()
        self._write(memoryview(data)[: self._length_max], self._offset)

    def _write(self, view: memoryview, position: int) -> None:
        self.sums.add(view)  # of what came, not of what the file says of it
        try:
            while view:
                written = os.pwrite(self._fd, view, position)
                view, position = view[written:], position + written
        except OSError as error:
            raise DiskTrouble(error) from error


def get(
    connection: socket.socket, target: str, headers: dict[str, str], into: Body
) -> tuple[int, dict[str, str], bytes]:
    """Ask for an object, and let `into` have it; the status, the headers (their names in lower case) and the body of an
    answer that is no success.

    Raises `UnknownLength`, after which the connection cannot be used again, `OSError` for what befalls the connection, and
    `DiskTrouble`.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    connection.sendall(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
    data = connection.recv(_HEAD_BYTES)
    if not data:
        raise RemoteDisconnected("the connection was closed without an answer")
    while (end := data.find(b"\r\n\r\n")) < 0 and len(data) < _HEAD_BYTES:
        more = connection.recv(_HEAD_BYTES)
        data += more[: _received(len(more))]
    first, *rest = data[: max(end, 0)].decode("latin-1").split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    length = found.get("content-length", "")
    coded = "transfer-encoding" in found  # which counts for more than a length beside it
    if not first.startswith("HTTP/1.1 ") or coded or not length.isdecimal() or len(data) - end - 4 > int(length):
        raise UnknownLength
    status = int(first[9:12])
    error = InMemory()
    (into if status in {200, 206} else error).take(connection, memoryview(data)[end + 4 :], int(length))
    return status, found, bytes(error.data)


def _received(count: int) -> int:
    if not count:
        raise ConnectionResetError("the connection was closed before the whole answer had come")
    return count
