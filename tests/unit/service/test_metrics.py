"""CloudWatch's metric operations over series that are given."""

import asyncio

import pytest

from clary.aws.errors import AwsError
from clary.aws.handlers import RequestContext
from clary.aws.paging import PageTokens
from clary.aws.sigv4 import Credential
from clary.base.clock import FixedClock
from clary.logs.metric_memory import MemoryMetricSeries
from clary.logs.metric_series import BATCH_PUT, TRAINING_JOBS, Metric, point
from clary.service.metrics import METRICS_PAGE, Metrics

MINUTE = 1_700_000_040  # a whole minute, no whole five minutes
CONTEXT = RequestContext(
    request_id="id",
    account_id="000000000000",
    region="us-east-1",
    caller=Credential(access_key_id="a", secret_access_key="s", account_id="0", principal_arn="p", user_id="u"),
)


class Scene:
    def __init__(self) -> None:
        self.series = MemoryMetricSeries()
        self.clock = FixedClock(MINUTE * 1000)
        self.metrics = Metrics(self.series, tokens=PageTokens(b"key"), clock=self.clock)

    def log(self, job, name, *values, second=MINUTE, host="algo-1", dimension="TrainingJobName", unit="None"):
        value = job if dimension == "TrainingJobName" else f"{job}/{host}"
        metric = Metric(namespace=TRAINING_JOBS, name=name, dimensions=((dimension, value),))
        writer = self.series.writer(job, f"{host}-{name}-{second}")
        writer.append([(metric, point(values, second=second, unit=unit))], source_offset=1)
        writer.close()

    def statistics(self, job="job", name="loss", **changes):
        params = {
            "Namespace": TRAINING_JOBS,
            "MetricName": name,
            "Dimensions": [{"Name": "TrainingJobName", "Value": job}],
            "StartTime": float(MINUTE),
            "EndTime": float(MINUTE + 600),
            "Period": 60,
            "Statistics": ["Average"],
        }
        answer = asyncio.run(self.metrics.get_metric_statistics(CONTEXT, params | changes))
        assert answer["Label"] == name
        return answer["Datapoints"]

    def data(self, *queries, **changes):
        params = {
            "MetricDataQueries": list(queries),
            "StartTime": float(MINUTE),
            "EndTime": float(MINUTE + 600),
        }
        return asyncio.run(self.metrics.get_metric_data(CONTEXT, params | changes))

    def list(self, **params):
        return asyncio.run(self.metrics.list_metrics(CONTEXT, params))


