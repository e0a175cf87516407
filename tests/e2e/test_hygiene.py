"""A real server that is told to slow its callers down, and one that is told to stop while they are talking to it."""

import json
import signal
import time
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from clary.aws.sigv4 import Credential
from raw_http import code_of, connect, ended, message, read_answers, signed
from server import serving, wait

pytest_plugins = ["server"]
ONCE = Config(retries={"total_max_attempts": 1})


def credential(server):
    exports = server.environment()
    return Credential(
        access_key_id=exports["AWS_ACCESS_KEY_ID"],
        secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        account_id="000000000000",
        principal_arn="arn",
        user_id="id",
    )


def test_who_asks_too_often_is_told_rate_exceeded():
    """ThrottlingException, status 400, per class of operations; clients that try again get through."""
    with serving(CLARY_THROTTLE_RPS="read=2", CLARY_THROTTLE_BURST="3") as server:
        sagemaker, sts = server.client("sagemaker", config=ONCE), server.client("sts", config=ONCE)
        with pytest.raises(ClientError) as refused:
            for _ in range(20):
                sagemaker.list_training_jobs()
        assert refused.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        with pytest.raises(ClientError, match="Requested resource not found"):  # another class
            sagemaker.stop_training_job(TrainingJobName="none")
        assert sts.get_caller_identity()["Account"]  # another service
        patient = server.client("sagemaker", config=Config(retries={"mode": "standard", "total_max_attempts": 10}))
        for _ in range(5):
            patient.list_training_jobs()


def test_the_throttled_answer_of_sts_is_xml():
    """The query protocol says Throttling."""
    with serving(CLARY_THROTTLE_RPS="1", CLARY_THROTTLE_BURST="1") as server:
        sts = server.client("sts", config=ONCE)
        with pytest.raises(ClientError) as refused:
            for _ in range(10):
                sts.get_caller_identity()
        assert refused.value.response["Error"] == {"Type": "Sender", "Code": "Throttling", "Message": "Rate exceeded"}


def unread(connection):
    """How many bytes of a connection over 127.0.0.1 its server has not read yet; None if the kernel does not know it."""
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (theirs, ours):
            return int(queues.partition(":")[2], 16)
    return None


def test_a_request_under_way_is_answered_when_the_server_stops(own_server):
    """SIGTERM in the middle of a body: the rest is taken, the answer comes, nobody else gets in; idle ones are ended."""
    body = b'{"MaxResults": 3}'
    whole = message(signed(own_server.url, credential(own_server), body), body)
    with connect(own_server.url) as busy, connect(own_server.url) as idle:
        idle.sendall(whole)
        assert read_answers(idle, 1)[0].status == 200
        busy.sendall(whole[:-5])
        wait(lambda: unread(busy), until=lambda count: count == 0)
        own_server.process.send_signal(signal.SIGTERM)
        assert ended(idle, 60)
        with pytest.raises(ConnectionError):
            wait(lambda: connect(own_server.url, 5).close(), until=lambda _: False, patience_s=10)
        busy.sendall(whole[-5:])
        (answer,) = read_answers(busy, 1)
        assert (answer.status, json.loads(answer.body)) == (200, {"TrainingJobSummaries": []})
        assert ended(busy, 60)
    assert own_server._gone() == 0


def test_who_does_not_finish_cannot_keep_the_server_from_stopping(own_server):
    """After ten seconds he is told ServiceUnavailable, and the server ends without a word of complaint."""
    body = b'{"MaxResults": 3}'
    whole = message(signed(own_server.url, credential(own_server), body), body)
    with connect(own_server.url) as slow, connect(own_server.url) as slower:
        slow.sendall(whole[:-5])
        slower.sendall(whole[:30])
        for each in (slow, slower):
            wait(lambda: unread(each), until=lambda count: count == 0)  # noqa: B023  it is called at once
        began = time.monotonic()
        own_server.process.send_signal(signal.SIGTERM)
        (answer,) = read_answers(slow, 1)
        assert (answer.status, code_of(answer)) == (503, "ServiceUnavailable")
        assert own_server._gone() == 0
        assert time.monotonic() - began > 5
    for line in own_server.log_text().splitlines():
        assert "traceback" not in json.loads(line)


def test_every_line_of_the_log_is_json_whatever_comes_in(own_server):
    """The web server's own complaints too; and malformed requests leave no line at all."""
    before = own_server.log_text()
    for sent in (b"nonsense\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        with connect(own_server.url) as confused:
            confused.sendall(sent)
            assert read_answers(confused, 1)[0].status == 400
    assert own_server.log_text() == before
