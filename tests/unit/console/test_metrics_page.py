"""The metrics of a training job as curves."""

import pytest

from clary.console.metrics_page import POINTS, period_of
from clary.jobs.model import AlgorithmSpecification, MetricDefinition
from clary.logs.metric_series import TRAINING_JOBS, Metric, point
from clary.service.metric_windows import is_period
from console_house import House
from factories import NOW, make_job, make_request

SECOND = NOW // 1000


@pytest.fixture
def house():
    house = House().sign_in()
    house.keep(make_job("a", request=request("a"), status="Training"))
    house.clock.advance(300)
    return house


def request(name, instance_count=2):
    return make_request(
        name,
        instance_count=instance_count,
        algorithm_specification=AlgorithmSpecification(
            training_image="clary/python",
            training_input_mode="File",
            metric_definitions=tuple(
                MetricDefinition(name=metric, regex=f"{metric}=(.*)") for metric in ("loss", "accuracy", "never")
            ),
        ),
    )


def measure(house, job, metric, dimension, *values, every_s=1):
    writer = house.series.writer(job, f"{metric}-{dimension[1]}".replace("/", "-"))
    points = [
        (
            Metric(namespace=TRAINING_JOBS, name=metric, dimensions=(dimension,)),
            point([value], second=SECOND + n * every_s, unit="None"),
        )
        for n, value in enumerate(values)
    ]
    writer.append(points, source_offset=1)
    writer.close()


def test_each_metric_with_values_has_a_chart(house):
    """The definitions' in their order, then the instances' with a curve for each host; without values there is none."""
    measure(house, "a", "accuracy", ("TrainingJobName", "a"), 0.1, 0.2)
    measure(house, "a", "loss", ("TrainingJobName", "a"), 3.0, 2.0, 1.0)
    for host, value in (("algo-1", 50.0), ("algo-2", 70.0)):
        measure(house, "a", "CPUUtilization", ("Host", f"a/{host}"), value, value, every_s=60)
    page = house.json("/jobs/a/metrics")

    assert [(chart["name"], chart["kind"], chart["unit"]) for chart in page["charts"]] == [
        ("loss", "training", "None"),
        ("accuracy", "training", "None"),
        ("CPUUtilization", "instance", "Percent"),
    ]
    loss, _, cpu = page["charts"]
    assert loss["series"] == [{"label": "loss", "times": [NOW, NOW + 1000, NOW + 2000], "values": [3.0, 2.0, 1.0]}]
    assert [(series["label"], series["values"]) for series in cpu["series"]] == [
        ("algo-1", [50.0, 50.0]),
        ("algo-2", [70.0, 70.0]),
    ]
    assert len({chart["id"] for chart in page["charts"]}) == 3
    assert page["poll_s"]
    assert house.follow(page["data_path"]).json["charts"] == page["charts"]
    assert house.get("/jobs/a/metrics").status == 200


def test_without_a_value_there_is_no_chart(house):
    assert house.json("/jobs/a/metrics")["charts"] == []
    assert house.get("/jobs/a/metrics").status == 200


def test_a_job_that_has_ended_is_drawn_to_its_end(house):
    """And is not asked for again; values of a later job of the name are not its own."""
    house.keep(make_job("b", request=request("b"), status="Completed"))
    measure(house, "b", "loss", ("TrainingJobName", "b"), *range(200))
    page = house.json("/jobs/b/metrics")
    assert page["poll_s"] is None
    assert len(page["charts"][0]["series"][0]["values"]) == 5


@pytest.mark.parametrize("duration_s", [0, 1, 720, 721, 3600, 86_400, 28 * 86_400, 10**8])
def test_a_curve_has_not_too_many_points(duration_s):
    """In windows that CloudWatch has."""
    period_s = period_of(duration_s)
    assert is_period(period_s)
    assert duration_s / period_s <= POINTS * 1.5


def test_a_long_job_is_drawn_in_longer_windows(house):
    """Their values are averages."""
    house.clock.advance(3 * 3600)
    measure(house, "a", "loss", ("TrainingJobName", "a"), *([1.0, 3.0] * 200))
    (chart,) = house.json("/jobs/a/metrics")["charts"]
    assert chart["period_s"] > 1
    assert set(chart["series"][0]["values"]) == {2.0}
