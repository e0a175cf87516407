"""restJson: method and path, body, answer, with botocore as the judge."""

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import RestJSONParser
from botocore.serialize import RestJSONSerializer

from clary.aws.canonical import Request
from clary.aws.errors import AwsError, ValidationException
from clary.aws.model import ServiceModel
from clary.aws.rest_json import REST_JSON, check_model

MODEL = ServiceModel("sagemaker-metrics")
JUDGE = BotocoreModel(Loader().load_service_model("sagemaker-metrics", "service-2"), "sagemaker-metrics")


def test_what_botocore_serialises_comes_back():
    """The body as it is, the operation by its path."""
    params = {
        "TrialComponentName": "t",
        "MetricData": [{"MetricName": "a", "Timestamp": 1_700_000_000, "Value": 0.5, "Step": 3}],
    }
    serialized = RestJSONSerializer().serialize_to_request(params, JUDGE.operation_model("BatchPutMetrics"))
    found = Request(
        method=serialized["method"],
        raw_path=serialized["url_path"].encode(),
        query=b"",
        headers=[],
        body=serialized["body"],
    )
    assert REST_JSON.operation_name(found, {}, MODEL) == "BatchPutMetrics"
    assert REST_JSON.parse(found, MODEL.operation("BatchPutMetrics")) == params


def test_what_we_write_botocore_parses():
    """Answers, empty answers, errors."""
    value = {"MetricQueryResults": [{"Status": "Complete", "XAxisValues": [1], "MetricValues": [0.5]}]}
    operation = JUDGE.operation_model("BatchGetMetrics")
    answer = REST_JSON.result(value, MODEL.operation("BatchGetMetrics"), MODEL, "id")
    parsed = RestJSONParser().parse({"status_code": 200, "headers": {}, "body": answer.body}, operation.output_shape)
    del parsed["ResponseMetadata"]
    assert parsed == value
    assert REST_JSON.result(None, MODEL.operation("BatchPutMetrics"), MODEL, "id").body == b"{}"
    answer = REST_JSON.error(ValidationException("bad"), MODEL, "id")
    headers = {name.decode(): text.decode() for name, text in answer.headers}
    raw = {"status_code": answer.http_status, "headers": headers, "body": answer.body}
    error = RestJSONParser().parse(raw, operation.output_shape)["Error"]
    assert error == {"Code": "ValidationException", "Message": "bad"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/BatchPutMetrics"), ("PUT", "/"), ("PUT", "/BatchPutMetrics/")])
def test_another_method_or_path_is_an_unknown_operation(method, path):
    """Nothing is guessed."""
    with pytest.raises(AwsError) as refused:
        REST_JSON.operation_name(
            Request(method=method, raw_path=path.encode(), query=b"", headers=[], body=b""), {}, MODEL
        )
    assert refused.value.code == "UnknownOperationException"


def test_what_it_cannot_do_is_noticed_at_start():
    """Members in the path, or a path that is every operation's."""
    check_model(MODEL, ["BatchPutMetrics", "BatchGetMetrics"])
    with pytest.raises(ValueError, match="lambda ListFunctions has"):
        check_model(ServiceModel("lambda"), ["ListFunctions"])
