"""The operations of CloudWatch that training clients use: ListMetrics, GetMetricStatistics and GetMetricData.

Called by the gateway through `operations`, whichever of the three protocols a client speaks. What is read are the series
that the instances keep: the metrics of a job's definitions, with the one dimension TrainingJobName, and those of its
instances, with the one dimension Host ("<job>/algo-1"). Reading runs in a thread.

Percentiles, metric math, SEARCH and dynamic labels are refused by name: what is kept are sums, extremes and counts of
each second. Nothing is ever dropped or coarsened by age, as it is in CloudWatch after 15 days.

Source: API model of CloudWatch; texts and codes marked observed are from public error reports, the others are inferred.
"""

import asyncio
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from clary.aws.errors import AwsError, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.base.clock import Clock
from clary.logs.metric_series import TRAINING_JOBS, KnownMetric, Metric, MetricSeries, Point
from clary.service.metric_windows import STATISTICS, is_period, time_range, windows

DATAPOINTS_MAX = 1440
"""Most windows of one GetMetricStatistics. Source: API model."""

DATA_MAX = 100_800
QUERIES_MAX = 500
METRICS_PAGE = 500
"""Limits of GetMetricData and ListMetrics. Source: API model."""

LISTED_FOR_S = 14 * 24 * 3600
RECENT_S = 3 * 3600
_OWNERS_PAGE = 2000  # a page may be short, even empty, rather than take seconds
_PERIOD_RULE = "must be 1, 5, 10, 20, 30 or a multiple of 60"
_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


