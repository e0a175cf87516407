"""One HTTP connection: uvicorn's, with bounds on what a caller may hold, and with AWS errors where uvicorn has plain text.

`app` gives `Connection` to uvicorn as its HTTP protocol. What is no HTTP never reaches the gateway and is answered here; so
are headers that are too large, too slow, or of one connection too many. At that point nothing is known of the caller's
service, so the answer is awsJson's, which S3's clients read by its status alone. Codes and statuses: common errors of the
AWS JSON services (MalformedHttpRequestException, RequestTimeoutException, ServiceUnavailable); that of large headers is
S3's (RequestHeaderSectionTooLarge). Bodies are bounded by who reads them: `body` and `s3_body`.
"""

import asyncio
import resource
import uuid
from typing import Any, Final
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from clary.aws.body import WHOLE
from clary.aws.cycle import Cycle

HEADERS_SECONDS = 20.0
"""From the first byte of a request, or from the connection's beginning, to the end of its headers."""
HEADERS_BYTES: Final = 64 << 10
"""Request line and headers, each header counted with 32 bytes more, as HTTP/2 counts them."""
READER_SECONDS = 300.0
"""A caller who takes nothing of his answer for so long is cut off."""
_LINGER_SECONDS = 2.0

_encode = msgspec.json.Encoder().encode


def connections_max() -> int:
    """A third of the files that the process may open: an S3 request holds two, and the rest of the server needs some."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)


class Connection(HttpToolsProtocol):
    """A connection from its beginning to its end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_headers = False
        self._headers_bytes = 0
        self._section_bytes = 0
        self._refused = False
        self._unparsed: int | None = None
        self._headers_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a connection over the limit is refused at once, or one caller could take every file of the process."""
        super().connection_made(transport)
        if len(self.connections) > connections_max():
            self._refuse(503, "ServiceUnavailable", "There are too many connections. Please try again.")
        else:
            self._arm_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._disarm_headers()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        if self._refused:
            return
        if self._unparsed is not None:
            self._take_unparsed(data)
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if self._headers_bytes > HEADERS_BYTES:
                self._refuse_large_headers()
            else:
                self._refuse(400, "MalformedHttpRequestException", "The request is not valid HTTP.")
            return
        if self._in_headers:
            self._section_bytes += len(data)
            if self._section_bytes > HEADERS_BYTES:
                self._refuse_large_headers()
            else:
                self._arm_headers()
        elif self._idle():  # line breaks between requests: they must not hold the connection either
            self._arm_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = True
        self._headers_bytes = self._section_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._count(len(name) + len(value) + 32)

    def on_headers_complete(self) -> None:
        """The headers are whole: begin the request, or let it wait for those before it."""
        self._in_headers = False
        self._disarm_headers()
        target = httptools.parse_url(self.url if self.url.startswith(b"/") else _with_path(self.url))
        version = self.parser.get_http_version()
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(target.path.decode("ascii"))
        self.scope["raw_path"] = target.path
        self.scope["query_string"] = target.query or b""
        is_first = self._idle()
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if is_first:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self.scope["extensions"] = {WHOLE: {}}  # seldom too late: the application begins in the loop's next turn

    def pause_writing(self) -> None:
        """The caller does not take his answer as fast as it comes."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """He goes on taking it."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def shutdown(self) -> None:
        """The server stops: requests under way are answered, and no other is taken."""
        if not self._refused:
            super().shutdown()

    def _count(self, size: int) -> None:
        self._headers_bytes += size
        if self._headers_bytes > HEADERS_BYTES:
            raise ValueError("headers too large")  # stops the parser; `data_received` answers

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answer an offer of HTTP/2 or WebSocket as if it had not been made, and end the connection then.

        The parser takes what follows the headers for the other protocol. Nothing but the headers has been worked on yet,
        as the application runs only after this call.
        """
        headers = dict(self.headers)
        if b"transfer-encoding" in headers:
            self._refuse(400, "MalformedHttpRequestException", "A chunked request cannot be upgraded.")
            return
        self.cycle.keep_alive = False
        self._unparsed = int(headers.get(b"content-length", b"0"))
        if self._unparsed:
            self.cycle.more_body = True
            self.cycle.message_event.clear()
        self._take_unparsed(rest)

    def _take_unparsed(self, data: bytes) -> None:
        if not self._unparsed:
            return
        body = data[: self._unparsed]
        self._unparsed -= len(body)
        self.on_body(body)
        if not self._unparsed:
            self.on_message_complete()

    def _arm_headers(self) -> None:
        if self._headers_timer is None:
            self._headers_timer = self.loop.call_later(HEADERS_SECONDS, self._headers_late)

    def _disarm_headers(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _headers_late(self) -> None:
        self._headers_timer = None
        if self._in_headers:
            self._refuse(408, "RequestTimeoutException", "The request headers did not arrive in time.")
        else:
            self.transport.close()

    def _refuse_large_headers(self) -> None:
        message = "Your request header and metadata sections exceed the maximum allowed request size."
        self._refuse(400, "RequestHeaderSectionTooLarge", message)

    def _refuse(self, http_status: int, code: str, message: str) -> None:
        """Answer and end the connection; requests that came whole before are answered first, and then end it."""
        self._refused = True
        self._disarm_headers()
        self.flow.resume_reading()
        if not self._idle():
            self.cycle.keep_alive = False
            if not self.cycle.more_body:
                return
            if self.pipeline or self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True  # its body broke off: this is its answer, and nobody else may give one
            self.cycle.message_event.set()
        body = _encode({"__type": code, "message": message})
        headers = [
            *self.server_state.default_headers,
            (b"x-amzn-requestid", str(uuid.uuid4()).encode()),
            (b"content-type", b"application/x-amz-json-1.1"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(STATUS_LINE[http_status] + lines + b"\r\n" + body)
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        # Closing with bytes unread would reset the connection, and the caller would lose the answer: let him finish.
        self.transport.write_eof()
        self._headers_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def _with_path(target: bytes) -> bytes:
    """The target of a request with a path: `http://host` and `*` have none, which uvicorn cannot bear."""
    if target == b"*":
        return b"/"
    scheme, colon, rest = target.partition(b"://")
    if not colon or b"/" in rest:
        return target
    authority, mark, query = rest.partition(b"?")
    return scheme + colon + authority + b"/" + mark + query
