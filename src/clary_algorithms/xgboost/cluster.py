"""Several hosts train one model: who has data, who coordinates, and the library's channel between them.

Used by the training program. The first host is the coordinator. It listens on its own address on a port that all know,
before it reads its data; each host connects when it has read its own and says whether it has any; when all have, the
coordinator starts the library's tracker on a port of the kernel's choice and tells them all. So no two jobs on one
machine need one address, a slow reader keeps nobody from connecting, and a port that a finished job left behind in
TIME_WAIT hinders nothing (the tracker cannot bind to one).

Sources: the public XGBoost container (port 9099, hosts without data are left out, the first host with data saves).
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clary_algorithms.container import AlgorithmError, CustomerError, log
from clary_algorithms.xgboost.library import RabitTracker, collective, xgboost

PORT = 9099
#: How long a host's name may take to resolve, and the coordinator to listen. Source: the public container's DNS wait.
MEETING_TIMEOUT_S = 15 * 60.0
#: How long one host may wait for another within one step of the training.
STEP_TIMEOUT_S = 3600
_RETRY_S = 0.1
_MESSAGE_MAX_BYTES = 1 << 16
#: Files of the library that an error between hosts comes through.
_COLLECTIVE_SOURCES = ("coll_c_api.cc", "allgather.cc", "allreduce.cc", "broadcast.cc", "comm.cc", "socket.h")

Resolve = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The hosts that train, in order, and where their tracker listens (None when one host is enough)."""

    members: tuple[str, ...]
    tracker_address: str
    tracker_port: int | None


def listen(hosts: Sequence[str], current_host: str, resolve: Resolve) -> socket.socket | None:
    """On the coordinator, take the port of the meeting; None elsewhere. Raises `AlgorithmError`."""
    if current_host != hosts[0]:
        return None
    address = _resolve(current_host, resolve)
    try:
        return socket.create_server((address, PORT), backlog=len(hosts))
    except OSError as error:
        raise AlgorithmError(f"{current_host} cannot listen on {address}:{PORT}: {error}") from None


@contextlib.contextmanager
def join(
    hosts: Sequence[str],
    current_host: str,
    *,
    has_data: bool,
    listener: socket.socket | None,
    resolve: Resolve,
) -> Iterator[Membership]:
    """Meet the other hosts; inside, the members are connected. Raises `CustomerError` if no host has data.

    The host that coordinates stays inside `join` until the members are done, even if it is none of them.
    """
    tracker: RabitTracker | None = None
    if listener is None:
        membership = _attend(_resolve(hosts[0], resolve), current_host, has_data=has_data)
    else:
        membership, tracker = _preside(listener, hosts, current_host, has_data=has_data)
    if not membership.members:
        raise CustomerError("No hosts received training data.")
    try:
        with _connected(membership, current_host):
            yield membership
    except BaseException:
        if tracker is not None:
            # Freed, it would wait for members that have failed or will; the end of this process ends it for them.
            del tracker.handle
        raise
    if tracker is not None:
        tracker.wait_for()


@contextlib.contextmanager
def _connected(membership: Membership, current_host: str) -> Iterator[None]:
    """The library's channel to the other members, if this host is one and there are others."""
    if current_host not in membership.members or membership.tracker_port is None:
        yield
    else:
        context = collective.CommunicatorContext(
            dmlc_communicator="rabit",
            dmlc_tracker_uri=membership.tracker_address,
            dmlc_tracker_port=membership.tracker_port,
            dmlc_task_id=f"{membership.members.index(current_host):04d}",
            dmlc_timeout=STEP_TIMEOUT_S,
        )
        # Left only after success: taking leave waits for all members, and a failed one has to end at once.
        try:
            context.__enter__()
        except xgboost.core.XGBoostError as error:
            reason = str(error).partition("Stack trace:")[0].strip()
            raise AlgorithmError(f"The hosts could not connect to each other:\n{reason}") from None
        yield
        context.__exit__(None, None, None)


def add_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum over all members; the values themselves where one host trains."""
    return collective.allreduce(values, collective.Op.SUM) if collective.is_distributed() else values


def is_lost_connection(message: str) -> bool:
    """Whether the library's error tells of another host that went away, and not of this one."""
    return any(place in message for place in _COLLECTIVE_SOURCES)


def any_host(flag: bool) -> bool:
    """Whether the flag is up on any member."""
    return bool(add_up(np.array([float(flag)]))[0])


def _preside(
    listener: socket.socket, hosts: Sequence[str], current_host: str, *, has_data: bool
) -> tuple[Membership, RabitTracker | None]:
    answers = {current_host: has_data}
    callers: list[socket.socket] = []
    address = listener.getsockname()[0]
    with listener, contextlib.ExitStack() as stack:
        while len(answers) < len(hosts):
            caller, _ = listener.accept()
            stack.callback(caller.close)
            hello = _receive(caller)
            if hello and hello.get("host") in hosts:  # anything else that knocks is none of ours
                answers[hello["host"]] = bool(hello.get("has_data"))
                callers.append(caller)
        members = tuple(host for host in hosts if answers[host])
        tracker = None
        if len(members) > 1:
            tracker = RabitTracker(n_workers=len(members), host_ip=address, port=0, sortby="task")
            tracker.start()
        port = int(tracker.worker_args()["dmlc_tracker_port"]) if tracker else None
        for caller in callers:
            with contextlib.suppress(OSError):  # a host that died since: the tracker will miss it, the platform knows
                caller.sendall(json.dumps({"members": members, "port": port}).encode() + b"\n")
    return Membership(members=members, tracker_address=address, tracker_port=port), tracker


def _attend(address: str, current_host: str, *, has_data: bool) -> Membership:
    with _connect(address) as connection:
        # Others may read their data for hours; a coordinator that dies ends the connection.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            connection.sendall(json.dumps({"host": current_host, "has_data": has_data}).encode() + b"\n")
            answer = _receive(connection)
        except OSError:
            answer = None
    if answer is None:
        raise AlgorithmError(f"The coordinating host at {address} went away before training began")
    return Membership(members=tuple(answer["members"]), tracker_address=address, tracker_port=answer["port"])


def _connect(address: str) -> socket.socket:
    deadline = time.monotonic() + MEETING_TIMEOUT_S
    while True:
        try:
            connection = socket.create_connection((address, PORT), timeout=30)
        except OSError as error:
            if time.monotonic() > deadline:
                raise AlgorithmError(f"The coordinating host at {address}:{PORT} does not answer: {error}") from None
            time.sleep(_RETRY_S)
        else:
            connection.settimeout(None)
            return connection


def _resolve(host: str, resolve: Resolve) -> str:
    deadline = time.monotonic() + MEETING_TIMEOUT_S
    while True:
        try:
            return resolve(host)
        except OSError as error:
            if time.monotonic() > deadline:
                raise AlgorithmError(f"The name {host} does not resolve: {error}") from None
            time.sleep(_RETRY_S)


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """One line of JSON; None when the other end closed first or sent something else."""
    with connection.makefile("rb") as stream:
        line = stream.readline(_MESSAGE_MAX_BYTES)
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if type(message) is dict else None


def announce(membership: Membership, current_host: str) -> None:
    """Say in the log who trains, and that this host does not if so."""
    if current_host not in membership.members:
        log(f"Host {current_host} not being used for distributed training.", "WARNING")
    else:
        log(f"Distributed training on hosts {', '.join(membership.members)}")