class Metrics:
    """The operations."""

    def __init__(self, series: MetricSeries, *, tokens: PageTokens, clock: Clock) -> None:
        self._series = series
        self._tokens = tokens
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "GetMetricData": self.get_metric_data,
            "GetMetricStatistics": self.get_metric_statistics,
            "ListMetrics": self.list_metrics,
        }

    async def get_metric_statistics(self, _context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GetMetricStatistics. Windows begin at the rounded StartTime (inferred); those without a value are left out."""
        names = _statistics(params)
        period: int = params["Period"]
        if not is_period(period):
            raise _invalid(f"The parameter Period {_PERIOD_RULE}.")
        _check_times(params, "InvalidParameterValue")
        start, end = time_range(params["StartTime"], params["EndTime"], period)
        count = (end - start) // period
        if count > DATAPOINTS_MAX:  # observed
            raise _invalid(
                f"You have requested up to {count} datapoints, which exceeds the limit of {DATAPOINTS_MAX:,}. You may "
                "reduce the datapoints requested by increasing Period, or decreasing the time range.",
                code="InvalidParameterCombination",
            )
        points = await self._points(params, start, end, params.get("Unit"))
        datapoints = [
            {"Timestamp": begin, **{name: STATISTICS[name](each) for name in names}, "Unit": each.unit}
            for begin, each in windows(points, period_s=period, origin_s=start)
        ]
        return {"Label": params["MetricName"], "Datapoints": datapoints}

    async def get_metric_data(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GetMetricData, of MetricStat queries. Windows begin at multiples of their period (inferred).

        A page holds MaxDatapoints values at most: of the queries in their order. The next page goes on with the query
        that was cut, and no longer shows those that were complete.
        """
        queries = [_query(query, number, context) for number, query in enumerate(params["MetricDataQueries"], start=1)]
        _check_queries(queries, params)
        descending = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        room = params.get("MaxDatapoints", DATA_MAX)
        key = {name: value for name, value in params.items() if name not in {"NextToken", "MaxDatapoints"}}
        place = self._read_token(params, "GetMetricData", key, _DataPlace, "InvalidNextToken")
        first = 0 if place is None else place.query
        results = []
        for number, query in list(enumerate(queries))[first:]:
            start, end = time_range(params["StartTime"], params["EndTime"], query.period_s)
            points = await self._points(query.metric, start - start % query.period_s, end, query.unit)
            data = windows(points, period_s=query.period_s)
            if descending:
                data.reverse()
            done = 0 if place is None or number != place.query else place.done
            shown = data[done : done + room]
            room -= len(shown)
            is_whole = done + len(shown) == len(data)
            if query.is_returned:
                results.append(_data_result(query, shown, is_whole=is_whole))
            if not is_whole:
                following = _DataPlace(query=number, done=done + len(shown))
                token = self._tokens.issue(following, {"operation": "GetMetricData", "query": key})
                return {"MetricDataResults": results, "NextToken": token, "Messages": []}
        return {"MetricDataResults": results, "Messages": []}

    async def list_metrics(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """ListMetrics: those that had a value in the last two weeks, or three hours (Source: API model)."""
        key = {name: value for name, value in params.items() if name != "NextToken"}
        place = self._read_token(params, "ListMetrics", key, _ListPlace, "InvalidParameterValue")
        if params.get("OwningAccount") not in {None, context.account_id}:
            return {"Metrics": []}
        age_s = RECENT_S if params.get("RecentlyActive") else LISTED_FOR_S
        metrics, following = await asyncio.to_thread(self._list, params, place, self._clock.now() // 1000 - age_s)
        answer: dict[str, Any] = {"Metrics": [_shown(metric) for metric in metrics]}
        if params.get("IncludeLinkedAccounts"):
            answer["OwningAccounts"] = [context.account_id] * len(metrics)
        if following is not None:
            answer["NextToken"] = self._tokens.issue(following, {"operation": "ListMetrics", "query": key})
        return answer

    def _list(
        self, params: dict[str, Any], place: "_ListPlace | None", since_s: int
    ) -> tuple[list[Metric], "_ListPlace | None"]:
        """The metrics of a page, and where the next one begins."""
        found: list[Metric] = []
        owners = iter(self._owners(params, place))
        for owner in islice(owners, _OWNERS_PAGE):
            for known in self._series.metrics(owner):
                if place is not None and owner == place.owner and _is_before(known.metric, place):
                    continue
                if _is_listed(known, params, since_s):
                    if len(found) == METRICS_PAGE:
                        return found, place
                    found.append(known.metric)
                    place = _ListPlace(owner=owner, metric=_order(known.metric))
            place = _ListPlace(owner=owner, metric=None)
        return found, place if next(owners, None) is not None else None

    def _owners(self, params: dict[str, Any], place: "_ListPlace | None") -> list[str]:
        """The jobs that may have such metrics, in order, from the place on."""
        if params.get("Namespace", TRAINING_JOBS) != TRAINING_JOBS:
            return []
        named = {
            _owner(((filtered["Name"], filtered["Value"]),))
            for filtered in params.get("Dimensions", ())
            if filtered.get("Value") is not None
        }
        owners = self._series.owners() if not named else sorted(each for each in named if each is not None)
        return [owner for owner in owners if place is None or owner >= place.owner]

    async def _points(self, metric: Mapping[str, Any], start: int, end: int, unit: str | None) -> list[Point]:
        dimensions = tuple(sorted((each["Name"], each["Value"]) for each in metric.get("Dimensions", ())))
        owner = _owner(dimensions)
        if owner is None or metric.get("Namespace") != TRAINING_JOBS:
            return []
        wanted = Metric(namespace=TRAINING_JOBS, name=metric.get("MetricName", ""), dimensions=dimensions)
        points = await asyncio.to_thread(self._series.points, owner, wanted, start=start, end=end)
        return [each for each in points if unit is None or each.unit == unit]

    def _read_token(self, params: dict[str, Any], operation: str, key: dict[str, Any], kind: Any, code: str) -> Any:
        token = params.get("NextToken")
        if not token:
            return None
        try:
            return typed.convert(self._tokens.read(token, {"operation": operation, "query": key}), kind)
        except ValidationException as error:
            raise AwsError(code=code, message=error.message) from None


class _DataPlace(msgspec.Struct, frozen=True):
    """Where a page of GetMetricData begins: at which query, and how many of its values were shown."""

    query: int
    done: int


_Order = tuple[str, tuple[tuple[str, str], ...]]


class _ListPlace(msgspec.Struct, frozen=True):
    """After which metric of an owner a page of ListMetrics begins; None: after all of them."""

    owner: str
    metric: _Order | None


class _Query(NamedTuple):
    id: str
    metric: Mapping[str, Any]
    period_s: int
    statistic: str
    unit: str | None
    label: str
    is_returned: bool


def _owner(dimensions: tuple[tuple[str, str], ...]) -> str | None:
    """The job whose series have these dimensions; None if no job's can."""
    match dimensions:
        case (("TrainingJobName", job),):
            return job
        case (("Host", host),):
            return host.rpartition("/")[0] or None
    return None


def _statistics(params: dict[str, Any]) -> list[str]:
    if params.get("ExtendedStatistics"):
        raise _invalid("The parameter ExtendedStatistics is not supported: Clary does not keep single values.")
    names: list[str] = params.get("Statistics") or []
    if not names:
        raise _invalid(
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
            code="MissingParameter",
        )
    return names


def _check_times(params: dict[str, Any], code: str) -> None:
    start, end = params["StartTime"], params["EndTime"]
    if start == end:  # observed
        raise _invalid("The parameter StartTime must not equal parameter EndTime.", code=code)
    if start > end:
        raise _invalid("The parameter StartTime must be less than the parameter EndTime.", code=code)


def _query(query: dict[str, Any], number: int, context: RequestContext) -> _Query:
    where = f"metricDataQueries.{number}.member"
    name = query["Id"]
    if not _ID.fullmatch(name):
        raise ValidationException(f"The value '{name}' for parameter {where}.id is not matching the expected pattern.")
    if query.get("Expression") is not None:
        raise ValidationException(
            f"The expression '{query['Expression']}' of query {name} is not supported: Clary has neither metric math nor "
            "SEARCH; ask for a MetricStat."
        )
    stat = query.get("MetricStat")
    if stat is None:
        raise ValidationException(f"Exactly one of Expression and MetricStat must be specified for query {name}.")
    if stat["Stat"] not in STATISTICS:
        raise ValidationException(
            f"The statistic '{stat['Stat']}' of query {name} is not supported; there are {', '.join(STATISTICS)}."
        )
    if not is_period(stat["Period"]):
        raise ValidationException(f"The period of query {name} {_PERIOD_RULE}.")
    if query.get("Period") is not None:
        raise ValidationException(f"The Period of query {name} belongs into its MetricStat.")
    if query.get("AccountId") not in {None, context.account_id}:
        raise ValidationException(f"The AccountId of query {name} is not this account, {context.account_id}.")
    label = query.get("Label")
    if label is not None and "${" in label:
        raise ValidationException(f"The dynamic label of query {name} is not supported.")
    return _Query(
        id=name,
        metric=stat["Metric"],
        period_s=stat["Period"],
        statistic=stat["Stat"],
        unit=stat.get("Unit"),
        label=label if label is not None else stat["Metric"].get("MetricName", ""),
        is_returned=query.get("ReturnData", True),
    )


def _check_queries(queries: list[_Query], params: dict[str, Any]) -> None:
    if not 1 <= len(queries) <= QUERIES_MAX:
        raise ValidationException(f"The number of MetricDataQueries must be from 1 to {QUERIES_MAX}.")
    ids = [query.id for query in queries]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValidationException(f"The Id of each MetricDataQuery must be unique: {', '.join(twice)}.")
    if not any(query.is_returned for query in queries):
        raise ValidationException("At least one MetricDataQuery must have ReturnData true.")
    if not 1 <= params.get("MaxDatapoints", DATA_MAX) <= DATA_MAX:
        raise ValidationException(f"MaxDatapoints must be from 1 to {DATA_MAX}.")
    _check_times(params, "ValidationException")


def _data_result(query: _Query, data: list[tuple[int, Point]], *, is_whole: bool) -> dict[str, Any]:
    return {
        "Id": query.id,
        "Label": query.label,
        "Timestamps": [begin for begin, _ in data],
        "Values": [STATISTICS[query.statistic](each) for _, each in data],
        "StatusCode": "Complete" if is_whole else "PartialData",
    }


def _is_listed(known: KnownMetric, params: dict[str, Any], since_s: int) -> bool:
    metric = known.metric
    if metric.namespace != TRAINING_JOBS or known.last_second < since_s:
        return False
    if params.get("MetricName") not in {None, metric.name}:
        return False
    return all(_has(metric, each["Name"], each.get("Value")) for each in params.get("Dimensions", ()))


def _has(metric: Metric, name: str, value: str | None) -> bool:
    return any(each == name and value in {None, of} for each, of in metric.dimensions)


def _shown(metric: Metric) -> dict[str, Any]:
    return {
        "Namespace": metric.namespace,
        "MetricName": metric.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
    }


def _order(metric: Metric) -> _Order:
    return metric.name, metric.dimensions


def _is_before(metric: Metric, place: _ListPlace) -> bool:
    return place.metric is None or _order(metric) <= place.metric


def _invalid(message: str, *, code: str = "InvalidParameterValue") -> AwsError:
    return AwsError(code=code, message=message)
