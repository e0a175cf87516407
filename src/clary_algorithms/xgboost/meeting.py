"""How the hosts of a job find each other and agree who trains, and how each learns that another one failed.

Used by `training` and `cluster`. The first host takes the chair: it listens on its own address, on a port that all
know, before it reads its data, and every other host keeps one connection to it from its own start to its end. A
connection that closes too early is a host that failed. `watch` runs `attend` in a thread, so that this is heard
whatever the host is doing; the other methods are for the program. Only a host that failed before it came looks like
one that is late, and is waited for. Messages are lines of JSON.

Hosts on one machine need an address of their own each, and no more: the one fixed port is bound to the chair's address.
Source: the public XGBoost container (port 9099, a quarter of an hour for names to resolve).
"""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from clary_algorithms.container import AlgorithmError

PORT = 9099
#: How long a host's name may take to resolve, and the chair to listen.
ARRIVAL_TIMEOUT_S = 15 * 60.0
_CONNECT_TIMEOUT_S = 30.0
_RETRY_S = 0.1
_MESSAGE_MAX_BYTES = 1 << 16

#: The start of what is said about any host that went away.
LOST = "Lost the connection to another host of the training"

Message = dict[str, Any]
Resolve = Callable[[str], str]
_T = TypeVar("_T")


class Guest:
    """A host that is not the first: its connection to the chair, made by `arrive`."""

    def __init__(self, current_host: str, address: str, connection: socket.socket) -> None:
        self.address = address
        self._line = _Line(connection)
        self._inbox: SimpleQueue[Message | str] = SimpleQueue()
        self._finished = False
        self._line.say({"host": current_host})

    def attend(self) -> str | None:
        """Listen to the chair until it goes. Returns which host failed, None after a good end."""
        while (messages := self._line.hear()) is not None:
            for message in messages:
                if "lost" in message:
                    return _lose(self._inbox, message["lost"])
                self._inbox.put(message)
        return None if self._finished else _lose(self._inbox, f"the coordinating one at {self.address}")

    def answer(self, *, has_data: bool) -> Message:
        """Say whether this host has data, and wait until all have. Returns the chair's word to all."""
        self._line.say({"has_data": has_data})
        return _next(self._inbox)

    def done(self) -> None:
        """Leave in peace. A host that ends without it has failed."""
        self._finished = True
        self._line.say({"done": True})


class Chair:
    """The first host. `address` is its own."""

    def __init__(self, hosts: Sequence[str], address: str, listener: socket.socket) -> None:
        self.address = address
        self._hosts = hosts
        self._listener = listener
        self._inbox: SimpleQueue[Message | str] = SimpleQueue()
        self._guests: dict[str, _Line] = {}
        self._answers: dict[str, bool] = {}
        self._done: set[str] = set()

    def attend(self) -> str | None:
        """Listen to the guests until all are done: returns None. One that goes before is named, to the others too."""
        self._listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while len(self._done) < len(self._hosts) - 1:
                for key, _ in selector.select():
                    if key.data is None:
                        with contextlib.suppress(OSError):  # whoever knocked has left again
                            connection, _ = self._listener.accept()
                            selector.register(connection, selectors.EVENT_READ, _Line(connection))
                        continue
                    line: _Line = key.data
                    if self._hear(line):
                        continue
                    selector.unregister(key.fileobj)
                    line.close()
                    if line.host is not None and line.host not in self._done:
                        self.tell({"lost": line.host})
                        return _lose(self._inbox, line.host)
        self._inbox.put({})
        return None

    def gather(self, *, has_data: bool) -> tuple[str, ...]:
        """Wait for every host's answer and return those with data, in the order of hosts. Raises `AlgorithmError`."""
        answers = {**_next(self._inbox), self._hosts[0]: has_data}
        return tuple(host for host in self._hosts if answers[host])

    def tell(self, message: Message) -> None:
        """Send one message to every guest."""
        for guest in list(self._guests.values()):
            guest.say(message)

    def wait(self) -> None:
        """Wait until every guest is done. Raises `AlgorithmError` for one that failed."""
        _next(self._inbox)

    def _hear(self, line: "_Line") -> bool:
        """Take in what a guest says. False when it has nothing more to say, or is something else that knocks."""
        messages = line.hear()
        if messages is None:
            return False
        for message in messages:
            if line.host is None:
                host = message.get("host")
                if not isinstance(host, str) or host not in self._hosts[1:] or host in self._guests:
                    return False
                line.host = host
                self._guests[host] = line
            elif "has_data" in message:
                self._answers[line.host] = bool(message["has_data"])
                if len(self._answers) == len(self._hosts) - 1:
                    self._inbox.put(dict(self._answers))
            elif "done" in message:
                self._done.add(line.host)
        return line.host not in self._done


class _Line:
    """One end of a connection. The chair sets `host` when the guest has given its name."""

    def __init__(self, connection: socket.socket) -> None:
        self.host: str | None = None
        self._connection = connection
        self._rest = b""

    def say(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # whoever listens finds the other end gone
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def hear(self) -> list[Message] | None:
        """Wait for the next bytes and return the messages that they end. None when the other end went, or is none."""
        try:
            received = self._connection.recv(_MESSAGE_MAX_BYTES)
            *lines, self._rest = (self._rest + received).split(b"\n")
            messages = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None
        if not received or len(self._rest) > _MESSAGE_MAX_BYTES or any(type(each) is not dict for each in messages):
            return None
        return messages

    def close(self) -> None:
        self._connection.close()


def _lose(inbox: SimpleQueue[Message | str], host: str) -> str:
    """Wake the program if it waits for a message, and say what happened."""
    reason = f"{LOST}: {host} went away"
    inbox.put(reason)
    return reason


def _next(inbox: SimpleQueue[Message | str]) -> Message:
    message = inbox.get()
    if isinstance(message, str):
        raise AlgorithmError(message)
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
        lambda: socket.create_connection((address, PORT), timeout=_CONNECT_TIMEOUT_S),
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
