"""The row of steps of a job, against the tables that it is drawn from."""

from itertools import pairwise

import pytest

from clary.base.clock import Instant
from clary.console.contexts import Stay
from clary.console.steps import expected_after, steps
from clary.jobs.status import TERMINAL, TRANSITIONS, SecondaryStatus

USUAL = ["Starting", "Downloading", "Training", "Uploading", "Completed"]


def stays(*statuses):
    return [
        Stay(status=status, start_time=Instant(n), end_time=Instant(n + 1), duration_s=0.001, message="")
        for n, status in enumerate(statuses)
    ]


def drawn(*statuses):
    return [(step.status, step.state) for step in steps(stays(*statuses))]


def test_a_job_that_goes_its_way_has_five_steps():
    """What is over, where it is, what is to come."""
    assert drawn("Starting", "Downloading", "Training") == [
        ("Starting", "done"),
        ("Downloading", "done"),
        ("Training", "current"),
        ("Uploading", "ahead"),
        ("Completed", "ahead"),
    ]
    assert drawn(*USUAL)[-1] == ("Completed", "completed")
    assert len(drawn(*USUAL)) == 5


@pytest.mark.parametrize(
    ("way", "ending"),
    [
        (("Starting", "Failed"), [("Starting", "done"), ("Failed", "failed")]),
        (("Starting", "Stopping"), [("Starting", "done"), ("Stopping", "current"), ("Stopped", "ahead")]),
        (("Training", "Stopping", "Stopped"), [("Training", "done"), ("Stopping", "done"), ("Stopped", "stopped")]),
        (("Training", "Stopping", "MaxRuntimeExceeded"), [("Training", "done"), ("Stopping", "done"), ("MaxRuntimeExceeded", "stopped")]),
    ],
)  # fmt: skip
def test_a_job_that_ends_otherwise_has_its_own_steps(way, ending):
    assert drawn(*way) == ending


def test_a_job_that_was_started_again_begins_anew():
    """What came before is in the history, not in the row."""
    assert drawn("Starting", "Downloading", "Training", "Starting", "Downloading") == [
        ("Starting", "done"),
        ("Downloading", "current"),
        ("Training", "ahead"),
        ("Uploading", "ahead"),
        ("Completed", "ahead"),
    ]


@pytest.mark.parametrize("status", TRANSITIONS)
def test_from_every_status_the_table_leads_to_an_end(status):
    """By moves that the table has."""
    way = [status, *expected_after(status)]
    assert way[-1] in TERMINAL
    assert all(after in TRANSITIONS[before].values() for before, after in pairwise(way))
    assert expected_after(SecondaryStatus.STARTING)[-1] == "Completed"


def test_steps_have_their_times():
    """But for those that are to come."""
    first, *_, last = steps(stays("Starting", "Downloading"))
    assert (first.start_time, first.duration_s) == (0, 0.001)
    assert (last.start_time, last.duration_s) == (None, None)
