"""The old presigned URLs of S3, with botocore as their maker."""

from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec.structs import replace

from clary.aws import sigv2
from clary.aws.canonical import Request
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import Credential
from clary.base.clock import Instant, later

NOW = Instant(1_700_000_000_000)
CREDENTIAL = Credential(
    access_key_id="AKIDEXAMPLE",
    secret_access_key="secret",
    account_id="000000000000",
    principal_arn="arn:aws:iam::000000000000:root",
    user_id="000000000000",
)
TEMPORARY = replace(CREDENTIAL, access_key_id="ASIAEXAMPLE", session_token="a+b/c=")
KNOWN = {each.access_key_id: each for each in (CREDENTIAL, TEMPORARY)}.get


def presigned(url="http://h/b/k", method="GET", key=CREDENTIAL, headers=None):
    request = AWSRequest(method=method, url=url, headers=headers or {})
    with mock.patch("time.time", return_value=NOW / 1000):
        credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token)
        botocore.auth.HmacV1QueryAuth(credentials, expires=60).add_auth(request)
    parts = urlsplit(request.prepare().url)
    return Request(
        method=method, raw_path=parts.path.encode(), query=parts.query.encode(), headers=[(b"host", b"h")], body=None
    )


@pytest.mark.parametrize("key", [CREDENTIAL, TEMPORARY], ids=["lasting", "temporary"])
@pytest.mark.parametrize(
    "url",
    [
        "http://h/b/a%20b%2Bc%C3%A9",
        "http://h/b/k?uploadId=x%2F%3D&partNumber=3&unsigned=1",
        "http://h/b/k?response-content-disposition=attachment%3B%20filename%3Dx&versionId=1",
        "http://h/b/k?uploads",
        "http://h/b",
    ],
)
def test_what_botocore_presigns_verifies_until_it_runs_out(url, key):
    """Odd keys, signed parameters and session tokens included."""
    request = presigned(url, key=key)
    assert sigv2.is_presigned(request.query)
    assert sigv2.verify(request, credentials=KNOWN, now=later(NOW, 60)) is key
    with pytest.raises(Refused) as refused:
        sigv2.verify(request, credentials=KNOWN, now=later(NOW, 61))
    assert refused.value.cause is Cause.EXPIRED


def test_a_signed_content_type_may_stand_in_the_header_or_in_the_query():
    """botocore copies it into the URL; the uploader sends it, or not."""
    request = presigned(method="PUT", headers={"Content-Type": "text/plain", "x-amz-acl": "private"})
    assert sigv2.verify(request, credentials=KNOWN, now=NOW) is CREDENTIAL
    sent = replace(request, headers=[(b"Content-Type", b"text/plain"), (b"X-Amz-Acl", b"private")])
    assert sigv2.verify(sent, credentials=KNOWN, now=NOW) is CREDENTIAL


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda r: replace(r, method="PUT"), Cause.MISMATCH),
        (lambda r: replace(r, raw_path=b"/b/other"), Cause.MISMATCH),
        (lambda r: replace(r, query=r.query + b"&versionId=2"), Cause.MISMATCH),
        (lambda r: replace(r, query=r.query.replace(b"Expires=1", b"Expires=2")), Cause.MISMATCH),
        (lambda r: replace(r, query=r.query.replace(b"Expires=1", b"Expires=x")), Cause.MISSING),
        (lambda r: replace(r, query=r.query.replace(b"AKIDEXAMPLE", b"NOBODY")), Cause.UNKNOWN_KEY),
        (lambda r: replace(r, query=r.query.replace(b"AKIDEXAMPLE", b"ASIAEXAMPLE")), Cause.WRONG_TOKEN),
        (lambda r: replace(r, headers=[(b"x-amz-acl", b"public-read")]), Cause.MISMATCH),
        (lambda r: replace(r, headers=[(b"authorization", b"AWS x:y")]), Cause.SEVERAL),
    ],
)
def test_each_alteration_is_refused(change, cause):
    """An altered URL opens nothing."""
    with pytest.raises(Refused) as refused:
        sigv2.verify(change(presigned()), credentials=KNOWN, now=NOW)
    assert refused.value.cause is cause
