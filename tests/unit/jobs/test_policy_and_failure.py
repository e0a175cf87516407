"""Restarts, the time that is left, and the text of a failure."""

import msgspec
import pytest

from clary.jobs.failure import (
    FAILURE_REASON_MAX,
    FailureKind,
    JobFailed,
    JobFailure,
    client_error,
    internal_error,
    program_failure,
)
from clary.jobs.model import RetryStrategy
from clary.jobs.policy import RESTARTS_AFTER_LOSS, may_restart_after_loss, may_retry, remaining_runtime_s
from factories import NOW, make_job, make_request


def _job(*, attempt, retries=None, **changes):
    strategy = None if retries is None else RetryStrategy(maximum_retry_attempts=retries)
    return make_job(request=make_request(retry_strategy=strategy), attempt=attempt, **changes)


@pytest.mark.parametrize(("retries", "attempts"), [(None, 1), (1, 2), (3, 4)])
def test_a_job_is_tried_again_as_often_as_its_caller_allowed(retries, attempts):
    """The first attempt is no retry."""
    assert [may_retry(_job(attempt=n, retries=retries)) for n in (attempts - 1, attempts)][-1] is False
    assert all(may_retry(_job(attempt=n, retries=retries)) for n in range(1, attempts))


@pytest.mark.parametrize(("retries", "attempts"), [(None, 1 + RESTARTS_AFTER_LOSS), (1, 3), (5, 6)])
def test_a_job_whose_program_vanished_starts_again_of_our_own_accord(retries, attempts):
    """At least RESTARTS_AFTER_LOSS times, and as often as its caller allowed."""
    assert all(may_restart_after_loss(_job(attempt=n, retries=retries)) for n in range(1, attempts))
    assert not may_restart_after_loss(_job(attempt=attempts, retries=retries))


def test_a_job_that_is_stopping_never_starts_again():
    """Its caller wanted an end."""
    assert not may_restart_after_loss(make_job(status="Stopping"))


def test_the_time_that_is_left_is_counted_from_the_first_start():
    """All attempts share it, and one that is launched has at least a second."""
    request = make_request(max_runtime_in_seconds=100)
    job = make_job(status="Training", request=request)
    started = job.training_start_time
    assert remaining_runtime_s(make_job(request=request), NOW + 999_000) == 100
    assert remaining_runtime_s(job, started) == 100
    assert remaining_runtime_s(job, started + 40_999) == 60
    assert remaining_runtime_s(job, started + 500_000) == 1


def test_the_reason_begins_with_whose_fault_it_is():
    """Clients look for these words."""
    assert client_error("no such bucket").reason == "ClientError: no such bucket"
    assert program_failure("boom", 3).reason == "AlgorithmError: boom, exit code: 3"
    assert internal_error().reason.startswith("InternalServerError: ")


@pytest.mark.parametrize("failure", [program_failure("é" * 5000, 137), client_error("x" * 5000)])
def test_a_long_reason_keeps_its_kind_and_its_exit_code(failure):
    """At most 1,024 characters, as the API model has it."""
    assert len(failure.reason) == FAILURE_REASON_MAX
    assert failure.reason.startswith(f"{failure.kind}: ")
    assert failure.exit_code is None or failure.reason.endswith(", exit code: 137")


def test_only_a_failure_of_the_platform_may_be_retried():
    """Source: API model, RetryStrategy."""
    retried = {kind for kind in FailureKind if JobFailure(kind=kind, message="").may_be_retried}
    assert retried == {FailureKind.INTERNAL_SERVER_ERROR}


def test_a_failure_can_be_raised_and_is_told_in_one_line():
    """Its text is the reason."""
    failure = client_error("no")
    assert str(JobFailed(failure)) == failure.reason
    assert JobFailed(failure).failure is failure


def test_hosts_are_numbered_from_one():
    """algo-1 first, which leads."""
    job = make_job(request=make_request(instance_count=3))
    assert job.hosts == ("algo-1", "algo-2", "algo-3")
    assert msgspec.structs.replace(job, request=make_request()).hosts == ("algo-1",)
