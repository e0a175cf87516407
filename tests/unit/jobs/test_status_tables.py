"""The tables of the state machine are total, and agree with SageMaker's words."""

import botocore.session
import pytest

from clary.jobs.status import MESSAGES, STATUS_OF, TERMINAL, TRANSITIONS, Event, SecondaryStatus, TrainingJobStatus


@pytest.fixture(scope="module")
def sagemaker():
    return botocore.session.Session().get_service_model("sagemaker")


@pytest.mark.parametrize("table", [STATUS_OF, TRANSITIONS, MESSAGES])
def test_every_secondary_status_stands_in_every_table(table):
    """No status is forgotten, and none is there twice under another name."""
    assert set(table) == set(SecondaryStatus)


def test_every_status_is_a_word_of_the_api_model(sagemaker):
    """Clients compare these texts."""
    assert {status.value for status in SecondaryStatus} <= set(sagemaker.shape_for("SecondaryStatus").enum)
    assert {status.value for status in TrainingJobStatus} <= set(sagemaker.shape_for("TrainingJobStatus").enum)


def test_a_primary_status_is_final_exactly_where_the_secondary_one_is():
    """Waiters look at the one, the SDK's log reader at the other."""
    final = {TrainingJobStatus.COMPLETED, TrainingJobStatus.FAILED, TrainingJobStatus.STOPPED}
    assert {status for status in SecondaryStatus if STATUS_OF[status] in final} == TERMINAL


def test_every_status_can_be_reached_and_left_for_an_end():
    """From Starting every status is within reach, and from every status an end is."""

    def reach(start):
        found, open_ = {start}, [start]
        while open_:
            for target in TRANSITIONS[open_.pop()].values():
                if target not in found:
                    found.add(target)
                    open_.append(target)
        return found

    assert reach(SecondaryStatus.STARTING) == set(SecondaryStatus)
    assert all(reach(status) & TERMINAL for status in SecondaryStatus)


def test_every_event_leads_somewhere():
    """An event that no status knows would be a word without meaning."""
    assert {event for moves in TRANSITIONS.values() for event in moves} == set(Event)


def test_every_job_that_has_not_ended_can_fail():
    """Trouble asks no leave."""
    assert all(moves.get(Event.FAILED) is SecondaryStatus.FAILED for moves in TRANSITIONS.values() if moves)


def test_a_job_can_be_stopped_until_it_is_stopping_or_has_ended():
    """And a job that is stopping never starts again."""
    stoppable = {status for status, moves in TRANSITIONS.items() if Event.STOP in moves}
    assert stoppable == set(SecondaryStatus) - TERMINAL - {SecondaryStatus.STOPPING}
    assert Event.RESTART not in TRANSITIONS[SecondaryStatus.STOPPING]


def test_each_message_differs_from_those_of_the_statuses_around_it():
    """Clients detect progress by comparing messages."""
    for status, moves in TRANSITIONS.items():
        for target in moves.values():
            assert target is status or MESSAGES[target] != MESSAGES[status]
