"""The strings that clients hand back: positions in a stream, positions in a list, ids of events. Pure.

An event token names the number of an event and a direction, so appends never move it. A list token names the last item
of the page before, so that what comes and goes elsewhere in the list moves nothing.
"""

import base64
import binascii
import enum
import hashlib
import re

import msgspec

from clary.base import typed
from clary.logs.port import BadToken

_EVENT_TOKEN = re.compile(r"([fb])/([0-9]{56})/s", re.ASCII)


class Direction(enum.StrEnum):
    """Which way an event token leads."""

    FORWARD = "f"
    BACKWARD = "b"


def event_token(direction: Direction, number: int) -> str:
    """Forward: the next page begins with event `number`. Backward: it ends before that event.

    CloudWatch's own form, `f/` and 56 digits and `/s`, because tools match it.
    """
    return f"{direction}/{number:056d}/s"


def parse_event_token(token: str) -> tuple[Direction, int]:
    """Undo `event_token`. Raises `BadToken`."""
    match = _EVENT_TOKEN.fullmatch(token)
    if not match:
        raise BadToken(token)
    return Direction(match[1]), int(match[2])


def event_id(group: str, stream: str, number: int) -> str:
    """The id of an event for FilterLogEvents: 56 digits, unique over all streams, ascending within one.

    `aws logs tail` drops events whose id it has seen.
    """
    digest = hashlib.blake2b(f"{group}\0{stream}".encode(errors="surrogatepass"), digest_size=14).digest()
    return f"{int.from_bytes(digest):036d}"[-36:] + f"{number:020d}"


class ListPosition(msgspec.Struct, frozen=True, array_like=True):
    """The last item of a page: its name and, in an order by time, its time."""

    name: str
    time: int | None


def list_token(position: ListPosition) -> str:
    """An opaque token for the position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()


def parse_list_token(token: str) -> ListPosition:
    """Undo `list_token`. Raises `BadToken`."""
    try:
        return typed.from_json(base64.b64decode(token, altchars=b"-_", validate=True), ListPosition)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadToken(token) from None
