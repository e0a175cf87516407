"""The operations of SageMaker's metrics service: BatchPutMetrics and BatchGetMetrics.

Called by the gateway through `operations`. There are no experiments here, but each training job has what SageMaker calls
its trial component, `<job>-aws-training-job` (inferred, from what jobs get on SageMaker): values can be put for it, and
read again together with those of the job's metric definitions. CloudWatch does not show what was put.

Source: API model of SageMaker Metrics. It names no errors: everything about single items stands in the answer.
"""

import asyncio
import threading
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from clary.aws.handlers import Handler, RequestContext
from clary.base.clock import Clock
from clary.logs.metric_series import BATCH_PUT, TRAINING_JOBS, Metric, MetricSeries, Point, merged, point
from clary.logs.port import StreamBusy
from clary.service.metric_windows import SAGEMAKER_STATISTICS, windows
from clary.store.port import NoSuchJob, Store

METRICS_MAX = 1000
"""How many metrics may be put for one job. Ours: SageMaker has a limit that it does not name."""

VALUES_MAX = 10_000
"""How many values one query answers at most; beyond, it is Truncated. Ours."""

_COMPONENT_SUFFIX = "-aws-training-job"
_WRITER = "put"
_LARGEST = 2.0**360  # so that sums of squares stay finite; it is CloudWatch's limit, too
_PERIODS_S = {"OneMinute": 60, "FiveMinute": 300, "OneHour": 3600}
_END_OF_TIME = 1 << 60


class BatchMetrics:
    """The operations."""

    def __init__(self, series: MetricSeries, *, store: Store, clock: Clock) -> None:
        self._series = series
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._last_put = 0

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {"BatchGetMetrics": self.batch_get, "BatchPutMetrics": self.batch_put}

    async def batch_put(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """BatchPutMetrics. Values for a trial component that no job has are all errors (inferred)."""
        job = await self._job(params["TrialComponentName"], _COMPONENT_SUFFIX)
        data: list[dict[str, Any]] = params["MetricData"]
        if job is None:
            return _errors(dict.fromkeys(range(len(data)), "VALIDATION_ERROR"))
        return _errors(await asyncio.to_thread(self._put, job, data))

    async def batch_get(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """BatchGetMetrics: a result for each query, in their order.

        On an axis of time, x, Start and End are seconds since the epoch (inferred); Start is inclusive, End is not (inferred).
        """
        return {"MetricQueryResults": [await self._get(query, context) for query in params["MetricQueries"]]}

    def _put(self, job: str, data: list[dict[str, Any]]) -> dict[int, str]:
        """Keep what can be kept; the error codes of the rest, by index."""
        errors = {index: "VALIDATION_ERROR" for index, each in enumerate(data) if abs(each["Value"]) > _LARGEST}
        with self._lock:
            known = {each.metric.name for each in self._series.metrics(job) if each.metric.namespace == BATCH_PUT}
            kept = []
            for index, each in enumerate(data):
                if index in errors:
                    continue
                if each["MetricName"] not in known and len(known) >= METRICS_MAX:
                    errors[index] = "METRIC_LIMIT_EXCEEDED"
                    continue
                known.add(each["MetricName"])
                value = point([each["Value"]], second=int(each["Timestamp"] // 1), step=each.get("Step"))
                kept.append((Metric(namespace=BATCH_PUT, name=each["MetricName"]), value))
            self._last_put = max(
                self._last_put + 1, self._clock.now() * 1000
            )  # no two puts alike: none is a repetition
            try:
                writer = self._series.writer(job, _WRITER)
            except StreamBusy:
                return dict.fromkeys(range(len(data)), "CONFLICT_ERROR")
            try:
                writer.append(kept, source_offset=self._last_put)
            finally:
                writer.close()
        return errors

    async def _get(self, query: dict[str, Any], context: RequestContext) -> dict[str, Any]:
        kind, _, name = query["ResourceArn"].split(":", 5)[5].partition("/")
        _, _, _, region, account_id, _ = query["ResourceArn"].split(":", 5)
        if (region, account_id) != (context.region, context.account_id):
            return _refused(f"The resource {query['ResourceArn']} belongs to another account or region.")
        suffix = {"training-job": "", "experiment-trial-component": _COMPONENT_SUFFIX}.get(kind)
        job = None if suffix is None else await self._job(name, suffix)
        if job is None:
            return _refused(f"The resource {query['ResourceArn']} does not exist.")
        by_step = query["XAxisType"] == "IterationNumber"
        if by_step != (query["Period"] == "IterationNumber"):
            return _refused(f"The period {query['Period']} is none of an x-axis of type {query['XAxisType']}.")
        points = await asyncio.to_thread(self._points, job, query["MetricName"])
        start, end = query.get("Start", -_END_OF_TIME), query.get("End", _END_OF_TIME)
        data = _steps(points) if by_step else windows(points, period_s=_PERIODS_S[query["Period"]])
        shown = [(x, each) for x, each in data if start <= x < end]
        answer = {
            "Status": "Complete" if len(shown) <= VALUES_MAX else "Truncated",
            "XAxisValues": [x for x, _ in shown[:VALUES_MAX]],
            "MetricValues": [SAGEMAKER_STATISTICS[query["MetricStat"]](each) for _, each in shown[:VALUES_MAX]],
        }
        if len(shown) > VALUES_MAX:
            answer["Message"] = f"Only the first {VALUES_MAX} of {len(shown)} values are shown."
        return answer

    def _points(self, job: str, name: str) -> list[Point]:
        logged = Metric(namespace=TRAINING_JOBS, name=name, dimensions=(("TrainingJobName", job),))
        put = Metric(namespace=BATCH_PUT, name=name)
        both = [
            each
            for metric in (logged, put)
            for each in self._series.points(job, metric, start=-_END_OF_TIME, end=_END_OF_TIME)
        ]
        return sorted(both, key=lambda each: each.second)

    async def _job(self, name: str, suffix: str) -> str | None:
        """The job that a resource is of, spelt as it was; None if there is none."""
        if not name.endswith(suffix):
            return None
        try:
            return (await self._store.find(name.removesuffix(suffix))).training_job_name
        except NoSuchJob:
            return None


def _steps(points: Iterable[Point]) -> list[tuple[int, Point]]:
    """One point for each step; values without a step have no place on that axis."""
    with_step = sorted((each.step, number, each) for number, each in enumerate(points) if each.step is not None)
    return [
        (step, whole)
        for step, some in groupby(with_step, key=lambda entry: entry[0])
        if (whole := merged(each for _, _, each in some))
    ]


def _errors(codes: dict[int, str]) -> dict[str, Any]:
    if not codes:
        return {}
    return {"Errors": [{"Code": code, "MetricIndex": index} for index, code in sorted(codes.items())]}


def _refused(message: str) -> dict[str, Any]:
    return {"Status": "ValidationError", "Message": message, "XAxisValues": [], "MetricValues": []}
