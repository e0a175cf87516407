"""One request and its answer on a connection: uvicorn's, but an answer leaves in one piece.

Made by `connection`, which has the request; the gateway and the S3 gate see the two functions of ASGI, `receive` and `send`.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_WITHOUT_BODY = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """A request, from the end of its headers to the end of its answer."""

    _head = b""

    async def send(self, message: Any) -> None:
        """Send a part of the answer. The head waits for the first of the body: one packet and one system call for most.

        Raises RuntimeError for parts that make no answer, as uvicorn does.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self._head = self._head_of(message["status"], message["headers"])
            self.response_started = True
        elif message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"an answer has no {message['type']} here")

    def _head_of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status]]
        ends = False
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self.chunked_encoding = True
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                ends = True
            lines.append(b"%b: %b\r\n" % (name, value))
        if not self.keep_alive and not ends:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if not head.count(b"\r") == head.count(b"\n") == len(lines):
            raise RuntimeError("a header holds a line break")  # whoever wrote it could write a whole answer
        return head + b"\r\n"

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the body is longer than the headers said")
        self.transport.write(self._head + body)
        self._head = b""
        if more:
            return
        if self.expected_content_length != 0:
            raise RuntimeError("the body is shorter than the headers said")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
