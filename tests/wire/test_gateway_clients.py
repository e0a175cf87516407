"""The gateway under real clients: boto3 over a socket, with handlers that stand in for the rooms above."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import logging
import socket
from datetime import UTC, datetime
from types import SimpleNamespace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError
from msgspec.structs import replace

import asgi_server
from clary.aws import sigv4
from clary.aws.canonical import Request
from clary.aws.errors import AccessDeniedException, ResourceInUse, ResourceNotFoundException, ValidationException
from clary.aws.gateway import BODY_LIMIT_BYTES, Gateway
from clary.aws.handlers import Service
from clary.aws.sigv4 import Credential, SigningKeys
from clary.base.clock import FixedClock, SystemClock, later

ROOT = Credential(
    access_key_id="AKIDEXAMPLE",
    secret_access_key="secret",
    account_id="000000000000",
    principal_arn="arn:aws:iam::000000000000:root",
    user_id="000000000000",
)
TEMPORARY = replace(ROOT, access_key_id="ASIAEXAMPLE", session_token="the-token", user_id="AROA:session")
CLOCK = SystemClock()
LATE = FixedClock(later(CLOCK.now(), 3600))
PAYLOAD = b"not for the gateway"


async def describe(context, params):
    if params["TrainingJobName"] == "broken":
        raise RuntimeError("a detail of ours")
    if params["TrainingJobName"] == "unencodable":
        return {"TrainingJobName": object()}
    if params["TrainingJobName"] == "forbidden":
        raise AccessDeniedException("User: x is not authorized")
    if params["TrainingJobName"].startswith("missing"):
        raise ValidationException("Requested resource not found.")
    return {
        "TrainingJobName": params["TrainingJobName"],
        "TrainingJobArn": f"arn:aws:sagemaker:{context.region}:{context.account_id}:training-job/x",
        "CreationTime": 1_700_000_000.25,
        "RoleArn": context.caller.user_id,
    }


async def create(context, params):
    raise ResourceInUse(f"Training job names must be unique: {params['TrainingJobName']}")


async def stop(context, params):
    return None


async def list_jobs(context, params):
    return {"TrainingJobSummaries": [], "NextToken": repr(params)}


async def log_streams(context, params):
    raise ResourceNotFoundException("The specified log group does not exist.")


async def whoami(context, params):
    return {"Account": context.account_id, "Arn": context.caller.principal_arn, "UserId": context.caller.user_id}


async def s3(scope, receive, send):
    """Tells what it was handed."""
    message = await receive()
    body = f"{scope['method']} {scope['raw_path'].decode()} {len(message['body'])}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


SERVICES = [
    Service(
        name="sagemaker",
        handlers={
            "DescribeTrainingJob": describe,
            "CreateTrainingJob": create,
            "StopTrainingJob": stop,
            "ListTrainingJobs": list_jobs,
        },
    ),
    Service(name="logs", handlers={"DescribeLogStreams": log_streams}),
    Service(name="sts", handlers={"GetCallerIdentity": whoami}),
]


def gateway(clock=CLOCK, gate=s3):
    return Gateway(
        services=SERVICES,
        credentials={each.access_key_id: each for each in (ROOT, TEMPORARY)}.get,
        clock=clock,
        account_id="000000000000",
        region="eu-west-1",
        s3=gate,
    )


@contextlib.contextmanager
def served(app):
    """Serve the application on a free port, in a thread."""
    with asgi_server.served(app, log_level="warning") as url:
        yield url


@pytest.fixture(scope="module")
def url():
    with served(gateway()) as address:
        yield address


@pytest.fixture(scope="module")
def late_url():
    with served(gateway(LATE)) as address:
        yield address


def client(service, url, key=ROOT, **options):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False, **options),
    )


def signed(url, body, *, target="SageMaker.DescribeTrainingJob", service="sagemaker", extra=()):
    """Headers of a correct request, for what boto3 would never send."""
    host = url.removeprefix("http://").encode()
    headers = [(b"host", host), (b"content-type", b"application/x-amz-json-1.1"), (b"x-amz-target", target.encode())]
    headers += extra
    request = Request(method="POST", raw_path=b"/", query=b"", headers=headers, body=body)
    added = sigv4.sign(
        request, credential=ROOT, region="us-east-1", service=service, now=CLOCK.now(), signing_keys=SigningKeys()
    )
    return {name.decode(): value.decode() for name, value in [*headers, *added]}


def post(url, body=b"", headers=None, method="POST", path="/"):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return SimpleNamespace(status=answer.status, headers=answer.headers, body=answer.read())
    finally:
        connection.close()


def code_of(answer):
    return json.loads(answer.body)["__type"]


@pytest.mark.parametrize("key", [ROOT, TEMPORARY], ids=["lasting", "temporary"])
def test_a_call_succeeds(url, key):
    """Timestamps, the configured region, the caller and the request id reach their places."""
    answer = client("sagemaker", url, key).describe_training_job(TrainingJobName="job")
    assert answer["CreationTime"].astimezone(UTC) == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    assert answer["TrainingJobArn"] == "arn:aws:sagemaker:eu-west-1:000000000000:training-job/x"
    assert answer["RoleArn"] == key.user_id
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.1"


def test_an_operation_without_output_answers_an_empty_body(url):
    """As StopTrainingJob does."""
    answer = client("sagemaker", url).stop_training_job(TrainingJobName="job")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"


def test_times_arrive_as_seconds(url):
    """boto3 sends microseconds as a JSON number."""
    moment = datetime(2023, 11, 14, 22, 13, 20, 988_435, UTC)
    answer = client("sagemaker", url).list_training_jobs(CreationTimeAfter=moment, MaxResults=3)
    assert answer["NextToken"] == "{'CreationTimeAfter': 1700000000.988435, 'MaxResults': 3}"


def test_a_modelled_error_becomes_its_typed_exception(url):
    """boto3 finds the code and the text."""
    sagemaker = client("sagemaker", url)
    with pytest.raises(sagemaker.exceptions.ResourceInUse) as raised:
        sagemaker.create_training_job(
            TrainingJobName="twice",
            RoleArn="arn:aws:iam::123456789012:role/name",
            OutputDataConfig={"S3OutputPath": "s3://b/o"},
        )
    assert raised.value.response["Error"]["Message"] == "Training job names must be unique: twice"
    logs = client("logs", url)
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")


def test_the_waiter_ends_at_once_for_a_job_that_is_missing(url):
    """ValidationException on Describe means failure to botocore's waiter: it does not poll on."""
    waiter = client("sagemaker", url).get_waiter("training_job_completed_or_stopped")
    with pytest.raises(WaiterError, match="ValidationException"):
        waiter.wait(TrainingJobName="missing")


