"""The query protocol against botocore: what it serialises we parse, what we write it parses."""

from urllib.parse import urlencode

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import QueryParser
from botocore.serialize import QuerySerializer
from hypothesis import given
from hypothesis import strategies as st

from clary.aws.canonical import Request
from clary.aws.errors import AwsError, ValidationException
from clary.aws.model import ServiceModel
from clary.aws.query_xml import QUERY_XML

MODELS = {name: ServiceModel(name) for name in ("sts", "iam", "monitoring")}
JUDGES = {
    name: BotocoreModel(Loader().load_service_model(folder, "service-2"), name)
    for name, folder in (("sts", "sts"), ("iam", "iam"), ("monitoring", "cloudwatch"))
}


def request(form, method="POST"):
    encoded = urlencode(form).encode()
    body, query = (encoded, b"") if method == "POST" else (b"", encoded)
    return Request(method=method, raw_path=b"/", query=query, headers=[], body=body)


def sent(service, operation, params):
    serialized = QuerySerializer().serialize_to_request(params, JUDGES[service].operation_model(operation))
    return request(serialized["body"])


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("sts", "GetCallerIdentity", {}),
        (
            "sts",
            "AssumeRole",
            {
                "RoleArn": "arn:aws:iam::1:role/r",
                "RoleSessionName": "s & <é>",
                "DurationSeconds": 900,
                "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}],
                "PolicyArns": [{"arn": "x"}],
                "TransitiveTagKeys": ["a", "b"],
            },
        ),
        ("iam", "SimulatePrincipalPolicy", {"PolicySourceArn": "arn", "ActionNames": [f"s3:{n}" for n in range(12)]}),
        ("iam", "CreateUser", {"UserName": "u", "Tags": []}),
        (
            "monitoring",
            "GetMetricStatistics",
            {
                "Namespace": "/aws/sagemaker/TrainingJobs",
                "MetricName": "loss",
                "Dimensions": [{"Name": "TrainingJobName", "Value": "j"}],
                "StartTime": "2023-11-14T22:13:20Z",
                "Period": 60,
                "Statistics": ["Average", "Maximum"],
            },
        ),
        ("monitoring", "PutMetricAlarm", {"AlarmName": "a", "ActionsEnabled": False, "Threshold": 1.5}),
    ],
)
def test_what_botocore_serialises_comes_back(service, operation, params):
    """Lists, structures in lists, numbers, booleans, empty lists, texts of any kind."""
    found = sent(service, operation, params)
    assert QUERY_XML.operation_name(found, {}, MODELS[service]) == operation
    assert QUERY_XML.parse(found, MODELS[service].operation(operation)) == params


@pytest.mark.parametrize(
    ("service", "operation", "result"),
    [
        ("sts", "GetCallerIdentity", {"UserId": "U", "Account": "000000000000", "Arn": "a<&>\"'é\u2028"}),
        (
            "iam",
            "ListRoleTags",
            {"Tags": [{"Key": "k", "Value": "v"}, {"Key": "k2", "Value": ""}], "IsTruncated": True},
        ),
        ("iam", "ListRoleTags", {"Tags": [], "IsTruncated": False}),
        ("monitoring", "ListMetrics", {"Metrics": [{"Namespace": "n", "Dimensions": [{"Name": "a", "Value": "b"}]}]}),
        ("iam", "GetAccountSummary", {"SummaryMap": {"Users": 1, "Groups": 2}}),
    ],
)
def test_what_we_write_botocore_parses(service, operation, result):
    """The answer means the same on the other side, and carries the request id."""
    model = MODELS[service]
    answer = QUERY_XML.result(result, model.operation(operation), model, "the-id")
    raw = {"status_code": 200, "headers": {}, "body": answer.body}
    parsed = QueryParser().parse(raw, JUDGES[service].operation_model(operation).output_shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "the-id"
    assert parsed == result


def test_times_are_written_in_iso_8601():
    """From the seconds that every handler answers with."""
    model = MODELS["sts"]
    value = {"Credentials": {"AccessKeyId": "a", "Expiration": 1_700_000_000.25}}
    body = QUERY_XML.result(value, model.operation("AssumeRole"), model, "id").body
    assert b"<Expiration>2023-11-14T22:13:20.250Z</Expiration>" in body


@given(st.text())
def test_an_error_with_any_text_can_be_read(text):
    """No character of a message makes the answer unreadable."""
    answer = QUERY_XML.error(ValidationException(text), MODELS["sts"], "the-id")
    raw = {"status_code": answer.http_status, "headers": {}, "body": answer.body}
    parsed = QueryParser().parse(raw, None)
    assert parsed["Error"]["Code"] == "ValidationError"
    assert parsed["ResponseMetadata"]["RequestId"] == "the-id"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "MissingAction"),
        ({"Action": "NoSuch", "Version": "2011-06-15"}, "InvalidAction"),
        ({"Action": "GetCallerIdentity", "Version": "1999-01-01"}, "InvalidAction"),
    ],
)
def test_what_names_no_operation_is_refused(form, code):
    """Source: common errors of the query protocol."""
    with pytest.raises(AwsError) as refused:
        QUERY_XML.operation_name(request(form), {}, MODELS["sts"])
    assert refused.value.code == code


def test_parameters_may_stand_in_the_query_string():
    """GET, as in a presigned URL; what signs it is no parameter."""
    found = request({"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": "r", "X-Amz-Date": "x"}, method="GET")
    assert QUERY_XML.operation_name(found, {}, MODELS["sts"]) == "AssumeRole"
    assert QUERY_XML.parse(found, MODELS["sts"].operation("AssumeRole")) == {"RoleArn": "r"}


def test_a_number_that_is_none_is_refused():
    """A text where the model has an integer."""
    with pytest.raises(AwsError) as refused:
        QUERY_XML.parse(request({"DurationSeconds": "long"}), MODELS["sts"].operation("AssumeRole"))
    assert refused.value.code == "MalformedInput"


def test_a_name_of_a_million_dots_costs_nothing():
    """Deeper than any shape: dropped, not unfolded."""
    found = request({"Tags" + "." * 500_000: "x", "RoleArn": "r"})
    assert QUERY_XML.parse(found, MODELS["sts"].operation("AssumeRole")) == {"RoleArn": "r"}
