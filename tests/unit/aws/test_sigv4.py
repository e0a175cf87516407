"""Signature Version 4, with AWS's published examples and botocore's signers as judges."""

import hashlib
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clary.aws import sigv4
from clary.aws.canonical import Request, canonical_path, canonical_query
from clary.aws.claim import service_of
from clary.aws.refusals import CODES, Cause, Refused
from clary.aws.sigv4 import Credential, SigningKeys
from clary.base.clock import Instant, later

VANILLA_SIGNATURE = b"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
NOW = Instant(1_700_000_000_000)
MOMENT = datetime.fromtimestamp(NOW / 1000, UTC).replace(tzinfo=None)
CREDENTIAL = Credential(
    access_key_id="AKIDEXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    account_id="000000000000",
    principal_arn="arn:aws:iam::000000000000:root",
    user_id="000000000000",
)
TEMPORARY = replace(CREDENTIAL, access_key_id="ASIAEXAMPLE", session_token="token/with+odd=characters")
KNOWN = {each.access_key_id: each for each in (CREDENTIAL, TEMPORARY)}.get


def signed_by_botocore(
    signer, *, url, method="GET", data=b"", headers=None, service="sagemaker", key=CREDENTIAL, **options
):
    """A request as it would stand on the wire after one of botocore's signers has been at it."""
    credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token)
    request = AWSRequest(method=method, url=url, data=data, headers={"Host": urlsplit(url).netloc, **(headers or {})})
    request.context["payload_signing_enabled"] = True
    with mock.patch("botocore.auth.get_current_datetime", return_value=MOMENT, create=True):
        signer(credentials, service, "us-east-1", **options).add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    return Request(
        method=method,
        raw_path=parts.path.encode(),
        query=parts.query.encode(),
        headers=[
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in prepared.headers.items()
        ],
        body=data,
    )


def verify(request, *, now=NOW, credentials=KNOWN):
    return sigv4.verify(request, credentials=credentials, now=now, signing_keys=SigningKeys())


def refusal(request, **options):
    with pytest.raises(Refused) as refused:
        verify(request, **options)
    return refused.value


def example(**options):
    return signed_by_botocore(
        botocore.auth.SigV4Auth,
        **{"url": "http://127.0.0.1:7243/", "method": "POST", "data": b'{"TrainingJobName":"a"}', **options},
    )


def with_header(request, name, value):
    kept = [(key, old) for key, old in request.headers if key.lower() != name.lower()]
    return replace(request, headers=[*kept, (name, value)])


def test_the_published_vanilla_request_gets_the_published_signature():
    """Source: AWS Signature Version 4 test suite, get-vanilla."""
    request = Request(
        method="GET",
        raw_path=b"/",
        query=b"",
        headers=[
            (b"Host", b"example.amazonaws.com"),
            (b"X-Amz-Date", b"20150830T123600Z"),
            (
                b"Authorization",
                b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
                b" SignedHeaders=host;x-amz-date, Signature=%b" % VANILLA_SIGNATURE,
            ),
        ],
        body=b"",
    )
    assert verify(request, now=Instant(1_440_938_160_000)).claim.service == "service"


def test_the_published_presigned_url_of_s3_verifies_for_a_day():
    """Source: S3 API reference, authenticating requests with query parameters, the example."""
    key = replace(
        CREDENTIAL, access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    )
    request = Request(
        method="GET",
        raw_path=b"/test.txt",
        query=b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        b"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        b"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        headers=[(b"host", b"examplebucket.s3.amazonaws.com")],
    )
    made = Instant(1_369_353_600_000)
    verified = verify(request, now=later(made, 86_400), credentials={key.access_key_id: key}.get)
    assert verified.payload_hash == sigv4.UNSIGNED_PAYLOAD
    assert refusal(request, now=later(made, 86_401), credentials={key.access_key_id: key}.get).cause is Cause.EXPIRED


@pytest.mark.parametrize("key", [CREDENTIAL, TEMPORARY], ids=["lasting", "temporary"])
def test_what_botocore_signs_in_a_header_verifies(key):
    """A JSON request needs no payload hash header: the body is hashed here."""
    verified = verify(example(key=key, headers={"X-Amz-Target": "SageMaker.DescribeTrainingJob", "Odd": " a   b "}))
    assert verified.credential is key
    assert verified.payload_hash == hashlib.sha256(b'{"TrainingJobName":"a"}').hexdigest()


