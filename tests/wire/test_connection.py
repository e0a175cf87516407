"""Connections of bad manners: slow, large, malformed, many. The others must not notice, and each gets an AWS error."""

import asyncio
import contextlib
import gc
import json
import socket
import threading
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

import asgi_server
from clary.aws import body as body_module
from clary.aws import connection as connection_module
from clary.aws import s3_body
from clary.aws.connection import HEADERS_BYTES, Connection
from clary.aws.gateway import Gateway
from clary.aws.handlers import Service
from clary.aws.sigv4 import Credential
from clary.base.clock import SystemClock
from raw_http import call, code_of, connect, ended, message, read_answers, signed

ROOT = Credential(
    access_key_id="AKIDEXAMPLE",
    secret_access_key="secret",
    account_id="000000000000",
    principal_arn="arn:aws:iam::000000000000:root",
    user_id="000000000000",
)
TEMPORARY = Credential(
    access_key_id="ASIAEXAMPLE",
    secret_access_key="other",
    session_token="the-token",
    account_id="000000000000",
    principal_arn="arn:aws:sts::000000000000:assumed-role/r/s",
    user_id="AROA:session",
)
SECONDS = 0.5  # stands for every time-out


async def list_jobs(context, params):
    if params.get("NameContains") == "slow":
        await asyncio.sleep(1)  # an operation that takes its time
    return {"TrainingJobSummaries": [], "NextToken": json.dumps(params)}


async def drain(scope, receive, send):
    """An S3 that reads everything and answers with its size."""
    size, more = 0, True
    while more:
        found = await receive()
        if found["type"] == "http.disconnect":
            return
        size, more = size + len(found["body"]), found["more_body"]
    body = b"%d" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def served():
    app = Gateway(
        services=[Service(name="sagemaker", handlers={"ListTrainingJobs": list_jobs})],
        credentials={key.access_key_id: key for key in (ROOT, TEMPORARY)}.get,
        clock=SystemClock(),
        account_id="000000000000",
        region="us-east-1",
        s3=drain,
    )
    with asgi_server.served(app, http=Connection, log_config=None, ws="none") as address:
        yield address


@pytest.fixture(scope="module")
def url():
    with served() as address:
        yield address


@pytest.fixture
def quick(monkeypatch):
    """Time-outs that a test can wait for."""
    monkeypatch.setattr(connection_module, "HEADERS_SECONDS", SECONDS)
    monkeypatch.setattr(connection_module, "READER_SECONDS", SECONDS)
    monkeypatch.setattr(body_module, "BODY_SECONDS", SECONDS)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def good(url, body=b"{}", **changes):
    return message(signed(url, ROOT, body, **changes), body)


@pytest.mark.parametrize("before", [0, 1], ids=["first", "behind a whole one"])
def test_a_header_that_never_ends_is_answered_and_ended(url, monkeypatch, before):
    """RequestTimeoutException, not before the time is over and not long after."""
    for _ in range(3):
        monkeypatch.setattr(connection_module, "HEADERS_SECONDS", 20 if before else SECONDS)
        began = time.monotonic()  # the time of a first request counts from the connection's beginning
        with connect(url) as slow:
            slow.sendall(good(url) * before)
            assert len(read_answers(slow, before)) == before
            monkeypatch.setattr(connection_module, "HEADERS_SECONDS", SECONDS)
            began = time.monotonic() if before else began
            answers = []
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-A")
                answers = read_answers(slow, 1)
            if not answers and not before:
                continue  # we came too late with our first byte
            (answer,) = answers
            assert (answer.status, code_of(answer)) == (408, "RequestTimeoutException")
            assert SECONDS * 0.9 < time.monotonic() - began < 30
            assert ended(slow, 60)
            return
    pytest.fail("it was never answered")


