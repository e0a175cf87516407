"""SageMaker's metrics service over the series of a job."""

import asyncio
import math

import pytest

from clary.aws.handlers import RequestContext
from clary.aws.sigv4 import Credential
from clary.base.clock import FixedClock
from clary.logs.metric_memory import MemoryMetricSeries
from clary.logs.metric_series import TRAINING_JOBS, Metric, point
from clary.service.batch_metrics import METRICS_MAX, VALUES_MAX, BatchMetrics
from clary.store.memory import MemoryStore
from factories import ACCOUNT_ID, REGION, make_job

MINUTE = 1_700_000_040
JOB_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:training-job/my-job"
COMPONENT_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:experiment-trial-component/my-job-aws-training-job"
CONTEXT = RequestContext(
    request_id="id",
    account_id=ACCOUNT_ID,
    region=REGION,
    caller=Credential(access_key_id="a", secret_access_key="s", account_id="0", principal_arn="p", user_id="u"),
)


class Scene:
    def __init__(self) -> None:
        self.series = MemoryMetricSeries()
        store = MemoryStore()
        asyncio.run(store.create(make_job("My-Job")))
        self.metrics = BatchMetrics(self.series, store=store, clock=FixedClock(MINUTE * 1000))

    def put(self, *data, component="my-job-aws-training-job"):
        params = {
            "TrialComponentName": component,
            "MetricData": [{"MetricName": "loss", "Timestamp": MINUTE + 0.5, "Value": 1.0} | each for each in data],
        }
        answer = asyncio.run(self.metrics.batch_put(CONTEXT, params))
        return [(each["MetricIndex"], each["Code"]) for each in answer.get("Errors", ())]

    def get(self, **changes):
        wanted = {
            "MetricName": "loss",
            "ResourceArn": JOB_ARN,
            "MetricStat": "Avg",
            "Period": "OneMinute",
            "XAxisType": "Timestamp",
        }
        answer = asyncio.run(self.metrics.batch_get(CONTEXT, {"MetricQueries": [wanted | changes]}))
        (found,) = answer["MetricQueryResults"]
        return found

    def values(self, **changes):
        found = self.get(**changes)
        assert found["Status"] == "Complete"
        return list(zip(found["XAxisValues"], found["MetricValues"], strict=True))


@pytest.fixture
def scene():
    return Scene()


def test_what_is_put_is_got(scene):
    """By time and by step, by the ARN of the job and of its trial component."""
    assert scene.put({"Value": 1.0, "Step": 1}, {"Value": 3.0, "Step": 2, "Timestamp": MINUTE + 70}) == []
    assert scene.put({"Value": 5.0, "Step": 2, "Timestamp": MINUTE + 80}) == []

    assert scene.values() == scene.values(ResourceArn=COMPONENT_ARN) == [(MINUTE, 1.0), (MINUTE + 60, 4.0)]
    steps = {"Period": "IterationNumber", "XAxisType": "IterationNumber"}
    assert scene.values(**steps) == [(1, 1.0), (2, 4.0)]
    assert scene.values(**steps, Start=2) == [(2, 4.0)]
    assert scene.values(**steps, End=2) == [(1, 1.0)]
    assert scene.values(Period="OneHour") == [(MINUTE - MINUTE % 3600, 3.0)]
    assert scene.values(Start=MINUTE + 60, End=MINUTE + 120) == [(MINUTE + 60, 4.0)]


def test_statistics(scene):
    """All six."""
    scene.put({"Value": 2.0}, {"Value": 8.0}, {"Value": 5.0})
    found = {stat: scene.values(MetricStat=stat)[0][1] for stat in ("Min", "Max", "Avg", "Count", "StdDev", "Last")}
    assert found == {
        "Min": 2.0,
        "Max": 8.0,
        "Avg": 5.0,
        "Count": 3.0,
        "StdDev": pytest.approx(math.sqrt(6.0)),
        "Last": 5.0,
    }


def test_the_job_s_own_metrics_are_there_too(scene):
    """What its definitions found in the log."""
    writer = scene.series.writer("My-Job", "algo-1")
    metric = Metric(namespace=TRAINING_JOBS, name="loss", dimensions=(("TrainingJobName", "My-Job"),))
    writer.append([(metric, point([7.0], second=MINUTE))], source_offset=1)
    writer.close()
    scene.put({"Value": 1.0})

    assert scene.values() == [(MINUTE, 4.0)]


@pytest.mark.parametrize("component", ["my-job", "other-aws-training-job", "aws-training-job", "-aws-training-job"])
def test_a_component_that_no_job_has_takes_nothing(scene, component):
    """Each item is an error."""
    assert scene.put({}, {}, component=component) == [(0, "VALIDATION_ERROR"), (1, "VALIDATION_ERROR")]
    assert scene.series.owners() == []


def test_errors_are_of_single_items(scene):
    """The others are kept."""
    assert scene.put({"Value": 1e300}, {"Value": 2.0}) == [(0, "VALIDATION_ERROR")]
    assert scene.values(MetricStat="Count") == [(MINUTE, 1.0)]


def test_one_job_has_so_many_metrics_at_most(scene):
    """One more name is an error; a known one is not."""
    for number in range(0, METRICS_MAX, 10):
        assert scene.put(*({"MetricName": f"m{each}"} for each in range(number, number + 10))) == []
    assert scene.put({"MetricName": "one more"}, {"MetricName": "m0"}) == [(0, "METRIC_LIMIT_EXCEEDED")]


def test_somebody_else_writes(scene):
    """The caller is told to come again."""
    scene.series.writer("My-Job", "put")
    assert scene.put({}) == [(0, "CONFLICT_ERROR")]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ResourceArn": JOB_ARN + "x"}, "does not exist"),
        ({"ResourceArn": JOB_ARN.replace("training-job", "endpoint")}, "does not exist"),
        ({"ResourceArn": JOB_ARN.replace(REGION, "eu-west-1")}, "another account or region"),
        ({"Period": "IterationNumber"}, "x-axis"),
        ({"XAxisType": "IterationNumber"}, "x-axis"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(scene, changes, text):
    """In its own result."""
    found = scene.get(**changes)
    assert (found["Status"], found["XAxisValues"], found["MetricValues"]) == ("ValidationError", [], [])
    assert text in found["Message"]


def test_a_metric_that_nobody_logged_is_empty(scene):
    """That is no error."""
    assert scene.values(MetricName="none") == []


def test_a_long_answer_is_truncated(scene):
    """And says so."""
    writer = scene.series.writer("My-Job", "algo-1")
    metric = Metric(namespace=TRAINING_JOBS, name="loss", dimensions=(("TrainingJobName", "My-Job"),))
    points = [(metric, point([1.0], second=MINUTE + 60 * number)) for number in range(VALUES_MAX + 1)]
    writer.append(points, source_offset=1)
    writer.close()

    found = scene.get()
    assert (found["Status"], len(found["XAxisValues"])) == ("Truncated", VALUES_MAX)