def query(name="m", metric="loss", job="job", stat="Average", period=60, **changes):
    dimensions = [{"Name": "TrainingJobName", "Value": job}]
    metric = {"Namespace": TRAINING_JOBS, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": name, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}} | changes


@pytest.fixture
def scene():
    return Scene()


def refusal(call, *arguments, **keywords):
    with pytest.raises(AwsError) as refused:
        call(*arguments, **keywords)
    return refused.value


class TestGetMetricStatistics:
    def test_all_statistics_of_all_hosts(self, scene):
        """One window a minute that has values; the hosts of a job make one metric."""
        scene.log("job", "loss", 1.0, 2.0)
        scene.log("job", "loss", 6.0, second=MINUTE + 59, host="algo-2")
        scene.log("job", "loss", 5.0, second=MINUTE + 120)
        scene.log("job", "error", 7.0)
        scene.log("other", "loss", 7.0)

        every = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
        assert scene.statistics(Statistics=every) == [
            {
                "Timestamp": MINUTE,
                "SampleCount": 3.0,
                "Average": 3.0,
                "Sum": 9.0,
                "Minimum": 1.0,
                "Maximum": 6.0,
                "Unit": "None",
            },
            {
                "Timestamp": MINUTE + 120,
                "SampleCount": 1.0,
                "Average": 5.0,
                "Sum": 5.0,
                "Minimum": 5.0,
                "Maximum": 5.0,
                "Unit": "None",
            },
        ]

    @pytest.mark.parametrize(
        ("start", "end", "period", "times"),
        [
            (30, 61, 60, [0, 60]),  # a start within a minute counts from its beginning, an end to the end of its own
            (60, 120, 60, [60]),
            (0, 60, 60, [0]),
            (0, 0.5, 60, [0]),
            (61, 62, 1, [61]),
            (61.5, 62, 1, [61]),
            (65, 121, 20, [60, 120]),
            (0, 600, 120, [0, 120]),
            (60, 600, 120, [60]),  # windows begin at the start
            (0, 600, 600, [0]),
        ],
    )
    def test_windows(self, scene, start, end, period, times):
        """StartTime is inclusive and rounded down, EndTime exclusive."""
        for second in (0, 61, 120, 179):
            scene.log("job", "loss", 1.0, second=MINUTE + second)

        found = scene.statistics(StartTime=MINUTE + start, EndTime=MINUTE + end, Period=period)
        assert [each["Timestamp"] - MINUTE for each in found] == times

    def test_only_the_very_metric_counts(self, scene):
        """Namespace, name, every dimension, and the unit if one is asked for."""
        scene.log("job", "loss", 1.0)
        scene.log("job", "CPUUtilization", 50.0, dimension="Host", unit="Percent")

        assert len(scene.statistics(Unit="None")) == 1
        assert scene.statistics(Unit="Percent") == []
        assert scene.statistics(Namespace="AWS/EC2") == []
        assert scene.statistics(name="Loss") == []
        assert scene.statistics(Dimensions=[]) == []
        host = [{"Name": "Host", "Value": "job/algo-1"}]
        assert scene.statistics(Dimensions=host) == []
        (found,) = scene.statistics(name="CPUUtilization", Dimensions=host, Unit="Percent")
        assert (found["Average"], found["Unit"]) == (50.0, "Percent")
        both = [*host, {"Name": "TrainingJobName", "Value": "job"}]
        assert scene.statistics(name="CPUUtilization", Dimensions=both) == []

    @pytest.mark.parametrize(
        ("changes", "code", "text"),
        [
            ({"Statistics": []}, "MissingParameter", "Statistics and ExtendedStatistics"),
            ({"ExtendedStatistics": ["p99"]}, "InvalidParameterValue", "ExtendedStatistics is not supported"),
            ({"Period": 61}, "InvalidParameterValue", "multiple of 60"),
            ({"EndTime": float(MINUTE)}, "InvalidParameterValue", "must not equal parameter EndTime"),
            ({"EndTime": 0.0}, "InvalidParameterValue", "less than the parameter EndTime"),
            (
                {"EndTime": MINUTE + 1441 * 60.0},
                "InvalidParameterCombination",
                "up to 1441 datapoints, which exceeds the limit of 1,440",
            ),
        ],
    )
    def test_what_it_cannot_answer_is_refused(self, scene, changes, code, text):
        """By the codes of the model."""
        error = refusal(scene.statistics, **changes)
        assert error.code == code
        assert text in error.message


class TestGetMetricData:
    def test_several_queries(self, scene):
        """Newest first unless asked otherwise; what is not to be returned is not."""
        scene.log("job", "loss", 1.0)
        scene.log("job", "loss", 4.0, second=MINUTE + 60)
        scene.log("job", "error", 9.0)

        queries = (query("a"), query("b", "error", stat="SampleCount", Label="mine"), query("c", ReturnData=False))
        answer = scene.data(*queries)
        assert answer == {
            "MetricDataResults": [
                {
                    "Id": "a",
                    "Label": "loss",
                    "Timestamps": [MINUTE + 60, MINUTE],
                    "Values": [4.0, 1.0],
                    "StatusCode": "Complete",
                },
                {"Id": "b", "Label": "mine", "Timestamps": [MINUTE], "Values": [1.0], "StatusCode": "Complete"},
            ],
            "Messages": [],
        }
        (found,) = scene.data(query("a"), ScanBy="TimestampAscending")["MetricDataResults"]
        assert found["Values"] == [1.0, 4.0]

    def test_windows_begin_at_multiples_of_the_period(self, scene):
        """Whatever the start is."""
        scene.log("job", "loss", 1.0)
        (found,) = scene.data(query(period=300), ScanBy="TimestampAscending")["MetricDataResults"]
        assert found["Timestamps"] == [MINUTE - MINUTE % 300]

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 100])
    def test_pages_hold_all_values_once(self, scene, size):
        """Whatever their size; a cut query says that it is."""
        for number in range(4):
            scene.log("job", "a", float(number), second=MINUTE + 60 * number)
            scene.log("job", "b", float(number), second=MINUTE + 60 * number)
        queries = (query("a", "a"), query("none", "none"), query("b", "b"))
        values, token = {"a": [], "b": [], "none": []}, {}
        while True:
            page = scene.data(*queries, MaxDatapoints=size, ScanBy="TimestampAscending", **token)
            assert sum(len(each["Values"]) for each in page["MetricDataResults"]) <= size
            for each in page["MetricDataResults"]:
                values[each["Id"]] += each["Values"]
            if "NextToken" not in page:
                break
            assert page["MetricDataResults"][-1]["StatusCode"] == "PartialData"
            token = {"NextToken": page["NextToken"]}
        assert values == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "none": []}

    def test_a_token_belongs_to_its_question(self, scene):
        """Another question, or a made-up token, is refused by the code of the model."""
        for number in range(2):
            scene.log("job", "loss", 1.0, second=MINUTE + 60 * number)
        token = scene.data(query(), MaxDatapoints=1)["NextToken"]
        assert refusal(scene.data, query(stat="Sum"), NextToken=token).code == "InvalidNextToken"
        assert refusal(scene.data, query(), NextToken="x").code == "InvalidNextToken"

    @pytest.mark.parametrize(
        ("queries", "changes", "text"),
        [
            ([], {}, "from 1 to 500"),
            ([query(f"m{number}") for number in range(501)], {}, "from 1 to 500"),
            ([query(), query()], {}, "unique: m"),
            ([query("M")], {}, "metricDataQueries.1.member.id"),
            ([query(Expression="m1 * 2")], {}, "'m1 \\* 2'"),
            ([{"Id": "m"}], {}, "Exactly one of"),
            ([query(stat="p99")], {}, "'p99'"),
            ([query(period=90)], {}, "multiple of 60"),
            ([query(Period=60)], {}, "MetricStat"),
            ([query(AccountId="1")], {}, "AccountId"),
            ([query(Label="${LAST}")], {}, "dynamic label"),
            ([query(ReturnData=False)], {}, "ReturnData"),
            ([query()], {"MaxDatapoints": 0}, "MaxDatapoints"),
            ([query()], {"MaxDatapoints": 100_801}, "MaxDatapoints"),
            ([query()], {"EndTime": float(MINUTE)}, "must not equal"),
        ],
    )
    def test_what_it_cannot_answer_is_refused(self, scene, queries, changes, text):
        """By name."""
        with pytest.raises(AwsError, match=text) as refused:
            scene.data(*queries, **changes)
        assert refused.value.code == "ValidationException"