def test_a_byte_now_and_then_buys_no_time(url, quick):
    """The time counts from the first byte of the request."""
    with connect(url) as slow:
        began = time.monotonic()
        slow.sendall(b"POST / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 40:
                slow.sendall(b"X-A: b\r\n")
                slow.settimeout(0.05)  # the pace of this caller
                with contextlib.suppress(TimeoutError):
                    if slow.recv(1000):
                        break
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("before", [0, 1], ids=["first", "behind a whole one"])
def test_a_body_that_never_ends_is_answered_and_ended(url, monkeypatch, before):
    """Also on a connection whose other requests came in one piece; one that comes late but in time is a body."""
    with connect(url) as slow:
        slow.sendall(good(url) * before)
        sent = good(url, b'{"MaxResults": 7}')
        slow.sendall(sent[:-5])
        time.sleep(0.1)  # less than a body may take
        slow.sendall(sent[-5:])
        assert [answer.status for answer in read_answers(slow, before + 1)] == [200] * (before + 1)
        monkeypatch.setattr(body_module, "BODY_SECONDS", SECONDS)
        slow.sendall(sent[:-5])
        (answer,) = read_answers(slow, 1)
        assert (answer.status, code_of(answer)) == (408, "RequestTimeoutException")
        assert ended(slow, 60)


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"], ids=["nothing", "line breaks"])
def test_a_connection_without_a_request_is_ended(url, quick, sent):
    """Without a word: nothing was asked."""
    with connect(url) as silent:
        silent.sendall(sent)
        assert silent.recv(100) == b""


def test_the_pause_between_requests_may_be_longer(url, monkeypatch):
    """Keep-alive has a time-out of its own; only a request that has begun must hurry."""
    with connect(url) as kept:
        kept.sendall(good(url))
        assert read_answers(kept, 1)[0].status == 200
        monkeypatch.setattr(connection_module, "HEADERS_SECONDS", SECONDS)
        kept.sendall(good(url))  # in one piece: it does not wait
        assert read_answers(kept, 1)[0].status == 200
        time.sleep(SECONDS * 2)  # longer than headers may take
        kept.sendall(good(url))
        assert read_answers(kept, 1)[0].status == 200


def test_two_hundred_slow_callers_stop_nobody(url, monkeypatch):
    """Headers and bodies that do not come cost the others nothing: none of them has ended when these are answered."""
    monkeypatch.setattr(connection_module, "HEADERS_SECONDS", 300)
    monkeypatch.setattr(body_module, "BODY_SECONDS", 300)
    with contextlib.ExitStack() as stack:
        for number in range(200):
            slow = stack.enter_context(connect(url))
            half = good(url, b'{"MaxResults": 1}')
            slow.sendall(half[: 40 if number % 2 else -3])
        for _ in range(50):
            assert call(url, good(url))[0].status == 200


def test_connections_have_a_limit_and_leave_files_to_the_rest(url, monkeypatch):
    """One more than allowed gets an answer that clients try again; when one ends, the next is served."""
    monkeypatch.setattr(connection_module, "connections_max", lambda: 5)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(url)) for _ in range(5)]
        for each in held:
            each.sendall(good(url))
            assert read_answers(each, 1)[0].status == 200
        (answer,) = call(url, b"")
        assert (answer.status, code_of(answer)) == (503, "ServiceUnavailable")
        held[0].close()
        for _ in range(1500):
            if (answers := call(url, good(url))) and answers[0].status == 200:
                break
            time.sleep(0.02)  # the server has yet to see that the connection ended
        else:
            pytest.fail("the place was not given back")


def test_a_reader_who_takes_nothing_is_cut_off(url, quick):
    """Answers pile up to a bound, then the connection ends."""
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        lazy.settimeout(60)
        many = good(url, json.dumps({"NextToken": "x" * 8000}).encode()) * 20
        with pytest.raises((ConnectionError, TimeoutError)) as raised:
            while True:
                lazy.sendall(many)
        assert isinstance(raised.value, ConnectionError)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n",
        b"POST / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nx: \x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
    ids=str,
)
def test_what_is_no_http_gets_an_aws_error(url, sent):
    """MalformedHttpRequestException in awsJson's form, with a request id, and the connection ends."""
    with connect(url) as confused:
        confused.sendall(sent)
        (answer,) = read_answers(confused, 1)
        assert (answer.status, code_of(answer)) == (400, "MalformedHttpRequestException")
        assert len(answer.headers["x-amzn-requestid"]) == 36
        assert ended(confused, 60)


def test_garbage_behind_a_good_request_does_not_cost_its_answer(url):
    """First the answer, then the end of the connection."""
    with connect(url) as confused:
        confused.sendall(good(url, b'{"NameContains": "slow"}') + b"garbage\r\n\r\n")
        answers = read_answers(confused, 2)
        assert answers[0].status == 200
        assert len(answers) == 1


def test_a_chunked_body_that_breaks_is_answered_once(url):
    """The operation hears that the caller is gone; the caller hears that he was malformed."""
    headers = [*signed(url, ROOT, b"{}"), (b"transfer-encoding", b"chunked")]
    with connect(url) as confused:
        confused.sendall(message(headers, b"2\r\n{}\r\nxyz\r\n", length=False))
        (answer,) = read_answers(confused, 2)
        assert code_of(answer) == "MalformedHttpRequestException"


def test_headers_have_a_size_limit(url):
    """In one piece, in many small ones, and in one that does not end."""
    large = message([(b"host", b"x"), (b"x-large", b"a" * (HEADERS_BYTES + 200))])
    many = message([(b"host", b"x"), *[(b"a", b"b")] * 3000])
    path = message([(b"host", b"x")], line=b"GET /" + b"a" * HEADERS_BYTES + b" HTTP/1.1")
    for sent in (large, many, path, large[:-100]):
        (answer,) = call(url, sent)
        assert (answer.status, code_of(answer)) == (400, "RequestHeaderSectionTooLarge")


def test_the_answer_to_large_headers_is_heard_by_who_is_still_sending(url):
    """Half a megabyte more than the limit: no reset before the answer was read."""
    (answer,) = call(url, message([(b"host", b"x"), (b"x-large", b"a" * (512 << 10))]))
    assert code_of(answer) == "RequestHeaderSectionTooLarge"


