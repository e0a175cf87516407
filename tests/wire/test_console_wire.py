"""The console on a real socket, before the gateway: what HTTP clients, and the clients of AWS, get to see of it."""

import asyncio
import contextlib
import http.client
import threading

import boto3
import msgspec
import pytest
from botocore.config import Config

from clary.aws.errors import ValidationException
from clary.aws.gateway import Gateway
from clary.aws.handlers import Service
from clary.base.clock import SystemClock
from console_house import USER, House, served
from factories import ACCOUNT_ID, REGION, make_job
from raw_http import connect, ended

STREAM = "a/algo-1-1700000002"
DESCRIBED = {"TrainingJobName": "j", "CreationTime": 1_700_000_000.25}


async def describe(context, params):
    return DESCRIBED | {"RoleArn": context.caller.principal_arn, "TrainingJobName": params["TrainingJobName"]}


async def anonymous_s3(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def gateway():
    return Gateway(
        services=[Service(name="sagemaker", handlers={"DescribeTrainingJob": describe})],
        credentials={USER.access_key_id: USER}.get,
        clock=SystemClock(),
        account_id=ACCOUNT_ID,
        region=REGION,
        s3=anonymous_s3,
    )


@pytest.fixture
def house():
    house = House().sign_in()
    house.console._beneath = gateway()
    house.keep(make_job("a", status="Training"))
    house.clock.advance(5)
    return house


@contextlib.contextmanager
def connected(house):
    """A connection that sends the house's cookie along."""
    with served(house) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        try:
            yield connection
        finally:
            connection.close()


def ask(connection, method, path, *, house=None, body=None, **headers):
    cookie = {} if house is None else {"Cookie": f"other=1; {house.cookie}"}
    connection.request(method, f"/_clary/console{path}", body=body, headers=cookie | headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_one_connection_serves_page_after_page(house):
    """Heads without bodies, streams of unknown length, empty answers, errors: the next answer is in its place."""
    house.write(STREAM, *(f"line {n}" for n in range(20_000)))
    with connected(house) as connection:
        page, body = ask(connection, "GET", "/jobs/a", house=house)
        assert (page.status, body.endswith(b"</html>\n") or b"</html>" in body) == (200, True)
        socket = connection.sock
        head, nothing = ask(connection, "HEAD", "/jobs", house=house)
        assert (head.status, nothing) == (200, b"")
        assert int(head.headers["content-length"]) > 1000
        log, text = ask(connection, "GET", "/jobs/a/log.txt", house=house)
        assert (log.headers["transfer-encoding"], text.count(b"\n")) == ("chunked", 20_000)
        assert ask(connection, "HEAD", "/jobs/a/log.txt", house=house)[1] == b""
        assert ask(connection, "GET", "/none", house=house)[0].status == 404
        assert ask(connection, "POST", "/jobs/a/stop", house=house, body=b"x=1")[0].status == 403
        assert ask(connection, "GET", "/jobs")[0].status == 401
        file, content = ask(connection, "GET", "/static/console.css")
        assert (file.status, len(content)) == (200, int(file.headers["content-length"]))
        unchanged, nothing = ask(connection, "GET", "/static/console.css", **{"If-None-Match": file.headers["etag"]})
        assert (unchanged.status, nothing) == (304, b"")
        assert connection.sock is socket


def test_who_hangs_up_in_the_middle_of_a_log_ends_its_reading(house):
    """The rest of it is not read for nobody."""
    house.write(STREAM, *("x" * 1000 for _ in range(2000)))
    reads, gone, go_on = [], threading.Event(), threading.Event()
    ordinary = house.ask

    async def ask(service, operation, params):
        if operation == "GetLogEvents":
            reads.append(params)
            if len(reads) == 2:
                gone.set()
                assert await asyncio.to_thread(go_on.wait, 60)
        # There is always more: who is not told that nobody listens reads on for ever.
        return await ordinary(
            service, operation, {**params, "nextToken": f"f/{0:056d}/s"} if len(reads) > 1 else params
        )

    house.ask = ask
    with served(house) as url:
        with connect(url) as connection:
            connection.sendall(
                f"GET /_clary/console/jobs/a/log.txt HTTP/1.1\r\nhost: x\r\ncookie: {house.cookie}\r\n\r\n".encode()
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
            assert gone.wait(60)
        go_on.set()
    # The server has ended, so its last request has, too.
    assert len(reads) >= 2


def test_a_form_that_is_too_large_ends_the_connection(house):
    """What is left of it would be taken for the next request."""
    with served(house) as url, connect(url) as connection:
        connection.sendall(
            b"POST /_clary/console/jobs/a/stop HTTP/1.1\r\nhost: x\r\nsec-fetch-site: same-origin\r\n"
            b"content-length: 20000000\r\ncookie: %b\r\n\r\n" % house.cookie.encode()
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
        assert ended(connection, 60)


def test_clients_of_aws_see_no_difference(house):
    """A signed call reaches its operation; somebody unsigned reaches S3, unless he asks for a page."""
    with served(house) as url:
        client = boto3.client(
            "sagemaker",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=USER.access_key_id,
            aws_secret_access_key=USER.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}),
        )
        assert client.describe_training_job(TrainingJobName="j")["RoleArn"] == USER.principal_arn
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        for headers, status in (({}, 403), ({"Accept": "text/html"}, 303)):
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()


def test_the_house_asks_operations_as_the_wire_does():
    """Parameters are held to the model, the caller is who he is said to be, and what is not served is not answered."""
    door = gateway()
    answer = asyncio.run(door.call("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "j", "Unknown": 1}, USER))
    assert msgspec.to_builtins(answer) == DESCRIBED | {"RoleArn": USER.principal_arn}
    with pytest.raises(ValidationException, match="trainingJobName"):
        asyncio.run(door.call("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "no name"}, USER))
    for service, operation in (("sagemaker", "StopTrainingJob"), ("sagemaker", "Nonsense"), ("sqs", "SendMessage")):
        with pytest.raises(KeyError):
            asyncio.run(door.call(service, operation, {}, USER))
