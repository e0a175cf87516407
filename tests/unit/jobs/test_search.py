"""What filters mean, value by value."""

import itertools
from decimal import Decimal

import pytest

from clary.jobs.search import InvalidSearch, Kind, Property, condition, matches, sort_key
from clary.jobs.search_spans import Operator, Span, decimal, time_span

LEARNING_RATE = Property(name="HyperParameters.lr", path=("HyperParameters", "lr"), kind=Kind.HYPER_PARAMETER)
LOSS = Property(name="Metrics.loss", path=("Metrics", "loss"), kind=Kind.NUMBER)
TEAM = Property(name="Tags.team", path=("Tags", "team"), kind=Kind.TEXT)
CREATED = Property(name="CreationTime", path=("CreationTime",), kind=Kind.TIME)
ISOLATED = Property(name="EnableNetworkIsolation", path=("EnableNetworkIsolation",), kind=Kind.BOOLEAN)
VPC = Property(name="VpcConfig", path=("VpcConfig",), kind=Kind.GROUP)
CHANNEL = Property(name="InputDataConfig.ChannelName", path=("InputDataConfig", "ChannelName"), kind=Kind.TEXT)

ORDERING = [
    Operator.GREATER_THAN,
    Operator.GREATER_THAN_OR_EQUAL_TO,
    Operator.LESS_THAN,
    Operator.LESS_THAN_OR_EQUAL_TO,
]


def satisfied(record, wanted, operator, value=None):
    return matches(condition(wanted, operator and Operator(operator), value), record)


def relation(record, wanted, value):
    """Which of <, = and > is true."""
    asked = {"<": "LessThan", "=": "Equals", ">": "GreaterThan"}
    return [sign for sign, operator in asked.items() if satisfied(record, wanted, operator, value)]


@pytest.mark.parametrize(
    ("has", "value", "expected"),
    [
        ("0.9", "0.5", ">"),
        ("0.5", "0.50", "="),
        ("5e-1", "0.5", "="),
        ("0.9", "1", "<"),
        ("0.9", "0", "="),
        ("-0.9", "0", "="),
        ("3.7", "3", "="),
        ("3.7", "4", "<"),
        ("-3.7", "-3", "="),
        ("-3.7", "-4", ">"),
        ("3.7", "3.0", ">"),
        ("4", "3", ">"),
        ("12345678901234567891", "12345678901234567890", ">"),
        ("0.1", ".1", "="),
        ("1e2", "100", "="),
    ],
)
def test_a_hyperparameter_is_cut_when_the_value_is_an_integer(has, value, expected):
    """And compared as a decimal otherwise; exactly one of less, equal and greater is true."""
    assert relation({"HyperParameters": {"lr": has}}, LEARNING_RATE, value) == [expected]


@pytest.mark.parametrize(
    ("has", "value", "equal"), [("adam", "adam", True), ("adam", "Adam", False), ("1", "one", False)]
)
def test_a_hyperparameter_that_is_no_number_is_a_text(has, value, equal):
    """Letter case matters."""
    record = {"HyperParameters": {"lr": has}}
    assert satisfied(record, LEARNING_RATE, "Equals", value) is equal
    assert satisfied(record, LEARNING_RATE, "NotEquals", value) is not equal
    assert not satisfied({"HyperParameters": {"lr": "adam"}}, LEARNING_RATE, "LessThan", "1")


def test_a_metric_is_compared_as_a_number():
    """Also with an integer, without being cut."""
    record = {"FinalMetricDataList": [{"MetricName": "loss", "Value": 0.9, "Timestamp": 1}]}
    assert relation(record, LOSS, "0.9") == ["="]
    assert relation(record, LOSS, "0") == [">"]
    assert relation(record, LOSS, "1") == ["<"]
    assert relation({}, LOSS, "1") == []
    assert not satisfied({}, LOSS, "NotEquals", "1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2023-11-14T22:13:20", "="),
        ("2023-11-14T22:13:20Z", "="),
        ("2023-11-14T23:13:20+01:00", "="),
        ("2023-11-14T22:13:20.250", "="),
        ("2023-11-14T22:13:20.251", "<"),
        ("2023-11-14T22:13:19", ">"),
        ("2023-11-14T22:13:21", "<"),
    ],
)
def test_a_time_in_seconds_means_the_whole_second(value, expected):
    """With a fraction, the millisecond."""
    assert relation({"CreationTime": 1_700_000_000.25}, CREATED, value) == [expected]


