"""Credentials of a job, on the real store: what they reach, and everything that they must not."""

import asyncio
import base64
import hashlib
import hmac
import json
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET

import boto3
import pytest
from botocore.exceptions import ClientError

from clary.base.clock import SystemClock
from clary.storage import seaweedfs_files
from clary.storage.session_policy import Grant
from clary.storage.sts import LONGEST_S, SHORTEST_S, SessionCredentials, StsClient, StsRefused, StsUnavailable, _read
from weed import s3_client

pytest_plugins = ["weed"]


@pytest.fixture(scope="module")
def sts(weed_store):
    """The client of the store's STS."""
    embedded = weed_store.embedded
    return StsClient(
        weed_store.endpoint_url,
        credential=embedded.credentials,
        role_arn=embedded.role_arn,
        region=embedded.region,
        clock=SystemClock(),
    )


@pytest.fixture(scope="module")
def bucket(weed_store):
    """A bucket with objects inside and outside the grants of the job."""
    name = weed_store.bucket()
    for key in ("train/a", "train/deep/b", "train-private", "output/old", "secret/k", "single"):
        weed_store.client().put_object(Bucket=name, Key=key, Body=key.encode())
    return name


@pytest.fixture(scope="module")
def credentials(weed_store, sts, bucket):
    """A job that reads `train/` and the object `single` and writes `output/job/`."""
    grants = [
        Grant(access="read", bucket=bucket, prefix="train/"),
        Grant(access="read", bucket=bucket, prefix="single", exact=True),
        Grant(access="write", bucket=bucket, prefix="output/job/"),
    ]
    ((covered, given),) = weed_store.loop.run(sts.assume(grants, 3600, "job name/1"))
    assert covered == tuple(grants)
    return given


@pytest.fixture(scope="module")
def job(weed_store, credentials):
    """boto3 as the job's code has it."""
    return _client(weed_store, credentials)


def _client(store, credentials, **changed):
    given = {
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "session_token": credentials.session_token,
    } | changed
    return s3_client(store.endpoint_url, **given)