def test_sts_speaks_xml(url):
    """Success and error through the query protocol."""
    answer = client("sts", url).get_caller_identity()
    assert (answer["Account"], answer["Arn"]) == ("000000000000", ROOT.principal_arn)
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    with pytest.raises(ClientError) as raised:
        client("sts", url).get_session_token()
    assert raised.value.response["Error"]["Code"] == "UnsupportedOperationException"
    assert raised.value.response["Error"]["Message"] == "Clary does not implement STS GetSessionToken."


def test_a_presigned_identity_verifies(url):
    """GetCallerIdentity as a URL that anybody may fetch."""
    link = client("sts", url).generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    answer = post(url, method="GET", path=link.removeprefix(url))
    assert answer.status == 200
    assert b"<Account>000000000000</Account>" in answer.body


STRANGER = replace(ROOT, access_key_id="NOBODY")
LIAR = replace(ROOT, secret_access_key="wrong")
FORGETFUL = replace(TEMPORARY, session_token=None)


@pytest.mark.parametrize(
    ("service", "key", "code", "status"),
    [
        ("sagemaker", STRANGER, "UnrecognizedClientException", 400),
        ("sagemaker", LIAR, "InvalidSignatureException", 400),
        ("sagemaker", FORGETFUL, "UnrecognizedClientException", 400),
        ("sts", STRANGER, "InvalidClientTokenId", 403),
        ("sts", LIAR, "SignatureDoesNotMatch", 403),
        ("logs", LIAR, "InvalidSignatureException", 400),
    ],
)
def test_nobody_gets_in_uninvited(url, service, key, code, status):
    """Unknown key, wrong secret, missing session token: in the words of each protocol."""
    calls = {
        "sagemaker": lambda: client("sagemaker", url, key).list_training_jobs(),
        "sts": lambda: client("sts", url, key).get_caller_identity(),
        "logs": lambda: client("logs", url, key).describe_log_streams(logGroupName="x"),
    }
    with pytest.raises(ClientError) as raised:
        calls[service]()
    assert raised.value.response["Error"]["Code"] == code
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_clock_that_is_off_is_named(late_url):
    """The answer says which of the two times is which."""
    with pytest.raises(ClientError, match=r"Signature expired: \d+T\d+Z is now earlier than") as raised:
        client("sagemaker", late_url).list_training_jobs()
    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_a_tampered_body_is_refused(url):
    """The signature covers what was meant, not what arrived."""
    headers = signed(url, b'{"TrainingJobName":"mine"}')
    assert code_of(post(url, b'{"TrainingJobName":"your"}', headers)) == "InvalidSignatureException"


