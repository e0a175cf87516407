"""A job moves as the table says and in no other way: single steps, and random walks of events."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.jobs import transitions
from clary.jobs.failure import internal_error
from clary.jobs.model import MetricData, TrainingJob
from clary.jobs.status import MESSAGES, STATUS_OF, TERMINAL, TRANSITIONS, Event, SecondaryStatus
from clary.jobs.transitions import IllegalTransition
from factories import NOW, STEPS, make_job, make_program, make_request

_walks = st.lists(st.tuples(st.sampled_from(Event), st.integers(-50, 5_000)), max_size=25)
"""Events, and how many milliseconds each happened after the one before: hosts' clocks differ, so some are negative."""


def _new():
    return transitions.create(make_request("job"), training_job_arn="arn", program=make_program(), now=NOW)


def _apply(job, event, at):
    failure = internal_error("broken") if event is Event.FAILED else None
    return transitions.apply(job, event, at=at, reason=event.value, failure=failure)


def _follow(walk, job=None):
    """The jobs that come about, the new one first, and the events with their times that were legal."""
    jobs, legal, at = [job or _new()], [], NOW
    for event, passed_ms in walk:
        at += passed_ms
        try:
            jobs.append(_apply(jobs[-1], event, at))
            legal.append((event, at))
        except IllegalTransition:
            pass
    return jobs, legal


def test_a_new_job_is_starting_since_its_creation():
    """With nothing else decided: no attempt, no end, no times of training."""
    job = _new()
    assert job.secondary_status is SecondaryStatus.STARTING
    (first,) = job.secondary_status_transitions
    assert (first.start_time, first.end_time, first.status_message) == (NOW, None, MESSAGES[SecondaryStatus.STARTING])
    assert (job.creation_time, job.last_modified_time, job.attempt, job.version) == (NOW, NOW, 0, 0)
    assert (job.training_start_time, job.training_end_time, job.failure, job.released) == (None, None, None, False)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("status", STEPS)
def test_an_event_leads_where_the_table_says_or_nowhere(status, event):
    """Every pair of status and event."""
    job = make_job(status=status)
    target = TRANSITIONS[SecondaryStatus(status)].get(event)
    if target is None:
        before = msgspec.json.encode(job)
        with pytest.raises(IllegalTransition, match=f"job: {event} while {status}"):
            _apply(job, event, NOW + 99_000)
        assert msgspec.json.encode(job) == before
    else:
        moved = _apply(job, event, NOW + 99_000)
        assert moved.secondary_status is target
        assert moved.training_job_status is STATUS_OF[target]
        assert moved.secondary_status_transitions[-1].reason == event.value


@given(_walks)
def test_a_job_that_has_ended_never_moves_again(walk):
    """Whatever still comes in."""
    jobs, _ = _follow(walk)
    for number, job in enumerate(jobs):
        assert job.is_terminal == (job.secondary_status in TERMINAL)
        if job.is_terminal:
            assert number == len(jobs) - 1


@given(_walks)
def test_each_stay_ends_at_the_millisecond_at_which_the_next_begins(walk):
    """No gap and no overlap, and time does not run backward though clocks do."""
    for job in _follow(walk)[0]:
        stays = job.secondary_status_transitions
        assert stays[0].start_time == job.creation_time
        for stay, following in itertools.pairwise(stays):
            assert stay.end_time == following.start_time
            assert stay.start_time <= stay.end_time
        assert stays[-1].end_time == (stays[-1].start_time if job.is_terminal else None)


@given(_walks)
def test_the_history_only_grows(walk):
    """What was told once is told again: only the last stay gets its end."""
    jobs, _ = _follow(walk)
    for earlier, later in itertools.pairwise(jobs):
        told = earlier.secondary_status_transitions
        kept = later.secondary_status_transitions[: len(told)]
        assert kept[:-1] == told[:-1]
        assert msgspec.structs.replace(kept[-1], end_time=None) == told[-1]
        assert later.last_modified_time >= earlier.last_modified_time


@given(_walks)
def test_the_times_of_training_fit_the_history(walk):
    """TrainingStartTime is set once, when the instances are ready, or with the end; TrainingEndTime with the end."""
    jobs, _legal = _follow(walk)
    for job in jobs:
        assert (job.training_end_time is not None) == job.is_terminal
        if job.is_terminal:
            assert job.training_start_time is not None
            assert job.creation_time <= job.training_start_time <= job.training_end_time <= job.last_modified_time
            assert (job.failure is not None) == (job.secondary_status is SecondaryStatus.FAILED)
        else:
            assert job.failure is None
    started = {job.training_start_time for job in jobs} - {None}
    assert len(started) <= 1
    downloads = [
        stay.start_time for stay in jobs[-1].secondary_status_transitions if stay.status is SecondaryStatus.DOWNLOADING
    ]
    if downloads:
        assert started == {downloads[0]}


@given(_walks)
def test_the_same_events_give_the_same_job(walk):
    """Replayed from the start, replayed from any point of the way, and through the database's form."""
    jobs, legal = _follow(walk)
    assert _follow(walk)[0] == jobs
    for point, job in enumerate(jobs):
        resumed = msgspec.json.decode(msgspec.json.encode(job), type=TrainingJob)
        for event, at in legal[point:]:
            resumed = _apply(resumed, event, at)
        assert resumed == jobs[-1]


@pytest.mark.parametrize("event", [Event.FAILED, Event.STOP])
def test_a_failure_comes_with_the_event_failed_and_only_with_it(event):
    """A job that failed says why; one that did not fail says nothing."""
    with pytest.raises(ValueError, match="a failure comes with"):
        transitions.apply(
            _new(), event, at=NOW, reason="x", failure=None if event is Event.FAILED else internal_error()
        )


def test_only_the_latest_message_of_a_stay_is_kept():
    """Saying the same again changes nothing, so that nothing need be written."""
    job = transitions.say(make_job(status="Training"), "epoch 1")
    job = transitions.say(job, "epoch 2")
    assert [stay.status_message for stay in job.secondary_status_transitions][-1] == "epoch 2"
    assert len(job.secondary_status_transitions) == 3
    assert transitions.say(job, "epoch 2") is job


def test_a_launch_begins_another_attempt_and_leaves_the_status():
    """Its instances may exist from now on, under names that carry the attempt."""
    job = transitions.launch(make_job(), message="Launching")
    assert (job.attempt, job.secondary_status) == (1, SecondaryStatus.STARTING)
    assert job.secondary_status_transitions[-1].status_message == "Launching"


def test_metrics_that_have_not_changed_are_no_change():
    """The same job comes back, so that nothing need be written."""
    metrics = (MetricData(metric_name="loss", value=0.5, timestamp=NOW),)
    job = transitions.observe_metrics(make_job(), metrics)
    assert job.final_metric_data_list == metrics
    assert transitions.observe_metrics(job, tuple(metrics)) is job


def test_a_job_is_never_touched_into_the_past():
    """LastModifiedTime does not lie before the last transition."""
    job = make_job(status="Training")
    assert transitions.touch(job, NOW).last_modified_time == job.last_modified_time
    assert transitions.touch(job, NOW + 99_000).last_modified_time == NOW + 99_000


def test_artifacts_and_release_change_nothing_else():
    """One field each."""
    job = make_job(status="Completed")
    assert transitions.keep_artifacts(job, "s3://b/k") == msgspec.structs.replace(job, s3_model_artifacts="s3://b/k")
    assert transitions.release(job) == msgspec.structs.replace(job, released=True)