def _code(call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    return refusal.value.response["Error"]["Code"]


def test_reads_its_channels(job, bucket):
    """Objects below a granted prefix, and a single granted object, are read, listed and measured; a miss is a miss."""
    assert job.get_object(Bucket=bucket, Key="train/a")["Body"].read() == b"train/a"
    assert job.get_object(Bucket=bucket, Key="single")["Body"].read() == b"single"
    assert job.head_object(Bucket=bucket, Key="train/deep/b")["ContentLength"] == 12
    for prefix in ("train/", "single"):
        listed = job.list_objects_v2(Bucket=bucket, Prefix=prefix)
        assert all(entry["Key"].startswith(prefix) for entry in listed["Contents"])
    assert _code(job.get_object, Bucket=bucket, Key="train/nothing") == "NoSuchKey"


def test_writes_its_output(job, bucket):
    """An object and a multipart upload go into the granted prefix, and an upload begun is given up."""
    job.put_object(Bucket=bucket, Key="output/job/model.tar.gz", Body=b"x")
    upload = job.create_multipart_upload(Bucket=bucket, Key="output/job/big")["UploadId"]
    tag = job.upload_part(Bucket=bucket, Key="output/job/big", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    job.complete_multipart_upload(Bucket=bucket, Key="output/job/big", UploadId=upload, MultipartUpload=parts)
    upload = job.create_multipart_upload(Bucket=bucket, Key="output/job/big2")["UploadId"]
    job.abort_multipart_upload(Bucket=bucket, Key="output/job/big2", UploadId=upload)


def test_looks_for_its_own_unfinished_uploads(job, weed_store, bucket):
    """Those below its output prefix, and no others."""
    client = weed_store.client()
    begun = {
        key: client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        for key in ("output/job/left", "output/other")
    }
    listed = job.list_multipart_uploads(Bucket=bucket, Prefix="output/job/left")["Uploads"]
    assert [(upload["Key"], upload["UploadId"]) for upload in listed] == [("output/job/left", begun["output/job/left"])]
    for prefix in ("", "output/", "output/other", "train/"):
        assert _code(job.list_multipart_uploads, Bucket=bucket, Prefix=prefix) == "AccessDenied"
    for key, upload in begun.items():
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


@pytest.mark.parametrize("key", ["secret/k", "train-private", "output/old", "output/job/x", "singles"])
def test_reads_nothing_else(job, bucket, key):
    """No object outside the grants is read, not even one whose name begins like a granted one, nor what it wrote."""
    assert _code(job.get_object, Bucket=bucket, Key=key) == "AccessDenied"
    assert _code(job.head_object, Bucket=bucket, Key=key) == "403"


@pytest.mark.parametrize("prefix", ["", "train", "secret/", "output/", "output/job/", "single2"])
def test_lists_nothing_else(job, bucket, prefix):
    """A list must stay below a granted prefix."""
    assert _code(job.list_objects_v2, Bucket=bucket, Prefix=prefix) == "AccessDenied"
    assert _code(job.list_objects, Bucket=bucket, Prefix=prefix) == "AccessDenied"
    assert _code(job.list_object_versions, Bucket=bucket, Prefix=prefix) == "AccessDenied"


@pytest.mark.parametrize("key", ["secret/k", "train/a", "output/old", "output/job", "single"])
def test_writes_nothing_else(job, weed_store, bucket, key):
    """Outside the output prefix nothing is put, copied, deleted or begun, and what was there stays."""
    assert _code(job.put_object, Bucket=bucket, Key=key, Body=b"evil") == "AccessDenied"
    assert _code(job.create_multipart_upload, Bucket=bucket, Key=key) == "AccessDenied"
    assert _code(job.delete_object, Bucket=bucket, Key=key) == "AccessDenied"
    source = {"Bucket": bucket, "Key": "train/a"}
    assert _code(job.copy_object, Bucket=bucket, Key=key, CopySource=source) == "AccessDenied"
    several = job.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [error["Code"] for error in several["Errors"]] == ["AccessDenied"]
    if key != "output/job":
        assert weed_store.client().get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def test_copies_nothing_out_of_elsewhere(job, bucket):
    """A copy into the output prefix needs leave to read its source."""
    source = {"Bucket": bucket, "Key": "secret/k"}
    assert _code(job.copy_object, Bucket=bucket, Key="output/job/c", CopySource=source) == "AccessDenied"
    upload = job.create_multipart_upload(Bucket=bucket, Key="output/job/c")["UploadId"]
    part = {"Bucket": bucket, "Key": "output/job/c", "UploadId": upload, "PartNumber": 1, "CopySource": source}
    assert _code(job.upload_part_copy, **part) == "AccessDenied"
    job.abort_multipart_upload(Bucket=bucket, Key="output/job/c", UploadId=upload)


@pytest.mark.parametrize("key", ["train/../secret/k", "train/./../secret/k", "train//../secret/k"])
def test_dots_lead_nowhere(job, bucket, key):
    """A name with dots is a name: it does not climb out of a granted prefix."""
    assert _code(job.get_object, Bucket=bucket, Key=key) in {"InvalidRequest", "NoSuchKey"}


def test_buckets_are_out_of_reach(job, weed_store, bucket):
    """The job makes, changes, sees and deletes no bucket."""
    other = weed_store.bucket()
    assert _code(job.create_bucket, Bucket="made-by-a-job") == "AccessDenied"
    assert _code(job.delete_bucket, Bucket=other) == "AccessDenied"
    assert _code(job.list_objects_v2, Bucket=other, Prefix="train/") == "AccessDenied"
    assert _code(job.put_bucket_policy, Bucket=bucket, Policy="{}") == "AccessDenied"
    assert _code(job.put_bucket_acl, Bucket=bucket, ACL="public-read") == "AccessDenied"
    assert job.list_buckets()["Buckets"] == []


def test_job_cannot_assume_the_role_again(weed_store, credentials):
    """Otherwise it would drop its policy and read everything."""
    client = boto3.client(
        "sts",
        endpoint_url=weed_store.endpoint_url,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        region_name="us-east-1",
    )
    arn = weed_store.embedded.role_arn
    for name in ("clary", "job-name-1"):
        assert _code(client.assume_role, RoleArn=arn, RoleSessionName=name) == "AccessDenied"
    assert _code(client.get_federation_token, Name="clary") == "AccessDenied"
    with pytest.raises(ClientError):
        client.get_session_token()


def test_presigned_url_carries_no_more_rights(weed_store, credentials, bucket):
    """A URL signed with the job's credentials reaches what they reach."""
    job = _client(weed_store, credentials, signature_version="s3v4")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    good = job.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "train/a"})
    with opener.open(good) as response:
        assert response.read() == b"train/a"
    bad = job.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "secret/k"})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        opener.open(bad)
    assert refusal.value.code == 403
    refusal.value.close()


def _claims(token):
    header, payload, signature = token.split(".")
    return header, json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))), signature


def test_altered_or_missing_token_is_refused(weed_store, credentials, bucket):
    """The token is proved: without it, with a longer life or a wider policy written into it, there is no access."""
    assert _code(_client(weed_store, credentials, session_token=None).head_bucket, Bucket=bucket) == "403"
    header, claims, signature = _claims(credentials.session_token)
    for altered in (
        claims | {"exp": claims["exp"] + 3600},
        {k: v for k, v in claims.items() if "pol" not in k.lower()},
    ):
        text = base64.urlsafe_b64encode(json.dumps(altered).encode()).decode().rstrip("=")
        client = _client(weed_store, credentials, session_token=f"{header}.{text}.{signature}")
        assert _code(client.get_object, Bucket=bucket, Key="train/a") in {
            "AccessDenied",
            "InvalidAccessKeyId",
            "InvalidToken",
        }
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    client = _client(weed_store, credentials, session_token=f"{none}.{credentials.session_token.split('.')[1]}.")
    assert _code(client.get_object, Bucket=bucket, Key="train/a") != "NoSuchKey"
    client = _client(weed_store, credentials, secret_access_key="wrong" * 8)
    assert _code(client.get_object, Bucket=bucket, Key="train/a") == "SignatureDoesNotMatch"


