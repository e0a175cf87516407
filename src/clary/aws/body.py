"""Reads the body of a request, whole and up to a limit, from whatever a caller sends.

The chain calls it for every service but S3, whose bodies are streams.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from clary.aws.errors import AwsError

Receive = Callable[[], Awaitable[Any]]

# A body over the limit is still read up to this size, so that a client which sends before it listens gets our answer
# and not a broken connection.
DRAIN_BYTES = 16 << 20
BODY_SECONDS = 30

WHOLE = "clary.whole"
"""The extension of an ASGI scope by which `connection` says that the body has arrived, as most have with their headers."""


class Disconnected(Exception):
    """The caller hung up before the request was whole: nobody is left to be answered."""


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], limit_bytes: int, *, is_whole: bool = False
) -> bytes:
    """The body. Raises `AwsError` (RequestEntityTooLargeException, RequestTimeoutException) and `Disconnected`.

    `is_whole`: it has arrived, so that nothing need be timed.
    """
    declared = _declared_length(headers)
    # Who asks before sending (Expect) need not be drained; who sends more than we drain is cut off.
    if declared > (limit_bytes if b"expect" in headers else DRAIN_BYTES):
        raise too_large(limit_bytes)
    if is_whole:
        return await _read(receive, limit_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, limit_bytes)
    except TimeoutError:
        raise late() from None


def late() -> AwsError:
    """The answer to a body that does not arrive. Source: common errors of the AWS JSON services."""
    return AwsError(code="RequestTimeoutException", message="The request body did not arrive in time.", http_status=408)


def too_large(limit_bytes: int) -> AwsError:
    """The answer to a body over the limit. Source: common errors of the AWS JSON services."""
    return AwsError(
        code="RequestEntityTooLargeException",
        message=f"The request body is larger than {limit_bytes} bytes.",
        http_status=413,
    )


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size <= limit_bytes:
            chunks.append(chunk)
        else:
            chunks.clear()  # the rest is read to be thrown away
        if size > DRAIN_BYTES:
            break
    if size > limit_bytes:
        raise too_large(limit_bytes)
    return b"".join(chunks)


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() and len(declared) < 19 else 0
