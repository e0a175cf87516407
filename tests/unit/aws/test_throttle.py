"""Token buckets: the long run, the burst, and clocks that jump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.aws.model import ServiceModel
from clary.aws.throttle import Throttle, TokenBucket, class_of
from clary.base.clock import Instant


def test_a_burst_passes_and_then_the_rate_counts():
    """Three at once, then one each half second."""
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.take(Instant(0)) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(Instant(at)) for at in (499, 500, 999, 1000)] == [False, True, False, True]


def test_rest_gives_no_more_than_the_burst():
    """An hour of silence does not let an hour of requests pass."""
    bucket = TokenBucket(rate=100, burst=3)
    bucket.take(Instant(0))
    assert [bucket.take(Instant(3_600_000)) for _ in range(4)] == [True, True, True, False]


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    steps=st.lists(st.integers(-5000, 5000), max_size=200),
)
def test_never_more_than_rate_and_burst_allow(rate, burst, steps):
    """Whatever the clock does: what passed is bounded by the burst and by the time that went forward."""
    bucket, now, forward, passed = TokenBucket(rate=rate, burst=burst), 10_000, 0, 0
    passed += bucket.take(Instant(now))
    for step in steps:
        now += step
        forward += max(0, step)
        passed += bucket.take(Instant(now))
    assert passed <= burst + forward / 1000 * rate + 1e-6 * len(steps)


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        ("CreateTrainingJob", "create"),
        ("DescribeTrainingJob", "read"),
        ("GetCallerIdentity", "read"),
        ("BatchGetMetrics", "read"),
        ("BatchPutMetrics", "write"),
        ("StopTrainingJob", "write"),
        ("AddTags", "write"),
        ("AssumeRole", "write"),
    ],
)
def test_classes_follow_the_verb(operation, named):
    """What makes, what reads, what changes."""
    assert class_of(operation) == named


def test_each_service_and_class_has_a_bucket_of_its_own():
    """Reading logs does not use up what creating jobs may."""
    throttle = Throttle({"create": 1, "read": 1}, burst=1)
    now = Instant(0)
    assert throttle.take("sagemaker", "CreateTrainingJob", now)
    assert not throttle.take("sagemaker", "CreateAlgorithm", now)
    assert throttle.take("sagemaker", "DescribeTrainingJob", now)
    assert throttle.take("logs", "GetLogEvents", now)
    assert not throttle.take("sagemaker", "ListTrainingJobs", now)


def test_a_class_without_a_rate_is_not_limited():
    """And without rates nothing is."""
    assert all(Throttle({"create": 1}, burst=1).take("sagemaker", "StopTrainingJob", Instant(0)) for _ in range(99))
    some = Throttle({}, burst=1)
    assert all(some.take("sagemaker", name, Instant(0)) for name in sorted(ServiceModel("sagemaker").operation_names()))