def test_a_text_is_searched_as_it_is():
    """Equals, Contains, In and their absence."""
    record = {"Tags": [{"Key": "team", "Value": "a,b"}, {"Key": "other", "Value": "c"}]}
    assert satisfied(record, TEAM, None, "a,b")
    assert satisfied(record, TEAM, None)
    assert satisfied(record, TEAM, "Contains", ",")
    assert not satisfied(record, TEAM, "In", "a,b")
    assert satisfied({"Tags": [{"Key": "team", "Value": "b"}]}, TEAM, "In", "a,b")
    assert satisfied(record, TEAM, "Exists")
    assert not satisfied(record, TEAM, "NotExists")
    assert satisfied({}, TEAM, "NotExists")
    assert not satisfied({}, TEAM, "NotEquals", "x")


def test_a_property_of_a_list_has_several_values():
    """One of them satisfies a filter; NotEquals is true when none equals."""
    record = {"InputDataConfig": [{"ChannelName": "train"}, {"ChannelName": "test"}]}
    assert satisfied(record, CHANNEL, "Equals", "test")
    assert not satisfied(record, CHANNEL, "NotEquals", "test")
    assert satisfied(record, CHANNEL, "NotEquals", "other")


def test_booleans_and_structures():
    """A Boolean equals true or false; a structure is there or not."""
    assert satisfied({"EnableNetworkIsolation": True}, ISOLATED, "Equals", "True")
    assert satisfied({"EnableNetworkIsolation": False}, ISOLATED, "NotEquals", "true")
    assert satisfied({"VpcConfig": {"Subnets": ["s"]}}, VPC, "Exists")
    assert satisfied({}, VPC, "NotExists")


@pytest.mark.parametrize(
    ("wanted", "operator", "value"),
    [
        *((TEAM, operator, "a") for operator in ORDERING),
        *((LEARNING_RATE, operator, "adam") for operator in ORDERING),
        *((ISOLATED, operator, "true") for operator in ORDERING),
        *((wanted, operator, "1") for wanted in (LOSS, CREATED, ISOLATED) for operator in ("Contains", "In")),
        (LOSS, "Equals", "low"),
        (LOSS, "Equals", "1e999"),
        (LOSS, "Equals", "nan"),
        (CREATED, "Equals", "yesterday"),
        (CREATED, "Equals", "2023-13-14T22:13:20"),
        (CREATED, "Equals", "2023-11-14"),
        (ISOLATED, "Equals", "yes"),
        (VPC, "Equals", "x"),
        (TEAM, "Equals", None),
        (TEAM, "Exists", "x"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(wanted, operator, value):
    """And the message names the property."""
    with pytest.raises(InvalidSearch, match=wanted.name):
        condition(wanted, Operator(operator), value)


def test_numbers_are_sorted_before_texts_and_absence():
    """Ranks first, values within."""
    keys = [sort_key(LEARNING_RATE, {"HyperParameters": {"lr": has}}) for has in ("2", "10", "a", "b")]
    keys.append(sort_key(LEARNING_RATE, {}))
    assert keys == sorted(keys)
    assert sort_key(CREATED, {"CreationTime": 1.25}) == (0, 1250)


@pytest.mark.parametrize("text", ["", " 1", "1 ", "0x1", "1_000", "inf", "nan", "1e", "--1", "1e400", "١"])
def test_not_everything_that_python_reads_is_a_number(text):
    """Digits, a point, an exponent; nothing beyond a double."""
    assert decimal(text) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2023-02-29T00:00:00"])
def test_a_time_at_the_edge_does_not_break_anything(text):
    """It is a time or it is none."""
    time_span(text)


def test_spans_intersect_as_sets_do():
    """Point by point, for every kind of end."""
    ends = [None, 0, Decimal(1), 2.0]
    spans = [
        Span(low=low, high=high, low_open=low_open, high_open=high_open)
        for low, high, low_open, high_open in itertools.product(ends, ends, [False, True], [False, True])
    ]
    points = [x / 2 for x in range(-2, 8)]
    for one, other in itertools.product(spans, spans):
        both = one & other
        assert [p for p in points if both.holds(p)] == [p for p in points if one.holds(p) and other.holds(p)]
