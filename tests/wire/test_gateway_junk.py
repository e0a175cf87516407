"""Whatever arrives, the gateway answers in form and without a fault of its own."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.aws.gateway import Gateway
from clary.aws.handlers import Service
from clary.aws.sigv4 import Credential
from clary.base.clock import FixedClock

CREDENTIAL = Credential(
    access_key_id="AK", secret_access_key="s", account_id="000000000000", principal_arn="arn", user_id="id"
)


async def handler(context, params):
    raise AssertionError("no unsigned request may reach a handler")


APP = Gateway(
    services=[
        Service(name="sagemaker", handlers={"ListTrainingJobs": handler}),
        Service(name="sts", handlers={"GetCallerIdentity": handler}),
    ],
    credentials=lambda *_: CREDENTIAL,
    clock=FixedClock(),
    account_id="000000000000",
    region="us-east-1",
)

junk = st.binary(max_size=40)
dates = st.sampled_from([b"20231114T221320Z", b"00000101T000000Z", b"99991231T235959Z", b"20231114"]) | junk
scopes = st.builds(
    lambda key, day, service, end: b"/".join([key, day, b"us-east-1", service, end]),
    st.just(b"AK") | junk,
    st.sampled_from([b"20231114", b"00000101", b"99991231"]),
    st.sampled_from([b"sagemaker", b"sts", b"s3", b"logs"]) | junk,
    st.just(b"aws4_request") | junk,
)
authorizations = junk | st.builds(
    lambda scope, names, signature: (
        b"AWS4-HMAC-SHA256 Credential=%b, SignedHeaders=%b, Signature=%b" % (scope, names, signature)
    ),
    scopes,
    st.sampled_from([b"host;x-amz-date", b"", b";", b"HOST"]) | junk,
    junk,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        b"host": junk,
        b"authorization": authorizations,
        b"x-amz-date": dates,
        b"date": dates | st.just(b"Tue, 99 Nov 2023 22:13:20 GMT"),
        b"x-amz-target": st.just(b"SageMaker.ListTrainingJobs") | junk,
        b"x-amz-security-token": junk,
        b"x-amz-content-sha256": junk,
        b"content-type": st.sampled_from([b"application/x-amz-json-1.0", b"application/x-www-form-urlencoded"]) | junk,
        b"content-length": st.sampled_from([b"99999999999999999999", b"-1", b"10000000000"]) | junk,
    },
)
queries = junk | st.builds(
    lambda scope, date, expires: (
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%b&X-Amz-Date=%b&X-Amz-Expires=%b"
        b"&X-Amz-SignedHeaders=host&X-Amz-Signature=00" % (scope, date, expires)
    ),
    scopes,
    dates,
    st.sampled_from([b"60", b"604800", b"1e3"]) | junk,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["POST", "GET", "HEAD"]), headers, queries, junk, junk)
def test_junk_gets_an_answer_and_never_a_fault_of_ours(method, found, query, path, body):
    """Status 4xx, a request id, a body of the declared length."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/" + path.decode("latin-1"),
        "raw_path": b"/" + path,
        "query_string": query,
        "headers": list(found.items()),
    }
    asyncio.run(APP(scope, receive, send))
    start, end = sent
    assert 400 <= start["status"] < 500
    answered = dict(start["headers"])
    assert len(answered[b"x-amzn-requestid"]) == 36
    assert int(answered[b"content-length"]) == len(end["body"])
