"""RPC v2 CBOR against botocore: what it serialises we parse, what we write it parses."""

import contextlib
import math
import struct
from datetime import UTC, datetime

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from clary.aws.canonical import Request
from clary.aws.cbor import BadCbor, decode
from clary.aws.errors import AwsError, ValidationException
from clary.aws.model import ServiceModel
from clary.aws.rpc_cbor import RPC_CBOR
from clary.aws.validation import Validators

MODEL = ServiceModel("monitoring")
JUDGE = BotocoreModel(Loader().load_service_model("cloudwatch", "service-2"), "cloudwatch")
VALIDATORS = Validators()
PATH = "/service/GraniteServiceVersion20100801/operation/GetMetricStatistics"


def request(path=PATH, body=b"", method="POST"):
    return Request(method=method, raw_path=path.encode(), query=b"", headers=[], body=body)


def sent(operation, params):
    serialized = RpcV2CBORSerializer().serialize_to_request(params, JUDGE.operation_model(operation))
    assert serialized["headers"]["smithy-protocol"] == "rpc-v2-cbor"
    return request(serialized["url_path"], bytes(serialized["body"]), serialized["method"])


def parsed(operation, answer):
    raw = {"status_code": answer.http_status, "headers": {}, "body": answer.body}
    found = RpcV2CBORParser().parse(raw, JUDGE.operation_model(operation).output_shape)
    del found["ResponseMetadata"]
    return found


names = st.text(min_size=1, max_size=300)
numbers = st.floats(allow_nan=False, allow_infinity=False)
times = st.integers(min_value=-62_000_000_000, max_value=253_000_000_000) | st.floats(min_value=0, max_value=4e9).map(
    lambda seconds: round(seconds, 3)
)
dimensions = st.lists(st.fixed_dictionaries({"Name": names, "Value": names}), max_size=30)


@given(
    st.fixed_dictionaries(
        {"Namespace": names, "MetricName": names, "StartTime": times, "EndTime": times},
        optional={
            "Period": st.integers(min_value=-(1 << 31), max_value=(1 << 31) - 1),
            "Dimensions": dimensions,
            "Statistics": st.lists(st.sampled_from(["Average", "Sum"])),
        },
    )
)
def test_what_botocore_serialises_comes_back(params):
    """Texts, numbers of any size, times with and without a fraction, lists of structures."""
    found = sent("GetMetricStatistics", params)
    assert RPC_CBOR.operation_name(found, {}, MODEL) == "GetMetricStatistics"
    assert RPC_CBOR.parse(found, MODEL.operation("GetMetricStatistics")) == params


def test_other_members_too():
    """Booleans, doubles, integers in lists."""
    params = {
        "MetricDataQueries": [
            {"Id": "m", "ReturnData": False, "MetricStat": {"Metric": {}, "Period": 3600, "Stat": "Sum"}}
        ],
        "StartTime": 1_700_000_000,
        "EndTime": 1_700_000_000.5,
    }
    found = RPC_CBOR.parse(sent("GetMetricData", params), MODEL.operation("GetMetricData"))
    assert found == params
    assert VALIDATORS.validate(MODEL.operation("GetMetricData").input_shape, found) == params
    alarm = {"AlarmName": "a", "ActionsEnabled": True, "Threshold": 0.1, "EvaluationPeriods": 70_000}
    assert RPC_CBOR.parse(sent("PutMetricAlarm", alarm), MODEL.operation("PutMetricAlarm")) == alarm


@given(
    st.lists(
        st.fixed_dictionaries(
            {"Timestamp": st.integers(min_value=0, max_value=1 << 32), "Average": numbers, "Unit": st.just("None")},
            optional={"SampleCount": st.integers(min_value=0, max_value=1 << 40).map(float)},
        ),
        max_size=30,
    ),
    names,
)
def test_what_we_write_botocore_parses(datapoints, label):
    """Doubles as doubles, also when they are whole; times with their tag."""
    answer = RPC_CBOR.result(
        {"Label": label, "Datapoints": datapoints, "Ours": None}, MODEL.operation("GetMetricStatistics"), MODEL, "id"
    )
    expected = [
        each | {"Timestamp": datetime.fromtimestamp(each["Timestamp"], UTC), "Average": pytest.approx(each["Average"])}
        for each in datapoints
    ]
    found = parsed("GetMetricStatistics", answer)
    assert found == {"Label": label, "Datapoints": expected}
    assert all(type(each["Average"]) is float for each in found["Datapoints"])
    assert (answer.http_status, answer.content_type) == (200, b"application/cbor")
    assert answer.headers == ((b"smithy-protocol", b"rpc-v2-cbor"),)