@pytest.mark.parametrize("key", [CREDENTIAL, TEMPORARY], ids=["lasting", "temporary"])
def test_a_presigned_call_of_another_service_verifies(key):
    """GetCallerIdentity as a presigned URL, the way clusters prove who somebody is."""
    request = signed_by_botocore(
        botocore.auth.SigV4QueryAuth,
        url="http://127.0.0.1:7243/?Action=GetCallerIdentity&Version=2011-06-15",
        service="sts",
        key=key,
        expires=60,
    )
    assert verify(request, now=later(NOW, 59)).credential is key
    assert refusal(request, now=later(NOW, 61)).cause is Cause.EXPIRED


@pytest.mark.parametrize(
    "url",
    [
        "http://h/bucket/plain",
        "http://h/bucket/a%20b%2Bc%C3%A9",
        "http://h/bucket//two/./dots/../kept",
        "http://h/bucket/tilde~%28parens%29%21%27%2A",
        "http://h/bucket?list-type=2&prefix=a%2Fb&delimiter=%2F",
        "http://h/bucket/key?uploads",
        "http://h/bucket?b=2&a=1&a=0&B=3",
    ],
)
@pytest.mark.parametrize("signer", [botocore.auth.S3SigV4Auth, botocore.auth.S3SigV4QueryAuth])
def test_odd_s3_paths_and_queries_verify(signer, url):
    """The path of S3 is encoded once and never normalised."""
    request = signed_by_botocore(signer, url=url, service="s3")
    assert verify(replace(request, body=None)).claim.service == "s3"


segment = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)


@given(st.lists(segment, min_size=1, max_size=4), st.dictionaries(segment, st.text(max_size=8), max_size=4))
def test_any_key_and_any_query_survive_another_client(segments, params):
    """Whatever the key and the parameters, what botocore encodes and signs verifies."""
    path = "/".join(botocore.auth.quote(part, safe="-_.~") for part in segments)
    query = "&".join(
        f"{botocore.auth.quote(name, safe='-_.~')}={botocore.auth.quote(value, safe='-_.~')}"
        for name, value in params.items()
    )
    request = signed_by_botocore(botocore.auth.S3SigV4Auth, url=f"http://h/b/{path}?{query}", service="s3")
    assert verify(request).credential is CREDENTIAL


@given(st.text(max_size=30), st.lists(segment, max_size=3), st.binary(max_size=50))
def test_what_we_sign_verifies(value, segments, body):
    """Our own signature for the store passes our own check, session token included."""
    request = Request(
        method="PUT",
        raw_path=("/" + "/".join(botocore.auth.quote(part) for part in segments)).encode(),
        query=b"x-id=PutObject&a",
        headers=[(b"host", b"127.0.0.1:8333"), (b"x-amz-meta-odd", value.encode()), (b"unsigned", b"1")],
        body=body,
    )
    added = sigv4.sign(
        request, credential=TEMPORARY, region="us-east-1", service="s3", now=NOW, signing_keys=SigningKeys()
    )
    assert verify(replace(request, headers=[*request.headers, *added])).credential is TEMPORARY


def test_our_signature_equals_botocores():
    """botocore, given the same request and moment, writes the same Authorization."""
    theirs = signed_by_botocore(
        botocore.auth.S3SigV4Auth,
        url="http://h/b/k?partNumber=1",
        method="PUT",
        data=b"abc",
        service="s3",
        key=TEMPORARY,
    )
    ours = sigv4.sign(
        Request(method="PUT", raw_path=b"/b/k", query=b"partNumber=1", headers=[(b"host", b"h")], body=b"abc"),
        credential=TEMPORARY,
        region="us-east-1",
        service="s3",
        now=NOW,
        signing_keys=SigningKeys(),
    )
    assert dict(ours)[b"authorization"] == {name.lower(): value for name, value in theirs.headers}[b"authorization"]


def test_a_streaming_payload_returns_the_seed_and_the_key():
    """What a chunk verifier needs to go on: the marker, the seed signature and the signing key."""
    marker = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    request = Request(method="PUT", raw_path=b"/b/k", query=b"", headers=[(b"host", b"h")])
    added = sigv4.sign(
        request,
        credential=CREDENTIAL,
        region="us-east-1",
        service="s3",
        now=NOW,
        signing_keys=SigningKeys(),
        payload_hash=marker,
    )
    verified = verify(replace(request, headers=[*request.headers, *added]))
    assert verified.payload_hash == marker
    assert dict(added)[b"authorization"].decode().endswith(f"Signature={verified.claim.signature}")
    assert verified.signing_key == SigningKeys().derive(CREDENTIAL.secret_access_key, "20231114", "us-east-1", "s3")


