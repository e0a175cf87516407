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
from clary_algorithms.xgboost.meeting import Chair, Guest

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

    The host with the chair stays until the members are done, even if it is none of them. Raises `CustomerError` if no
    host has data, `AlgorithmError` if a host went away.
    """
    if isinstance(meeting, Chair):
        with _presiding(meeting, has_data=has_data) as membership, _connected(membership, current_host):
            yield membership
        return
    reply = meeting.answer(has_data=has_data)
    membership = Membership(
        members=_some(reply["members"]), tracker_address=meeting.address, tracker_port=reply["tracker_port"]
    )
    with _connected(membership, current_host):
        yield membership
    meeting.done()


@contextlib.contextmanager
def _presiding(chair: Chair, *, has_data: bool) -> Iterator[Membership]:
    members = chair.gather(has_data=has_data)
    tracker = None
    if len(members) > 1:
        tracker = RabitTracker(n_workers=len(members), host_ip=chair.address, port=0, sortby="task")
        tracker.start()
    port = int(tracker.worker_args()["dmlc_tracker_port"]) if tracker else None
    chair.tell({"members": members, "tracker_port": port})
    try:
        yield Membership(members=_some(members), tracker_address=chair.address, tracker_port=port)
        chair.wait_for(members)
    except BaseException:
        if tracker is not None:
            # Freed, it would wait for members that have failed or will; the end of this process ends it for them.
            del tracker.handle
        raise
    if tracker is not None:
        tracker.wait_for()


def _some(members: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    if not members:
        raise CustomerError("No hosts received training data.")
    return tuple(members)


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