def test_whole_numbers_become_the_doubles_that_the_model_says():
    """A handler that counts in integers answers well."""
    value = {"MetricDataResults": [{"Id": "m", "Timestamps": [1_700_000_000.25], "Values": [3]}]}
    answer = RPC_CBOR.result(value, MODEL.operation("GetMetricData"), MODEL, "id")
    assert b"\xfb" + struct.pack(">d", 3.0) in answer.body
    (result,) = parsed("GetMetricData", answer)["MetricDataResults"]
    assert (result["Values"], result["Timestamps"][0].microsecond) == ([3.0], 250_000)


def test_an_operation_without_output_has_an_empty_body():
    """Source: Smithy, RPC v2 CBOR."""
    answer = RPC_CBOR.result(None, MODEL.operation("EnableAlarmActions"), MODEL, "id")
    assert answer.body == b""


@given(st.text())
def test_an_error_with_any_text_can_be_read(text):
    """By its code of old, too: that of the header."""
    error = AwsError(code="InvalidParameterCombination", message=text)
    answer = RPC_CBOR.error(error, MODEL, "the-id")
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    assert headers["x-amzn-query-error"] == "InvalidParameterCombination;Sender"
    raw = {"status_code": answer.http_status, "headers": headers | {"x-amzn-requestid": "the-id"}, "body": answer.body}
    found = RpcV2CBORParser().parse(raw, None)
    assert found["Error"]["Code"] == "InvalidParameterCombination"
    assert found["Error"].get("Message", text) == text
    assert decode(answer.body)["__type"] == "InvalidParameterCombinationException"


def test_an_error_that_the_service_does_not_know_has_one_name():
    """As the common errors have."""
    answer = RPC_CBOR.error(ValidationException("bad"), MODEL, "id")
    assert decode(answer.body) == {"__type": "ValidationException", "message": "bad"}
    assert dict(answer.headers)[b"x-amzn-query-error"] == b"ValidationError;Sender"


@pytest.mark.parametrize(
    "found",
    [
        request(method="GET"),
        request("/"),
        request("/service/Other/operation/GetMetricStatistics"),
        request("/service/GraniteServiceVersion20100801/GetMetricStatistics"),
        request("/service/GraniteServiceVersion20100801/operation/"),
    ],
)
def test_what_names_no_operation_is_refused(found):
    """Nothing is guessed."""
    with pytest.raises(AwsError) as refused:
        RPC_CBOR.operation_name(found, {}, MODEL)
    assert refused.value.code == "UnknownOperationException"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (bytes.fromhex("bf61610161629f0203ffff"), {"a": 1, "b": [2, 3]}),
        (bytes.fromhex("7f657374726561646d696e67ff"), "streaming"),
        (bytes.fromhex("5f42010243030405ff"), "AQIDBAU="),
        (bytes.fromhex("f93e00"), 1.5),
        (bytes.fromhex("fa47c35000"), 100000.0),
        (bytes.fromhex("1bffffffffffffffff"), (1 << 64) - 1),
        (bytes.fromhex("3903e7"), -1000),
        (bytes.fromhex("c11a514b67b0"), 1363896240),
        (bytes.fromhex("f7"), None),
    ],
)
def test_forms_that_botocore_does_not_write(data, value):
    """Other clients do. Source: examples of RFC 8949, appendix A."""
    assert decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x18",
        b"\x62a",
        b"\x61\xff",
        b"\x01\x01",
        b"\xff",
        b"\x9f\x01",
        b"\xbf\x61a\xff",
        b"\xa1\x01\x01",
        b"\xc2\x41\x01",
        b"\xc1\x61a",
        b"\xc1\xf5",
        b"\x1f",
        b"\x1c",
        b"\xf8\xff",
        b"\x7f\x41a\xff",
        b"\x7f\x7f\xff\xff",
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        b"\x81" * 100_000 + b"\x01",
        b"\xc1" * 100_000 + b"\x01",
    ],
)
def test_what_is_no_item_is_refused(data):
    """Cut short, doubled, of a forbidden kind, of an absurd length or depth."""
    with pytest.raises(BadCbor):
        decode(data)


@given(st.binary(max_size=60))
@example(b"\xfb" + struct.pack(">d", math.nan))
def test_any_bytes_are_parsed_or_refused(data):
    """Nothing else is raised, and a body is parameters or none."""
    with contextlib.suppress(AwsError):
        params = RPC_CBOR.parse(request(body=data), MODEL.operation("ListMetrics"))
        VALIDATORS.validate(MODEL.operation("ListMetrics").input_shape, params)
