"""Several hosts train one model: who takes part, and the library's channel between them.

Used by the training program. The first host runs the library's tracker, on a port of the kernel's choice (the tracker
cannot bind to one that an earlier job left in TIME_WAIT), even if it has no data itself; then it waits for the others.
Source: the public XGBoost container (hosts without data are left out, the first host with data saves the model).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clary_algorithms.container import AlgorithmError, CustomerError, log
from clary_algorithms.xgboost.library import RabitTracker, collective, xgboost
from clary_algorithms.xgboost.meeting import LOST, Chair, Guest

#: How long one host may wait for another within one step of the training.
STEP_TIMEOUT_S = 3600
#: Files of the library that an error between hosts comes through.
_COLLECTIVE_SOURCES = ("coll_c_api.cc", "allgather.cc", "allreduce.cc", "broadcast.cc", "comm.cc", "socket.h")


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The hosts that train, in order, and where their tracker listens (None when one host is enough)."""

    members: tuple[str, ...]
    tracker_address: str
    tracker_port: int | None


@contextlib.contextmanager
def join(meeting: Chair | Guest, current_host: str, *, has_data: bool) -> Iterator[Membership]:
    """Agree with the other hosts who trains; inside, the members are connected.

    The host with the chair stays until all others are done, even if it does not train. Raises `CustomerError` if no
    host has data, `AlgorithmError` if a host went away.
    """
    if isinstance(meeting, Chair):
        members = meeting.gather(has_data=has_data)
        port = _start_tracker(meeting.address, len(members)) if len(members) > 1 else None
        meeting.tell({"members": members, "tracker_port": port})
    else:
        reply = meeting.answer(has_data=has_data)
        members, port = tuple(reply["members"]), reply["tracker_port"]
    if not members:
        raise CustomerError("No hosts received training data.")
    membership = Membership(members=members, tracker_address=meeting.address, tracker_port=port)
    with _connected(membership, current_host):
        yield membership
    if isinstance(meeting, Chair):
        meeting.wait()
    else:
        meeting.done()


def _start_tracker(address: str, members: int) -> int:
    """Let the members connect to each other through this host, until its process ends. Returns the port."""
    tracker = RabitTracker(n_workers=members, host_ip=address, port=0, sortby="task")
    tracker.start()
    port = int(tracker.worker_args()["dmlc_tracker_port"])
    # Freed, it would wait for all members to take their leave, and one that failed never does.
    del tracker.handle
    return port


@contextlib.contextmanager
def _connected(membership: Membership, current_host: str) -> Iterator[None]:
    """The library's channel to the other members, if this host is one and there are others."""
    if current_host not in membership.members or membership.tracker_port is None:
        yield
        return
    context = collective.CommunicatorContext(
        dmlc_communicator="rabit",
        dmlc_tracker_uri=membership.tracker_address,
        dmlc_tracker_port=membership.tracker_port,
        dmlc_task_id=f"{membership.members.index(current_host):04d}",
        dmlc_timeout=STEP_TIMEOUT_S,
    )
    try:
        context.__enter__()
    except xgboost.core.XGBoostError as error:
        raise AlgorithmError(f"The hosts could not connect to each other:\n{_brief(error)}") from None
    yield
    # Left only after success: taking leave waits for all members, and a failed one has to end at once.
    try:
        context.__exit__(None, None, None)
    except xgboost.core.XGBoostError as error:
        raise AlgorithmError(f"{LOST}:\n{_brief(error)}") from None


def _brief(error: Exception) -> str:
    return str(error).partition("Stack trace:")[0].strip()


def add_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum over all members; the values themselves where one host trains."""
    return collective.allreduce(values, collective.Op.SUM) if collective.is_distributed() else values


def any_host(flag: bool) -> bool:
    """Whether the flag is up on any member."""
    return bool(add_up(np.array([float(flag)]))[0])


def is_lost_connection(message: str) -> bool:
    """Whether the library's error tells of another host that went away, and not of this one."""
    return any(place in message for place in _COLLECTIVE_SOURCES)


def announce(membership: Membership, current_host: str) -> None:
    """Say in the log who trains, and that this host does not if so."""
    if current_host not in membership.members:
        log(f"Host {current_host} not being used for distributed training.", "WARNING")
    else:
        log(f"Distributed training on hosts {', '.join(membership.members)}")
