"""When an instance stops, kills, uploads, gives up. All pure."""

from clary.base.clock import Instant
from clary.instance.decisions import (
    failed_by_itself,
    is_hopeless,
    keeps_empty_model,
    kill_due,
    may_start,
    may_upload,
    stop_due,
    try_again_s,
    uploads,
    watch_again_s,
)
from clary.instance.state import AgentStarted, Ended, Failed, Ready, State, Stopping, after
from clary.jobs.failure import internal_error
from clary.jobs.task import StopReason, Wishes
from unit.instance.scenes import make_task

T = Instant(1_000_000)
STOP = StopReason.STOP_TRAINING_JOB
NONE = Wishes()


def fold(*entries):
    state = State()
    for entry in entries:
        state = after(state, entry)
    return state


def due(state, wishes=NONE, now=T):
    return stop_due(state, wishes, now=now, max_runtime_s=10)


def test_a_wish_or_the_time_limit_stops_an_instance():
    """The limit counts from ready_at, to the millisecond; a wish comes before it."""
    ready = fold(Ready(at=T))

    assert due(State(), Wishes(stop=STOP)) is STOP
    assert due(ready, now=Instant(T + 9_999)) is None
    assert due(ready, now=Instant(T + 10_000)) is StopReason.MAX_RUNTIME_EXCEEDED
    assert due(ready, Wishes(stop=STOP), now=Instant(T + 10_000)) is STOP


def test_what_is_stopping_or_has_ended_is_not_stopped_again():
    """The first reason stands, and an end is an end."""
    stopping = fold(Ready(at=T), Stopping(at=T, reason=STOP))
    ended = fold(Ready(at=T), Ended(at=T, exit_code=0))

    assert due(stopping, Wishes(stop=StopReason.PEER_ENDED)) is None
    assert due(ended, Wishes(stop=STOP), now=Instant(T + 20_000)) is None


def test_the_kill_comes_a_grace_after_the_stored_stop():
    """120 seconds from when stopping began, whoever asks."""
    stopping = fold(Stopping(at=T, reason=STOP))

    assert not kill_due(State(), now=Instant(T + 10**9), grace_s=120)
    assert not kill_due(stopping, now=Instant(T + 119_999), grace_s=120)
    assert kill_due(stopping, now=Instant(T + 120_000), grace_s=120)


def test_only_a_leader_whose_program_ended_uploads():
    """Not a follower, not an instance that failed or lost its program, not one that never started it."""
    leader, follower = make_task(), make_task(host="algo-2", hosts=("algo-1", "algo-2"))
    ended = fold(Ended(at=T, exit_code=1))

    assert uploads(ended, leader)
    assert not uploads(ended, follower)
    assert not uploads(fold(Ended(at=T)), leader)
    assert not uploads(fold(Ended(at=T, lost=True)), leader)
    assert not uploads(fold(Ended(at=T, exit_code=0), Failed(at=T, failure=internal_error())), leader)


def test_a_host_of_several_starts_at_the_word():
    """Alone it may start at once."""
    assert may_start(Wishes(), make_task())
    assert not may_start(Wishes(upload=True), make_task(hosts=("algo-1", "algo-2")))
    assert may_start(Wishes(start=True), make_task(hosts=("algo-1", "algo-2")))


def test_a_leader_of_several_waits_for_the_word():
    """Alone it may upload at once."""
    assert may_upload(Wishes(), make_task())
    assert not may_upload(Wishes(), make_task(hosts=("algo-1", "algo-2")))
    assert may_upload(Wishes(upload=True), make_task(hosts=("algo-1", "algo-2")))


def test_an_empty_model_is_kept_unless_the_program_failed_by_itself():
    """Exit 0 and being stopped keep it."""
    failed = fold(Ended(at=T, exit_code=1))
    stopped = fold(Stopping(at=T, reason=STOP), Ended(at=T, exit_code=143))

    assert keeps_empty_model(fold(Ended(at=T, exit_code=0)))
    assert keeps_empty_model(stopped)
    assert not keeps_empty_model(failed)
    assert failed_by_itself(failed)
    assert not failed_by_itself(stopped)


def test_the_sixth_start_in_vain_is_the_last():
    """Five instance programs may die before anything is noted; an entry makes the count begin again."""
    starts = [AgentStarted(at=T)] * 5

    assert not is_hopeless(fold(*starts))
    assert is_hopeless(fold(*starts, AgentStarted(at=T)))
    assert not is_hopeless(fold(*starts, Ready(at=T), AgentStarted(at=T)))


def test_pauses_stay_within_their_bounds():
    """Looks come every 10 to 250 ms, tries every half to fifteen seconds."""
    assert [watch_again_s(s) for s in (0, 1, 100)] == [0.01, 0.1, 0.25]
    assert [try_again_s(n) for n in (1, 2, 50)] == [0.5, 1.0, 15.0]
