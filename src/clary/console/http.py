"""HTTP as the console has it: requests read, answers made and sent. Called by `app` alone.

Every answer forbids what no page needs: scripts and styles from elsewhere or written into the page, frames, guessing of types.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from clary.aws.body import WHOLE, Receive, read_body
from clary.aws.canonical import headers_by_name
from clary.console import paths

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]

FORM_LIMIT_BYTES = 16 * 1024
_FIELDS_MAX = 50

HTML = b"text/html; charset=utf-8"
JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_GUARDS = (
    (
        b"content-security-policy",
        _CONTENT_SECURITY_POLICY,
    ),
    (b"x-content-type-options", b"nosniff"),
    # With "no-referrer" browsers would send "Origin: null" with our own forms, too.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent. A `body` in pieces is sent as they come. It is kept by nobody unless `headers` say otherwise."""

    http_status: int
    content_type: bytes
    body: bytes | AsyncIterator[bytes]
    headers: tuple[Header, ...] = ()


def redirect(path: str, *headers: Header) -> Answer:
    """To another page, which is to be got whatever the method was."""
    return Answer(303, TEXT, b"", ((b"location", path.encode()), *headers))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `segments` are what follows the console's base in the path; `query` holds the parameters that are not empty."""

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes] = field(init=False)
    query: Mapping[str, str] = field(init=False)
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", headers_by_name(self.scope["headers"]))
        object.__setattr__(self, "query", _fields(self.scope["query_string"]))
        below = self.scope["path"].removeprefix(paths.BASE).strip("/")
        object.__setattr__(self, "segments", tuple(below.split("/")) if below else ())

    @property
    def method(self) -> str:
        """GET for HEAD, too: the connection leaves the body out."""
        method: str = self.scope["method"]
        return "GET" if method == "HEAD" else method

    @property
    def is_head(self) -> bool:
        """Whether only the head of the answer is wanted."""
        return bool(self.scope["method"] == "HEAD")

    @property
    def secure(self) -> bool:
        """Whether it came over TLS."""
        return bool(self.scope.get("scheme") == "https")

    @property
    def wants_json(self) -> bool:
        """Whether the page's twin is asked for."""
        return self.query.get("format") == "json"

    @property
    def address(self) -> str:
        """Path and parameters as they came."""
        raw: bytes = self.scope.get("raw_path") or self.scope["path"].encode()
        query: bytes = self.scope["query_string"]
        return (raw + b"?" + query if query else raw).decode("latin-1")

    def cookie(self, name: str) -> str | None:
        """The value of a cookie."""
        for pair in self.headers.get(b"cookie", b"").decode("latin-1").replace(",", ";").split(";"):
            found, _, value = pair.strip().partition("=")
            if found == name:
                return value
        return None

    @property
    def is_of_the_same_origin(self) -> bool:
        """Whether a page of the console itself has sent it. A browser that says nothing of it is not believed."""
        site = self.headers.get(b"sec-fetch-site")
        origin = self.headers.get(b"origin", b"null")
        if site not in {None, b"same-origin"}:
            return False
        if origin == b"null":
            return site is not None
        return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") == self.headers.get(b"host")

    async def form(self) -> dict[str, str]:
        """The fields of a form. Raises `AwsError` for a body that is too large or late, and `Disconnected`."""
        is_whole = WHOLE in self.scope.get("extensions", ())
        return _fields(await read_body(self.receive, dict(self.headers), FORM_LIMIT_BYTES, is_whole=is_whole))


def is_of_console(scope: Scope) -> bool:
    """Whether a request is for the console."""
    path: str = scope["path"]
    return path.startswith(paths.START) or path == paths.BASE


def is_browser_at_door(scope: Scope) -> bool:
    """Whether somebody has given a browser the server's address alone. S3's clients do not ask for HTML, and a name below
    localhost is that of a bucket.
    """
    if scope["path"] != "/" or scope["method"] != "GET" or scope["query_string"]:
        return False
    headers = headers_by_name(scope["headers"])
    if b"authorization" in headers or b"text/html" not in headers.get(b"accept", b""):
        return False
    return not headers.get(b"host", b"").partition(b":")[0].endswith(b".localhost")


async def send_answer(send: Send, receive: Receive, answer: Answer) -> None:
    """Send it."""
    body = answer.body
    headers = [(b"content-type", answer.content_type), *_GUARDS, *answer.headers]
    if not any(name == b"cache-control" for name, _ in answer.headers):
        headers.append((b"cache-control", b"no-store"))
    if isinstance(body, bytes):
        headers.append((b"content-length", str(len(body)).encode()))
    if answer.http_status in {408, 413}:
        headers.append((b"connection", b"close"))  # the rest of the body must not be taken for the next request
    await send({"type": "http.response.start", "status": answer.http_status, "headers": headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    gone = asyncio.create_task(_gone(receive))
    try:
        async for piece in body:
            if gone.done():
                return  # nobody listens any more
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _fields(text: bytes) -> dict[str, str]:
    """Fields of a query or form that are not empty; of one that is given twice the last. Too many are none at all."""
    try:
        return dict(parse_qsl(text.decode("latin-1"), max_num_fields=_FIELDS_MAX))
    except ValueError:
        return {}