def test_a_body_at_hand_is_held_against_the_hash_that_an_s3_caller_declared():
    """A tampered body is noticed, an unsigned one is taken as it is."""
    request = signed_by_botocore(botocore.auth.S3SigV4Auth, url="http://h/b/k", method="PUT", data=b"abc", service="s3")
    assert refusal(replace(request, body=b"abd")).cause is Cause.MISMATCH
    unsigned = Request(method="PUT", raw_path=b"/b/k", query=b"", headers=[(b"host", b"h")], body=b"anything")
    added = sigv4.sign(
        unsigned,
        credential=CREDENTIAL,
        region="us-east-1",
        service="s3",
        now=NOW,
        signing_keys=SigningKeys(),
        payload_hash=sigv4.UNSIGNED_PAYLOAD,
    )
    assert verify(replace(unsigned, headers=[*unsigned.headers, *added])).payload_hash == sigv4.UNSIGNED_PAYLOAD


def test_unsigned_payload_is_no_excuse_outside_s3():
    """A JSON request that declares its body unsigned is still held to it."""
    request = Request(method="POST", raw_path=b"/", query=b"", headers=[(b"host", b"h")], body=b"{}")
    added = sigv4.sign(
        request,
        credential=CREDENTIAL,
        region="us-east-1",
        service="sagemaker",
        now=NOW,
        signing_keys=SigningKeys(),
        payload_hash=sigv4.UNSIGNED_PAYLOAD,
    )
    assert refusal(replace(request, headers=[*request.headers, *added])).cause is Cause.MISMATCH


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda r: replace(r, body=r.body + b" "), Cause.MISMATCH),
        (lambda r: replace(r, method="PUT"), Cause.MISMATCH),
        (lambda r: replace(r, raw_path=b"/other"), Cause.MISMATCH),
        (lambda r: replace(r, query=b"a=b"), Cause.MISMATCH),
        (lambda r: with_header(r, b"Host", b"elsewhere"), Cause.MISMATCH),
        (lambda r: with_header(r, b"X-Amz-Target", b"SageMaker.DeleteTrainingJob"), Cause.UNSIGNED_HEADERS),
        (lambda r: with_header(r, b"X-Amz-Security-Token", b"x"), Cause.WRONG_TOKEN),
        (lambda r: with_header(r, b"X-Amz-Date", b"20231114T221321Z"), Cause.MISMATCH),
        (lambda r: with_header(r, b"X-Amz-Date", b"20231115T221320Z"), Cause.WRONG_SCOPE),
        (lambda r: with_header(r, b"X-Amz-Date", b"today"), Cause.MALFORMED),
        (lambda r: with_header(r, b"X-Amz-Date", b"20231399T221320Z"), Cause.MALFORMED),
        (lambda r: with_header(r, b"Authorization", b"AWS4-HMAC-SHA256 Credential=x"), Cause.MALFORMED),
        (lambda r: with_header(r, b"Authorization", b"AWS4-HMAC-SHA256"), Cause.MALFORMED),
        (lambda r: with_header(r, b"Authorization", b"Bearer abc"), Cause.UNSUPPORTED),
        (lambda r: with_header(r, b"Authorization", b"AWS AKIDEXAMPLE:abc="), Cause.UNSUPPORTED),
        (lambda r: replace(r, query=b"X-Amz-Algorithm=AWS4-HMAC-SHA256"), Cause.SEVERAL),
        (lambda r: replace(r, headers=[]), Cause.MISSING),
    ],
)
def test_each_way_to_be_refused(change, cause):
    """Every alteration of a good request is refused for its own cause."""
    assert refusal(change(example())).cause is cause


def test_an_unsigned_host_is_refused():
    """A signature that leaves the host open could be carried to another server."""
    request = example()
    value = dict(request.headers)[b"Authorization"].replace(b"host;", b"")
    assert refusal(with_header(request, b"Authorization", value)).cause is Cause.UNSIGNED_HEADERS