def test_expired_token_is_refused(weed_store, credentials, bucket):
    """After its end a token opens nothing; the end stands in the token that the store itself signed."""
    header, claims, _ = _claims(credentials.session_token)
    key = base64.b64decode(seaweedfs_files.load_secrets(weed_store.embedded._directory).sts_signing_key)

    def signed(changed):
        text = base64.urlsafe_b64encode(json.dumps(claims | changed).encode()).decode().rstrip("=")
        proof = hmac.digest(key, f"{header}.{text}".encode(), hashlib.sha256)
        return f"{header}.{text}." + base64.urlsafe_b64encode(proof).decode().rstrip("=")

    # The same claims signed by us are accepted, so that the refusal below is one of the time.
    client = _client(weed_store, credentials, session_token=signed({}))
    assert client.get_object(Bucket=bucket, Key="train/a")["Body"].read() == b"train/a"
    past = {"iat": claims["iat"] - 7200, "nbf": claims.get("nbf", claims["iat"]) - 7200, "exp": claims["iat"] - 3600}
    client = _client(weed_store, credentials, session_token=signed(past))
    assert _code(client.get_object, Bucket=bucket, Key="train/a") == "InvalidAccessKeyId"


def test_lifetime(weed_store, sts, bucket):
    """The end of the credentials is told, and lies between 15 minutes and 12 hours ahead whatever is asked."""
    grants = [Grant(access="read", bucket=bucket, prefix="train/")]
    for asked, expected in ((1, SHORTEST_S), (3600, 3600), (10**6, LONGEST_S)):
        ((_, given),) = weed_store.loop.run(sts.assume(grants, asked, "x"))
        assert abs(given.expiration - SystemClock().now() - expected * 1000) < 10_000
        assert given.secret_access_key not in repr(given)


def test_many_grants_take_several_credentials(weed_store, sts, bucket):
    """When one policy cannot hold all grants, each set of credentials reaches its own and not the others'."""
    grants = [Grant(access="read", bucket=bucket, prefix=f"{'p' * 100}{number}/") for number in range(20)]
    given = weed_store.loop.run(sts.assume(grants, 900, "many"))
    assert len(given) > 1
    assert [grant for covered, _ in given for grant in covered] == grants
    (first, mine), (second, _) = given[:2]
    client = _client(weed_store, mine)
    assert client.list_objects_v2(Bucket=bucket, Prefix=first[0].prefix)["KeyCount"] == 0
    assert _code(client.list_objects_v2, Bucket=bucket, Prefix=second[0].prefix) == "AccessDenied"


def test_no_grants_no_credentials(weed_store, sts):
    """Credentials without a policy would open everything, so none are made."""
    assert weed_store.loop.run(sts.assume([], 900, "x")) == []


def test_refusals_and_failures(weed_store, sts, bucket):
    """A role that does not trust us is a refusal; a store that is away is not."""
    grants = [Grant(access="read", bucket=bucket, prefix="train/")]
    embedded = weed_store.embedded
    options = {"credential": embedded.credentials, "region": "us-east-1", "clock": SystemClock()}
    stranger = StsClient(weed_store.endpoint_url, role_arn="arn:aws:iam::role/other", **options)
    with pytest.raises(StsRefused):
        weed_store.loop.run(stranger.assume(grants, 900, "x"))
    away = StsClient("http://127.0.0.1:9", role_arn=embedded.role_arn, **options)
    with pytest.raises(StsUnavailable):
        asyncio.run(away.assume(grants, 900, "x"))


def test_answers_of_other_stores():
    """The answer is read whatever its namespace; a failure of the store is told from a refusal."""
    body = (
        b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey>"
        b"<SessionToken>T</SessionToken><Expiration>2026-11-23T13:00:00Z</Expiration></Credentials></AssumeRoleResult>"
        b"</AssumeRoleResponse>"
    )
    expected = SessionCredentials(access_key_id="A", secret_access_key="S", session_token="T", expiration=1795438800000)
    assert _read(200, body) == expected
    root = ET.fromstring(body)
    root.set("xmlns", "https://sts.amazonaws.com/doc/2011-06-15/")
    assert _read(200, ET.tostring(root)) == expected
    error = b"<ErrorResponse><Error><Code>X</Code><Message>m</Message></Error></ErrorResponse>"
    with pytest.raises(StsRefused, match="X: m"):
        _read(400, error)
    for status, answer in ((500, error), (502, b"bad gateway"), (200, b"<a/>")):
        with pytest.raises(StsUnavailable):
            _read(status, answer)