class TestListMetrics:
    def test_filters(self, scene):
        """By name, by dimension with and without value, by namespace; what was put is no metric of CloudWatch."""
        scene.log("a", "loss", 1.0)
        scene.log("a", "error", 1.0)
        scene.log("b", "loss", 1.0)
        scene.log("b", "CPUUtilization", 1.0, dimension="Host")
        writer = scene.series.writer("a", "put")
        writer.append([(Metric(namespace=BATCH_PUT, name="loss"), point([1.0], second=MINUTE))], source_offset=1)
        writer.close()

        def found(**params):
            return [(each["MetricName"], each["Dimensions"][0]["Value"]) for each in scene.list(**params)["Metrics"]]

        assert found() == [("error", "a"), ("loss", "a"), ("CPUUtilization", "b/algo-1"), ("loss", "b")]
        assert found(MetricName="loss") == [("loss", "a"), ("loss", "b")]
        assert found(Dimensions=[{"Name": "Host"}]) == [("CPUUtilization", "b/algo-1")]
        assert found(Dimensions=[{"Name": "Host", "Value": "b/algo-1"}]) == [("CPUUtilization", "b/algo-1")]
        assert found(Dimensions=[{"Name": "TrainingJobName", "Value": "b"}]) == [("loss", "b")]
        assert found(Dimensions=[{"Name": "TrainingJobName", "Value": "c"}]) == []
        assert found(Dimensions=[{"Name": "InstanceId"}]) == []
        assert found(Namespace="AWS/EC2") == found(Namespace=BATCH_PUT) == []
        assert len(found(Namespace=TRAINING_JOBS)) == 4

    def test_what_is_long_quiet_is_not_listed(self, scene):
        """Two weeks, or three hours when asked for the recently active."""
        scene.log("job", "loss", 1.0)
        scene.clock.advance(3 * 3600)
        assert len(scene.list(RecentlyActive="PT3H")["Metrics"]) == 1
        scene.clock.advance(1)
        assert scene.list(RecentlyActive="PT3H")["Metrics"] == []
        assert len(scene.list()["Metrics"]) == 1
        scene.clock.advance(14 * 24 * 3600)
        assert scene.list()["Metrics"] == []

    def test_pages(self, scene):
        """All metrics once, also of a job that has more than a page."""
        for number in range(METRICS_PAGE + 20):
            scene.log("job", f"m{number}", 1.0)
        for number in range(30):
            scene.log(f"more-{number}", "loss", 1.0)
        names, token, pages = [], {}, 0
        while True:
            page = scene.list(**token)
            pages += 1
            names += [(each["MetricName"], each["Dimensions"][0]["Value"]) for each in page["Metrics"]]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        assert (len(names), len(set(names)), pages) == (METRICS_PAGE + 50, METRICS_PAGE + 50, 2)
        assert refusal(scene.list, NextToken="x").code == "InvalidParameterValue"
        assert refusal(scene.list, **token, MetricName="loss").code == "InvalidParameterValue"

    def test_accounts(self, scene):
        """There is one."""
        scene.log("job", "loss", 1.0)
        assert scene.list(IncludeLinkedAccounts=True)["OwningAccounts"] == ["000000000000"]
        assert scene.list(OwningAccount="111111111111", IncludeLinkedAccounts=True) == {"Metrics": []}
