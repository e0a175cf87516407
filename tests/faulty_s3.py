"""An S3 that misbehaves: a proxy before a real one, which spoils answers by a script. PYTEST_DONT_REWRITE

    with misbehaving(store.endpoint_url, {"/bucket/key": ["500", "flip"], "UploadPart": [None, "lost"]}) as s3:
        s3.endpoint_url; s3.seen

Each answer to a GET of an object takes the next fault of its path until there are none; "*" stands for all paths without
faults of their own. Requests of an upload take those of their operation. None is no fault; a function is called before
the request is passed on.
"""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

_ERRORS = {"500": "InternalError", "503": "SlowDown"}
FAULTS = (*_ERRORS, "hang-up", "reset", "truncated", "slow", "flip")
REFUSALS = (*_ERRORS, "hang-up", "half-read")
"""Of an upload, which the store never sees. One that is "damaged" comes with a bit changed; it waits for a body."""
LOSSES = ("lost", "late-500", "cut", "slow")
"""Of an upload, which the store has done: no answer comes, or another, or one that ends in the middle of its head."""
UPLOADS = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
_SLOW_S = 0.3


class MisbehavingS3:
    """`seen` counts the faults that were done. `before(path)` is called before each request is passed on."""

    def __init__(self, endpoint_url, faults, before):
        self.target = endpoint_url.removeprefix("http://")
        self.faults = {path: list(script) for path, script in faults.items()}
        self.before = before
        self.seen = []
        self.lock = threading.Lock()

    def next_fault(self, *names, length=0):
        with self.lock:
            script = next(filter(None, map(self.faults.get, names)), None)
            if not script or (script[0] == "damaged" and not length):  # what has no bytes cannot be damaged
                return None
            self.seen.append(script.pop(0))
            return self.seen[-1]


def operation_of(method, path, query):
    """What S3 calls the request, if it can be spoiled; else None."""
    if path.count("/") < 2:
        return None
    fields = parse_qs(query, keep_blank_values=True)
    match method, "uploads" in fields, "uploadId" in fields:
        case "GET", _, _:
            return "GetObject"
        case "PUT", _, has_id:
            return "UploadPart" if has_id else "PutObject"
        case "POST", True, _:
            return "CreateMultipartUpload"
        case "POST", _, True:
            return "CompleteMultipartUpload"
    return None


def flipped(data):
    """The same with one bit changed."""
    data = bytearray(data)
    data[random.randrange(len(data))] ^= 1
    return bytes(data)


def _handler(s3):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            path, _, query = self.path.partition("?")
            s3.before(path)
            operation = operation_of(self.command, path, query)
            length = int(self.headers.get("content-length", 0))
            fault = s3.next_fault(*([path, "*"] if operation == "GetObject" else [operation]), length=length)
            body = self.rfile.read(length // 2 if fault == "half-read" else length)
            if callable(fault):
                fault()
            if fault == "damaged":
                body = flipped(body)
            if fault in _ERRORS:
                self.give(int(fault), [], f"<Error><Code>{_ERRORS[fault]}</Code></Error>".encode())
            elif fault == "200-error":  # S3 may find out after it has begun a 200 (Source: S3, CompleteMultipartUpload)
                self.give(200, [], b'<?xml version="1.0"?>\n<Error><Code>InternalError</Code></Error>')
            elif fault in {"hang-up", "half-read"}:
                self.end(reset=fault == "half-read")
            else:
                self.ask_the_store(body, fault)

        def ask_the_store(self, body, fault):
            store = http.client.HTTPConnection(s3.target, timeout=30)
            try:
                store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    store.putheader(name, value)
                store.endheaders(body or None)
                answer = store.getresponse()
                content = answer.read()
                status, headers = answer.status, answer.getheaders()
            except OSError:
                self.end()  # the store itself is away
            else:
                if fault == "lost":
                    self.end(reset=True)
                elif fault == "late-500":
                    self.give(500, [], b"<Error><Code>InternalError</Code></Error>")
                else:
                    self.give(status, headers, content, fault)
            finally:
                store.close()

        def give(self, status, headers, content, fault=None):
            if fault == "flip" and content:
                content = flipped(content)
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            length = {name.lower(): value for name, value in headers}.get("content-length")
            self.send_header("content-length", length if self.command == "HEAD" and length else str(len(content)))
            if fault == "cut":
                head = b"".join(self._headers_buffer)
                self.wfile.write(head[: random.randrange(1, len(head))])
                self.end()
                return
            self.end_headers()
            if self.command == "HEAD":
                return
            half = len(content) // 2
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content[:half])
                if fault == "slow":
                    time.sleep(_SLOW_S)  # shorter than any time-out: the answer must merely be waited for
                if fault in {"reset", "truncated"}:
                    self.end(reset=fault == "reset")
                else:
                    self.wfile.write(content[half:])

        def end(self, *, reset=False):
            self.wfile.flush()
            if reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

        def log_message(self, *_args):
            pass

    return Handler


@contextlib.contextmanager
def misbehaving(endpoint_url, faults, before=lambda _path: None):
    """The proxy, for as long as the block runs."""
    s3 = MisbehavingS3(endpoint_url, faults, before)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(s3)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        s3.endpoint_url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield s3
        finally:
            server.shutdown()
            thread.join()