def test_a_signature_for_one_service_opens_no_other(url):
    """The scope must agree with the target."""
    headers = signed(url, b"{}", target="SageMaker.ListTrainingJobs", service="logs")
    answer = post(url, b"{}", headers)
    assert code_of(answer) == "InvalidSignatureException"
    assert "correct service: 'sagemaker'" in json.loads(answer.body)["message"]


def test_two_readings_of_a_crafted_header_do_not_count(url):
    """A header that names two services is used for neither."""
    headers = signed(url, b"{}", target="SageMaker.ListTrainingJobs", service="logs")
    crafted = "X-Credential=AKIDEXAMPLE/20231114/us-east-1/sagemaker/aws4_request, Credential="
    headers["authorization"] = headers["authorization"].replace("Credential=", crafted, 1)
    answer = post(url, b"{}", headers)
    assert (answer.status, code_of(answer)) == (400, "InvalidSignatureException")


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"TrainingJobName":1}', b"\xff\xfe"])
def test_a_body_that_cannot_be_read_is_a_serialization_exception(url, body):
    """Malformed JSON, no object, a wrong type."""
    assert code_of(post(url, body, signed(url, body))) == "SerializationException"


@pytest.mark.parametrize("target", ["SageMaker.NoSuchOperation", "SageMaker", "Other.ListTrainingJobs", "."])
def test_an_unknown_target_is_an_unknown_operation(url, target):
    """Whatever it is that was asked for."""
    assert code_of(post(url, b"{}", signed(url, b"{}", target=target))) == "UnknownOperationException"


def test_an_operation_that_is_not_implemented_is_named(url):
    """One well-formed error, whatever the parameters."""
    with pytest.raises(ClientError) as raised:
        client("sagemaker", url).create_endpoint(EndpointName="e")
    assert raised.value.response["Error"] == {
        "Code": "UnsupportedOperationException",
        "Message": "Clary does not implement SageMaker CreateEndpoint.",
    }
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("service", "call"),
    [("dynamodb", "list_tables"), ("ec2", "describe_instances"), ("lambda", "list_functions"), ("iam", "list_roles")],
)
def test_a_service_that_is_not_served_is_named(url, service, call):
    """In a form that the clients of most protocols can read."""
    with pytest.raises(ClientError, match=f"Clary does not implement the service '{service}'"):
        getattr(client(service, url), call)()


def test_violations_of_the_model_reach_the_caller(url):
    """boto3 checks no pattern: the server does."""
    with pytest.raises(ClientError, match="1 validation error detected: Value 'x_!' at 'trainingJobName' failed"):
        client("sagemaker", url).describe_training_job(TrainingJobName="x_!")


@pytest.mark.parametrize("name", ["broken", "unencodable"])
def test_a_fault_of_ours_leaks_nothing_and_is_logged(url, name, caplog):
    """The caller gets the request id, the operator the traceback."""
    with caplog.at_level(logging.INFO, logger="clary.aws"), pytest.raises(ClientError) as raised:
        client("sagemaker", url).describe_training_job(TrainingJobName=name)
    response = raised.value.response
    assert response["Error"]["Code"] == "InternalFailure"
    assert "ours" not in response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 500
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.facts["request_id"] == response["ResponseMetadata"]["RequestId"]
    assert record.exc_info


def test_a_body_of_ten_megabytes_is_answered_and_not_cut_off(url):
    """413 in a form that boto3 reads, and the next request is served."""
    sagemaker = client("sagemaker", url)
    with pytest.raises(ClientError) as raised:
        sagemaker.describe_training_job(TrainingJobName="x" * 10_000_000)
    assert raised.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert sagemaker.describe_training_job(TrainingJobName="job")


def test_a_body_just_under_the_limit_is_read(url):
    """The limit is in bytes of the body."""
    body = b'{"TrainingJobName":"job"}'.ljust(BODY_LIMIT_BYTES)
    assert post(url, body, signed(url, body)).status == 200