def test_unknown_keys_and_wrong_tokens_are_told_apart_from_wrong_secrets():
    """Who is unknown is unknown, whatever he signed; a temporary key without its token is no key."""
    assert refusal(example(), credentials={}.get).cause is Cause.UNKNOWN_KEY
    other = replace(CREDENTIAL, secret_access_key="another")
    assert refusal(example(), credentials=lambda *_: other).cause is Cause.MISMATCH
    assert refusal(example(), credentials=lambda *_: TEMPORARY).cause is Cause.WRONG_TOKEN


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (901, "Signature expired: 20231114T221320Z is now earlier than 20231114T221321Z (20231114T222821Z - 15 min.)"),
        (
            -901,
            "Signature not yet current: 20231114T221320Z is still later than 20231114T221319Z (20231114T215819Z + 15 min.)",
        ),
    ],
)
def test_a_clock_that_is_off_by_more_than_fifteen_minutes(seconds, text):
    """Fifteen minutes either way are allowed; beyond them the answer names both times."""
    assert verify(example(), now=later(NOW, 900 if seconds > 0 else -900)).credential is CREDENTIAL
    refused = refusal(example(), now=later(NOW, seconds))
    assert (refused.cause, refused.detail) == (Cause.SKEWED, text)


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "ten", "99999999999999999999", "٣"])
def test_a_presigned_query_lives_between_a_second_and_a_week(expires):
    """X-Amz-Expires outside its bounds, or no number, is refused as a malformed query."""
    request = signed_by_botocore(botocore.auth.S3SigV4QueryAuth, url="http://h/b/k", service="s3", expires=60)
    query = request.query.replace(b"X-Amz-Expires=60", f"X-Amz-Expires={botocore.auth.quote(expires)}".encode())
    assert refusal(replace(request, query=query, body=None)).cause is Cause.MALFORMED_QUERY


def test_the_date_header_serves_where_x_amz_date_is_missing():
    """Clients that set Date themselves sign with it."""
    request = example(headers={"Date": "Tue, 14 Nov 2023 22:13:20 GMT"})
    assert b"X-Amz-Date" not in dict(request.headers)
    assert verify(request).claim.amz_date == "20231114T221320Z"


def test_names_of_signed_headers_may_be_written_in_any_case():
    """HTTP does not care for the case of a header's name."""
    request = example()
    assert verify(replace(request, headers=[(name.upper(), value) for name, value in request.headers]))


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"/a//b/../c/./d/", b"/a/c/d/"),
        (b"/a%20b", b"/a%2520b"),
        (b"/../..", b"/"),
        (b"/a/..", b"/"),
    ],
)
def test_other_paths_are_normalised_and_encoded_twice(path, canonical):
    """Source: IAM user guide, create a canonical request."""
    assert canonical_path(path, single_encoding=False) == canonical


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        (b"", b""),
        (b"b&a=1", b"a=1&b="),
        (b"a=x+y", b"a=x%20y"),
        (b"a=%7e%2A", b"a=~%2A"),
        (b"a=2&a=10", b"a=10&a=2"),
        (b"a=b=c", b"a=b%3Dc"),
        (b"&&a=1&", b"a=1"),
    ],
)
def test_queries_are_sorted_and_encoded_anew(query, canonical):
    """Source: IAM user guide, create a canonical request."""
    assert canonical_query(query) == canonical


def test_signing_keys_are_remembered_within_bounds():
    """A caller who invents regions cannot make us remember more than the limit."""
    keys = SigningKeys(limit=3)
    derived = [keys.derive("secret", "20231114", f"region-{number}", "s3") for number in range(10)]
    assert keys.derive("secret", "20231114", "region-9", "s3") is derived[9]
    assert keys.derive("secret", "20231114", "region-0", "s3") == derived[0]
    assert len(keys._keys) == 3


def test_every_cause_has_a_code_in_every_protocol():
    """The table has no hole."""
    assert set(CODES) == set(Cause)
    assert all(set(row) == {"json", "query", "s3"} for row in CODES.values())
    error = Refused(Cause.MALFORMED, "because").as_error("json")
    assert (error.code, error.http_status, error.message) == ("IncompleteSignatureException", 400, "because")


@pytest.mark.parametrize(
    ("query", "authorization", "service"),
    [
        (b"", None, None),
        (b"", b"AWS4-HMAC-SHA256 Credential=AK/20231114/us-east-1/logs/aws4_request, Signed", "logs"),
        (b"X-Amz-Credential=AK%2F20231114%2Fus-east-1%2Fs3%2Faws4_request&x=1", None, "s3"),
        (b"X-Amz-Credential=AK/20231114/us-east-1/s3/aws4_request", None, "s3"),
        (b"", b"Bearer x", None),
    ],
)
def test_the_service_is_read_from_the_scope(query, authorization, service):
    """However broken the rest, the scope tells where a request belongs."""
    assert service_of(query, authorization) == service


def test_secrets_stay_out_of_representations():
    """A credential in a log line or a traceback shows no secret."""
    assert "wJalr" not in repr(TEMPORARY)
    assert "token/" not in repr(TEMPORARY)