def test_a_body_in_chunks_is_a_body(url):
    """Transfer-Encoding: chunked, signed over the bytes without their framing."""
    body = b'{"MaxResults": 7}'
    headers = [*signed(url, ROOT, body), (b"transfer-encoding", b"chunked")]
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:5], body[5:6], body[6:]))
    (answer,) = call(url, message(headers, pieces + b"0\r\nx-trailer: t\r\n\r\n", length=False))
    assert json.loads(json.loads(answer.body)["NextToken"]) == {"MaxResults": 7}


def test_http_1_0_is_served_and_ended(url):
    """One request, one answer, the end."""
    with connect(url) as old:
        old.sendall(message(signed(url, ROOT, b"{}"), b"{}", line=b"POST / HTTP/1.0"))
        (answer,) = read_answers(old, 1)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert ended(old, 60)


def test_pipelined_requests_are_answered_in_order(url):
    """Also when the first takes longest."""
    first = good(url, b'{"NameContains": "slow"}')
    rest = [good(url, b'{"MaxResults": %d}' % number) for number in range(1, 30)]
    answers = call(url, first + b"".join(rest), count=30)
    asked = [json.loads(json.loads(answer.body)["NextToken"]) for answer in answers]
    assert asked == [{"NameContains": "slow"}, *({"MaxResults": number} for number in range(1, 30))]


@pytest.mark.parametrize(
    "target", [b"http://sagemaker.us-east-1.amazonaws.com/", b"http://sagemaker.us-east-1.amazonaws.com"]
)
def test_a_target_in_absolute_form_is_its_path(url, target):
    """As proxies send it."""
    (answer,) = call(url, message(signed(url, ROOT, b"{}"), b"{}", line=b"POST %b HTTP/1.1" % target))
    assert answer.status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST"])
@pytest.mark.parametrize("path", ["/", "/a/b?c=d", "/%00%ff/..;/", "*"])
def test_any_method_and_path_get_a_form_of_their_own(url, method, path):
    """Unsigned, for an operation: an AWS error."""
    headers = [(b"host", b"x"), (b"x-amz-target", b"SageMaker.ListTrainingJobs")]
    (answer,) = call(url, message(headers, b"", line=f"{method} {path} HTTP/1.1".encode()), head=method == "HEAD")
    assert answer.status == 403
    assert method == "HEAD" or code_of(answer) == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("name", [b"authorization", b"x-amz-date", b"x-amz-target", b"host", b"x-amz-security-token"])
def test_a_header_sent_twice_opens_nothing(url, name):
    """Twice the same or twice something else: the two are one value, which was not signed."""
    headers = signed(url, TEMPORARY, b"{}")
    for added in (dict(headers)[name], b"other"):
        for order in ([*headers, (name, added)], [(name, added), *headers]):
            (answer,) = call(url, message(order, b"{}"))
            assert answer.status in {400, 403}
            assert code_of(answer) is not None


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
def test_an_offer_to_upgrade_is_declined_by_an_answer(url, upgrade, caplog):
    """Java's client offers HTTP/2 with its first request."""
    extra = [(b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", upgrade), (b"http2-settings", b"AAMAAABk")]
    (answer,) = call(url, message([*signed(url, ROOT, b"{}"), *extra], b"{}"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert not caplog.records


def test_a_session_token_counts_in_both_forms(url):
    """Signed in a header and in a presigned query; missing or wrong, it opens nothing."""
    assert call(url, message(signed(url, TEMPORARY, b"{}"), b"{}"))[0].status == 200
    client = boto3.client(
        "sagemaker",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=TEMPORARY.access_key_id,
        aws_secret_access_key=TEMPORARY.secret_access_key,
        aws_session_token=TEMPORARY.session_token,
        config=Config(signature_version="v4-query"),
    )
    assert client.list_training_jobs()["TrainingJobSummaries"] == []
    unsigned = [pair for pair in signed(url, TEMPORARY, b"{}") if pair[0] != b"x-amz-security-token"]
    assert code_of(call(url, message(unsigned, b"{}"))[0]) == "UnrecognizedClientException"


def test_keep_alive_bears_many_requests_on_a_few_connections(url):
    """Two thousand requests on eight connections, and no file more than before."""
    call(url, good(url))
    gc.collect()
    before = open_files()
    problems = []

    def ask():
        try:
            with connect(url) as kept:
                for _ in range(250):
                    kept.sendall(good(url))
                    assert read_answers(kept, 1)[0].status == 200
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    deadline = time.monotonic() + 30
    while open_files() > before and time.monotonic() < deadline:
        time.sleep(0.02)  # the server has yet to see that the connections ended
    assert open_files() <= before


def test_an_upload_that_stalls_is_given_up(monkeypatch):
    """RequestTimeout, as S3 says it, instead of two connections held for ever."""
    monkeypatch.setattr(s3_body, "STALL_SECONDS", 0.05)

    async def never():
        await asyncio.Event().wait()

    async def upload():
        incoming = s3_body.Incoming(never)
        body = s3_body.upload_body(incoming, {b"content-length": b"10"}, payload_hash="UNSIGNED-PAYLOAD", seed=None)
        with pytest.raises(Exception, match="RequestTimeout"):
            _ = [piece async for piece in body]
        assert body.fault.code == "RequestTimeout"
        assert await incoming.settle({}) is False

    asyncio.run(upload())