def test_gigabytes_by_their_length_are_refused_unread(url):
    """Nothing of the body needs to be sent for the answer to come."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/")
    for name, value in signed(url, b"").items():
        if name != "host":
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(5 << 30))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    connection.close()


def test_a_caller_who_hangs_up_is_no_error(url, caplog):
    """Half a body, then nothing: no line in the log, and the next caller is served."""
    with caplog.at_level(logging.INFO, logger="clary.aws"):
        host, port = url.removeprefix("http://").split(":")
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed(url, b"").items())
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\n{headers}content-length: 1000\r\n\r\nhalf".encode())
        assert post(url, method="GET", path="/_clary/health").status == 200
    assert not caplog.records


def test_health_needs_no_signature(url):
    """What a probe asks."""
    answer = post(url, method="GET", path="/_clary/health")
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')


@pytest.mark.parametrize(
    ("headers", "body", "status", "content_type", "text"),
    [
        ({"X-Amz-Target": "SageMaker.ListTrainingJobs"}, b"{}", 403, "application/x-amz-json-1.1", b"MissingAuthenticationTokenException"),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Action=GetCallerIdentity&Version=2011-06-15",
            403,
            "text/xml",
            b"<Code>MissingAuthenticationToken</Code>",
        ),
        (
            {"X-Amz-Target": "SageMaker.X", "Authorization": "Bearer abc"},
            b"{}",
            400,
            "application/x-amz-json-1.1",
            b"IncompleteSignatureException",
        ),
        (
            {"X-Amz-Target": "SageMaker.X", "Authorization": "AWS4-HMAC-SHA256 Credential=a/20231114/r/sagemaker/aws4_request"},
            b"{}",
            400,
            "application/x-amz-json-1.1",
            b"'SignedHeaders'",
        ),
    ],
)  # fmt: skip
def test_what_is_unsigned_gets_a_well_formed_error(url, headers, body, status, content_type, text):
    """In the protocol that the request looks like, with a request id."""
    answer = post(url, body, headers)
    assert (answer.status, answer.headers["content-type"]) == (status, content_type)
    assert text in answer.body
    assert len(answer.headers["x-amzn-requestid"]) == 36


def test_s3_is_handed_over_unread(url):
    """By its scope in the header or the query, by the old presigned form, and when nothing else claims a request."""
    assert post(url, PAYLOAD, {"Authorization": "AWS AKID:sig"}, "PUT", "/b/k").body == b"PUT /b/k 19"
    assert post(url, b"", None, "GET", "/b/k?AWSAccessKeyId=a&Signature=b&Expires=1").body == b"GET /b/k 0"
    assert post(url, b"", None, "GET", "/").body == b"GET / 0"
    for version in ("s3", "s3v4"):
        link = client("s3", url, signature_version=version).generate_presigned_url(
            "get_object", Params={"Bucket": "bucket", "Key": "a b"}
        )
        assert post(url, method="GET", path=link.removeprefix(url)).body == b"GET /bucket/a%20b 0"
    answer = client("s3", url, request_checksum_calculation="when_required").get_object(Bucket="bucket", Key="key")
    assert answer["Body"].read() == b"GET /bucket/key 0"


def test_without_a_gate_s3_is_refused_in_words_its_clients_read():
    """XML to whoever signs for S3, JSON to whoever signs for nothing."""
    with served(gateway(gate=None)) as address:
        with pytest.raises(ClientError, match="Clary does not implement the service 's3'"):
            client("s3", address).list_buckets()
        assert code_of(post(address, method="GET")) == "MissingAuthenticationTokenException"


def test_many_callers_at_once_get_their_own_answers(url):
    """No answer is another's."""
    sagemaker = client("sagemaker", url, max_pool_connections=16)
    names = [f"job-{number}" for number in range(200)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda name: sagemaker.describe_training_job(TrainingJobName=name), names))
    assert [answer["TrainingJobName"] for answer in answers] == names
    assert len({answer["ResponseMetadata"]["RequestId"] for answer in answers}) == len(names)


def test_a_handler_for_an_operation_that_does_not_exist_stops_the_start():
    """A misspelt name in the dispatch table is found before the first request."""
    with pytest.raises(ValueError, match="sagemaker has no operation CreateTrainingJobs"):
        Gateway(
            services=[Service(name="sagemaker", handlers={"CreateTrainingJobs": create})],
            credentials=lambda *_: None,
            clock=CLOCK,
            account_id="000000000000",
            region="us-east-1",
        )


def test_other_scopes_are_none_of_its_business():
    """Whoever serves it may ask for a lifespan: there is none."""
    asyncio.run(gateway()({"type": "lifespan"}, None, None))
