"""What callers do wrong, and the answer that AWS gives; nothing may be left behind."""

import http.client
import json

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from server import ROLE, new_name

pytest_plugins = ["server"]


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


def refused(server, request, **client):
    with pytest.raises(ClientError) as caught:
        server.client("sagemaker", **client).create_training_job(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def is_unknown(server, name):
    with pytest.raises(ClientError) as caught:
        server.client("sagemaker").describe_training_job(TrainingJobName=name)
    error = caught.value.response["Error"]
    return (error["Code"], error["Message"]) == ("ValidationException", "Requested resource not found.")


def test_an_unknown_image_is_refused_and_no_job_is_left(server, bucket):
    request = server.job(new_name(), bucket)
    request["AlgorithmSpecification"]["TrainingImage"] = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1"

    code, message = refused(server, request)

    assert code == "ValidationException"
    assert message.startswith("Invalid training image. Please provide a valid Amazon Elastic Container Registry path")
    assert is_unknown(server, request["TrainingJobName"])


def test_a_missing_output_bucket_is_refused(server, bucket):
    request = server.job(
        new_name(), bucket, program="pass", OutputDataConfig={"S3OutputPath": "s3://no-such-bucket-here/o"}
    )

    code, message = refused(server, request)

    assert code == "ValidationException"
    assert "no-such-bucket-here" in message
    assert is_unknown(server, request["TrainingJobName"])


@pytest.mark.parametrize("uri", ["s3://no-such-bucket-here/x", "s3://{bucket}/nothing/below/here"])
def test_a_channel_without_objects_is_refused_in_aws_s_words(server, bucket, uri):
    uri = uri.format(bucket=bucket)
    request = server.job(new_name(), bucket, program="pass", channels=[("train", uri, {})])

    code, message = refused(server, request)

    named = uri.removeprefix("s3://").split("/")[0]
    assert code == "ValidationException"
    assert message == (
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists in '
        f'the selected region (us-east-1), that objects exist under that S3 prefix, and that the role "{ROLE}" has '
        f'"s3:ListBucket" permissions on bucket "{named}".'
    )


def test_a_bad_role_arn_is_refused_with_the_pattern(server, bucket):
    code, message = refused(
        server, server.job(new_name(), bucket, program="pass", RoleArn="arn:aws:iam::1:role/too-short")
    )

    assert code == "ValidationException"
    assert "at 'roleArn' failed to satisfy constraint: Member must satisfy regular expression pattern" in message


def test_a_name_that_is_taken_is_refused_whatever_its_case(server, bucket):
    name = new_name("Taken")
    server.client("sagemaker").create_training_job(**server.job(name, bucket, program="pass"))

    for again in (name, name.upper()):
        code, message = refused(server, server.job(again, bucket, program="pass"))
        assert code == "ResourceInUse"
        assert message == (
            "Training job names must be unique within an AWS account and region, and a training job with this name "
            f"already exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/{name.lower()})"
        )
    server.end(name)


def test_a_wrong_secret_and_an_unknown_key_are_told_apart(server, bucket):
    request = server.job(new_name(), bucket, program="pass")

    assert refused(server, request, secret_key="x" * 40)[0] == "InvalidSignatureException"
    assert refused(server, request, access_key="AKIAUNKNOWNUNKNOWN22")[0] == "UnrecognizedClientException"
    assert is_unknown(server, request["TrainingJobName"])


def test_an_operation_that_is_not_there_is_named(server):
    with pytest.raises(ClientError, match="CreateEndpoint"):
        server.client("sagemaker").create_endpoint(EndpointName="e", EndpointConfigName="c")


def raw(server, body, **headers):
    """Send bytes that no client would send; the answer's status and decoded body."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    try:
        connection.request("POST", "/", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def signed(server, body):
    exports = server.environment()
    request = AWSRequest(
        method="POST",
        url=server.url + "/",
        data=body,
        headers={"X-Amz-Target": "SageMaker.CreateTrainingJob", "Content-Type": "application/x-amz-json-1.1"},
    )
    credentials = Credentials(exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "sagemaker", "us-east-1").add_auth(request)
    return dict(request.headers)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'{"TrainingJobName": 5}'])
def test_malformed_json_is_a_serialization_exception(server, body):
    status, answer = raw(server, body, **signed(server, body))

    assert status == 400
    assert answer["__type"].endswith("SerializationException")


def test_a_tampered_body_is_refused(server):
    body = b'{"TrainingJobName": "a"}'

    status, answer = raw(server, body.replace(b"a", b"b"), **signed(server, body))

    assert status in {400, 403}
    assert answer["__type"].endswith("InvalidSignatureException")


def test_a_body_of_10_mb_is_refused_and_the_server_goes_on(server):
    body = b"x" * 10_000_000

    status, answer = raw(server, body, **signed(server, body))

    assert status == 413
    assert answer["__type"].endswith("RequestEntityTooLargeException")
    assert "TrainingJobSummaries" in server.client("sagemaker").list_training_jobs()


def test_a_member_that_would_be_ignored_is_refused_by_name(server, bucket):
    config = {"S3OutputPath": f"s3://{bucket}/c"}
    request = server.job(new_name(), bucket, program="pass", TensorBoardOutputConfig=config)

    code, message = refused(server, request)

    assert code == "ValidationException"
    assert "'tensorBoardOutputConfig' is not supported" in message


def test_what_botocore_lets_through_is_caught_here(server):
    lax = Config(parameter_validation=False)
    code, message = refused(server, {"TrainingJobName": "-bad-"}, config=lax)

    assert code == "ValidationException"
    assert "validation errors detected: " in message
    assert "'trainingJobName'" in message


def test_refusals_leave_no_instance(server):
    found = [entry.name for entry in (server.home / "instances").iterdir()]
    assert [name for name in found if not name.startswith((".", "Taken"))] == []
