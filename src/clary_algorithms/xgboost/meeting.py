"""How the hosts of a job find each other and agree who trains, before the library connects them.

Used by `cluster`. The first host takes the chair: it listens on its own address, on a port that all know, before it
reads its data, and every other host keeps one connection to it from its own start to its end. A connection that closes
too early is a host that failed, so that nobody waits for the dead; only a chair that failed before a guest came looks
like one that is late, and is waited for. Messages are lines of JSON.

Hosts on one machine need an address of their own each, and no more: the one fixed port is bound to the chair's address.
Source: the public XGBoost container (port 9099, a quarter of an hour for names to resolve).
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from clary_algorithms.container import AlgorithmError

PORT = 9099
#: How long a host's name may take to resolve, and the chair to listen.
ARRIVAL_TIMEOUT_S = 15 * 60.0
_HELLO_TIMEOUT_S = 30.0
_RETRY_S = 0.1
_MESSAGE_MAX_BYTES = 1 << 16

Resolve = Callable[[str], str]
_T = TypeVar("_T")


class Guest:
    """A host that is not the first: its connection to the chair, made by `arrive`."""

    def __init__(self, current_host: str, address: str, connection: socket.socket) -> None:
        self.address = address
        self._connection = connection
        self._say({"host": current_host})

    def answer(self, *, has_data: bool) -> dict[str, Any]:
        """Say whether this host has data, and wait until all have. Returns the chair's word to all."""
        self._say({"has_data": has_data})
        reply = _receive(self._connection)
        if reply is None:
            raise AlgorithmError(f"The coordinating host at {self.address} went away before training began")
        return reply

    def done(self) -> None:
        """Leave in peace. A host that ends without it has failed."""
        self._say({"done": True})

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the next answer, or the library, finds the chair gone
            _send(self._connection, message)


class Chair:
    """The first host. `address` is its own."""

    def __init__(self, hosts: Sequence[str], address: str, listener: socket.socket) -> None:
        self.address = address
        self._hosts = hosts
        self._listener = listener
        self._guests: dict[str, socket.socket] = {}

    def gather(self, *, has_data: bool) -> tuple[str, ...]:
        """Wait for every host's answer and return those with data, in the order of hosts. Raises `AlgorithmError`."""
        while len(self._guests) < len(self._hosts) - 1:
            connection, _ = self._listener.accept()
            connection.settimeout(_HELLO_TIMEOUT_S)
            hello = _receive(connection)
            if hello is None or hello.get("host") not in self._hosts[1:]:  # something else that knocks
                connection.close()
                continue
            connection.settimeout(None)
            self._guests[hello["host"]] = connection
        answers = {self._hosts[0]: has_data}
        for host in self._guests:
            answers[host] = bool(self._hear(host)["has_data"])
        return tuple(host for host in self._hosts if answers[host])

    def tell(self, message: dict[str, Any]) -> None:
        """Send one message to every guest."""
        for connection in self._guests.values():
            with contextlib.suppress(OSError):  # a host that died since is found by whoever waits for it
                _send(connection, message)

    def wait_for(self, hosts: Sequence[str]) -> None:
        """Wait until each of these hosts is done. Raises `AlgorithmError` for one that failed."""
        for host in hosts:
            if host in self._guests:
                self._hear(host)

    def _hear(self, host: str) -> dict[str, Any]:
        message = _receive(self._guests[host])
        if message is None:
            raise AlgorithmError(f"Lost the connection to another host of the training: {host} went away")
        return message


def arrive(hosts: Sequence[str], current_host: str, resolve: Resolve) -> Chair | Guest:
    """Take the chair or connect to it, before anything that takes long. Raises `AlgorithmError`."""
    address = _patiently(lambda: resolve(hosts[0]), f"The name {hosts[0]} does not resolve")
    if current_host == hosts[0]:
        try:
            listener = socket.create_server((address, PORT), backlog=len(hosts))
        except OSError as error:
            raise AlgorithmError(f"{current_host} cannot listen on {address}:{PORT}: {error}") from None
        return Chair(hosts, address, listener)
    connection = _patiently(
        lambda: socket.create_connection((address, PORT), timeout=_HELLO_TIMEOUT_S),
        f"The coordinating host at {address}:{PORT} does not answer",
    )
    connection.settimeout(None)
    return Guest(current_host, address, connection)


def _patiently(attempt: Callable[[], _T], complaint: str) -> _T:
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while True:
        try:
            return attempt()
        except OSError as error:
            if time.monotonic() > deadline:
                raise AlgorithmError(f"{complaint}: {error}") from None
            time.sleep(_RETRY_S)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next line; None when the other end went away or sent something else."""
    line = b""
    try:
        # One byte at a time: what follows the line belongs to the next message.
        while not line.endswith(b"\n") and len(line) < _MESSAGE_MAX_BYTES:
            byte = connection.recv(1)
            if not byte:
                return None
            line += byte
        message = json.loads(line)
    except (OSError, ValueError):
        return None
    return message if type(message) is dict else None
