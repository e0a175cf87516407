"""Answers to a GET, as servers may send them, read from a real socket by the wire that uses the reader."""

import contextlib
import os
import random
import socket
import ssl
import threading
from pathlib import Path

import pytest

from clary.storage.certificate import self_signed
from clary.storage.port import Credentials, S3Address, StorageError, Unreachable
from clary.storage.s3_read import DiskTrouble, InMemory, IntoFile
from clary.storage.s3_wire import S3Wire

BODY = random.Random(9).randbytes(3_000_000)
HEAD = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n'
KEYS = Credentials(access_key_id="A", secret_access_key="S")


class Once:
    """A server that answers each request on a connection of its own with the next of its scripts: pieces to be sent."""

    def __init__(self, *answers, context=None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answers = answers
        self._context = context
        self.requests = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def port(self):
        return self._listener.getsockname()[1]

    def _run(self):
        for pieces in self._answers:
            with contextlib.suppress(OSError):  # the client may go in the middle, and we may be closed
                connection, _ = self._listener.accept()
                if self._context:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    while b"\r\n\r\n" not in connection.recv(65536):
                        pass
                    self.requests += 1
                    for piece in pieces:
                        connection.sendall(piece)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def serve():
    servers = []

    def make(*answers, **more):
        servers.append(Once(*answers, **more))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def wire(server, scheme="http", **more):
    address = S3Address(endpoint_url=f"{scheme}://127.0.0.1:{server.port}", region="us-east-1")
    return S3Wire(address, lambda: KEYS, **more)


def whole(body):
    return HEAD % len(body) + body


ANSWERS = {
    "at once": [whole(BODY)],
    "byte by byte up to the body": [bytes([each]) for each in HEAD % len(BODY)] + [BODY],
    "head and body apart": [HEAD % len(BODY), BODY],
    "chunked": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)],
    "chunked, with a length that does not count": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    ],
    "up to the end of the connection": [b"HTTP/1.0 200 OK\r\n\r\n", BODY],
}


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_any_way_to_send_a_body_brings_the_same_bytes(serve, tmp_path, what, kind):
    """Into memory, or into a file at its place."""
    server = serve(ANSWERS[what], ANSWERS[what])  # twice: who cannot read the answer asks again
    if kind == "memory":
        into = InMemory()
        wire(server).request("GET", "b", "k", into=into)
        assert bytes(into.data) == BODY
        return
    path = tmp_path / "file"
    with path.open("wb") as file:
        into = IntoFile(file.fileno(), 7, len(BODY))
        wire(server).request("GET", "b", "k", into=into)
    assert into.length == len(BODY)
    assert path.read_bytes() == bytes(7) + BODY


def test_an_answer_that_breaks_off_is_asked_for_again(serve, tmp_path):
    """The second answer overwrites what came of the first."""
    server = serve([HEAD % len(BODY), b"\0" * 1_000_000], [whole(BODY)])
    with (tmp_path / "file").open("wb") as file:
        wire(server).request("GET", "b", "k", into=IntoFile(file.fileno(), 0, len(BODY)))
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == 2


def test_an_answer_that_always_breaks_off_is_no_answer(serve):
    """After the patience, the store counts as away."""
    server = serve(*[[HEAD % 10, b"12345"]] * 20)
    with pytest.raises(Unreachable):
        wire(server, retry_total_s=0.2).request("GET", "b", "k", into=InMemory())


def test_a_store_that_insists_on_its_trouble_is_believed_later(serve):
    """Than one that is away, if so it was asked for: the trouble may be the server's that has the keys."""
    trouble = b"<Error><Code>InternalError</Code></Error>"
    answer = [b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n" % len(trouble) + trouble]
    into = InMemory()
    wire(serve(*[answer] * 2, [whole(BODY)]), retry_total_s=0, insists_s=60).request("GET", "b", "k", into=into)
    assert bytes(into.data) == BODY
    with pytest.raises(StorageError, match="InternalError"):
        wire(serve(*[answer] * 2), retry_total_s=60, insists_s=0).request("GET", "b", "k", into=InMemory())


def test_more_than_was_asked_for_never_reaches_the_file(serve, tmp_path):
    """It is another object than the one that was listed, and may be another's place in the file."""
    server = serve([whole(BODY)])
    with (tmp_path / "file").open("wb") as file, pytest.raises(StorageError, match="3000000 bytes came"):
        wire(server).request("GET", "b", "k", into=IntoFile(file.fileno(), 0, len(BODY) - 1))
    assert (tmp_path / "file").stat().st_size == 0


def test_an_error_is_no_body(serve, tmp_path):
    """Its text is told, and the file stays as it is."""
    text = b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"
    server = serve([b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(text) + text])
    with (tmp_path / "file").open("wb") as file, pytest.raises(StorageError, match="NoSuchKey"):
        wire(server).request("GET", "b", "k", into=IntoFile(file.fileno(), 0, len(BODY)))
    assert (tmp_path / "file").stat().st_size == 0


def test_a_file_that_cannot_be_written_is_no_trouble_of_the_store(serve):
    """It is told as it is, at once."""
    server = serve([whole(BODY)])
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(DiskTrouble, match="No space left"):
        wire(server).request("GET", "b", "k", into=IntoFile(full.fileno(), 0, len(BODY)))
    assert server.requests == 1


def test_bytes_come_through_tls_too(serve, tmp_path, monkeypatch):
    """And decrypted on their way."""
    pair = self_signed(os.urandom(32), common_name="store")
    (tmp_path / "pem").write_bytes(pair.certificate + pair.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    server = serve([whole(BODY)], context=context)
    with (tmp_path / "file").open("wb") as file:
        wire(server, "https").request("GET", "b", "k", into=IntoFile(file.fileno(), 0, len(BODY)))
    assert (tmp_path / "file").read_bytes() == BODY
