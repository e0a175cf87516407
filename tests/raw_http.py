"""HTTP as bytes, for what no client library would send: `from raw_http import call, signed, connect, read_answers`.

Answers are parsed strictly: whoever sends us something else than one well-formed HTTP answer a request fails the test.
"""

import json
import re
import socket
import time
from types import SimpleNamespace
from xml.etree import ElementTree as ET

from clary.aws import cbor, sigv4
from clary.aws.canonical import Request
from clary.aws.sigv4 import SigningKeys
from clary.base.clock import SystemClock

CLOCK = SystemClock()
PATIENCE_S = 60


class NotHttp(Exception):
    """What came is not an HTTP answer."""


def connect(url, patience_s=PATIENCE_S):
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=patience_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def signed(url, credential, body, *, service="sagemaker", target="SageMaker.ListTrainingJobs", extra=(), now=None):
    """Headers, as pairs of bytes, of a request `POST /` that proves its signer."""
    headers = [(b"host", url.removeprefix("http://").encode())]
    if target is not None:
        headers += [(b"content-type", b"application/x-amz-json-1.1"), (b"x-amz-target", target.encode())]
    headers += extra
    request = Request(method="POST", raw_path=b"/", query=b"", headers=headers, body=body)
    return headers + sigv4.sign(
        request,
        credential=credential,
        region="us-east-1",
        service=service,
        now=CLOCK.now() if now is None else now,
        signing_keys=SigningKeys(),
    )


def message(headers, body=b"", *, line=b"POST / HTTP/1.1", length=True):
    """A request as bytes."""
    headers = [*headers, (b"content-length", b"%d" % len(body))] if length else headers
    return line + b"\r\n" + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n" + body


def read_answers(connection, count, *, head=False, strict=True):
    """So many answers of a connection, fewer when it ends before; unless `strict`, also when it is silent for longer than
    its time-out. Raises `NotHttp`.
    """
    data = b""
    answers = []
    while len(answers) < count:
        answer, data = _parse(data, head=head)
        if answer is not None:
            answers.append(answer)
            continue
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            more = b""
        except TimeoutError:
            if strict:
                raise
            break
        if not more:
            if data:
                raise NotHttp(data)
            break
        data += more
    return answers


def call(url, data, *, count=1, head=False):
    """The answers to these bytes, on a connection of their own."""
    with connect(url) as connection:
        connection.sendall(data)
        return read_answers(connection, count, head=head)


def ended(connection, patience_s):
    """Whether the server ends the connection in time; what it still sends is thrown away."""
    deadline = time.monotonic() + patience_s
    connection.settimeout(patience_s)
    try:
        while time.monotonic() < deadline:
            if not connection.recv(65536):
                return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        pass
    return False


def code_of(answer):
    """The error code of an answer in any of AWS's forms, None of a success. Raises `NotHttp` when it is not well-formed."""
    if answer.status < 400:
        return None
    if answer.headers["content-type"].startswith("application/x-amz-json"):
        document = json.loads(answer.body)
        text = document.get("message", document.get("Message"))
        if not isinstance(text, str) or not re.fullmatch(r"[A-Z]\w+", document["__type"]):
            raise NotHttp(answer.body)
        return document["__type"]
    if answer.headers["content-type"] == "application/json":
        if not isinstance(json.loads(answer.body)["message"], str):
            raise NotHttp(answer.body)
        return answer.headers["x-amzn-errortype"]
    if answer.headers["content-type"] == "application/cbor":
        document = cbor.decode(answer.body)
        if answer.headers["smithy-protocol"] != "rpc-v2-cbor" or not isinstance(document["message"], str):
            raise NotHttp(answer.headers, answer.body)
        return document["__type"]
    if "xml" not in answer.headers["content-type"]:
        raise NotHttp(answer.headers, answer.body)
    if not answer.body:
        return "no body"
    document = ET.fromstring(answer.body)
    codes = [element.text for element in document.iter() if element.tag.rpartition("}")[2] == "Code"]
    if len(codes) != 1 or not codes[0]:
        raise NotHttp(answer.body)
    return codes[0]


def _parse(data, *, head):
    top, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None, data
    status, *lines = top.split(b"\r\n")
    match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]*", status)
    if match is None:
        raise NotHttp(data[:200])
    if match[1] == b"100":
        return _parse(rest, head=head)
    headers = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(": ")
        if not colon:
            raise NotHttp(line)
        headers[name.lower()] = value
    if headers.get("transfer-encoding") == "chunked" and not head:
        return _parse_chunked(int(match[1]), headers, rest, data)
    length = 0 if head or match[1] in {b"204", b"304"} else int(headers["content-length"])
    if len(rest) < length:
        return None, data
    return SimpleNamespace(status=int(match[1]), headers=headers, body=rest[:length]), rest[length:]


def _parse_chunked(status, headers, rest, data):
    body = b""
    while True:
        size, found, rest = rest.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return None, data
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
        if int(size, 16) == 0:
            return SimpleNamespace(status=status, headers=headers, body=body), rest
