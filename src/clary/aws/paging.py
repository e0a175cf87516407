"""The opaque `NextToken` of list operations.

A token holds the cursor at which the next page begins, bound to the query that it belongs to and sealed with a key, so
that a caller can neither read meaning into it nor move it to another query. List operations in `service/` use it; the
key outlives restarts, or a client that pages through would fail across one.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from clary.aws.errors import ValidationException

_SEAL_BYTES = 16
_DIGEST_BYTES = 16
_canonical = msgspec.json.Encoder(order="deterministic")


class PageTokens:
    """Issues and reads tokens under one key (any length, best 32 random bytes)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, cursor: object, query: Mapping[str, Any]) -> str:
        """A token for the page that begins at `cursor` (anything JSON) of `query`.

        `query` holds what must be the same on the next page: the operation's name, filters, sort; not the page size.
        """
        content = _digest(query) + msgspec.json.encode(cursor)
        return _encode(self._seal(content) + content)

    def read(self, token: str, query: Mapping[str, Any]) -> Any:
        """The cursor of a token that was issued for `query`. Raises `ValidationException` (text inferred)."""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _invalid() from None
        if _encode(data) != token:  # base64 reads several spellings of the same bytes; only the one issued is good
            raise _invalid()
        seal, content = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(content)) or content[:_DIGEST_BYTES] != _digest(query):
            raise _invalid()
        return msgspec.json.decode(content[_DIGEST_BYTES:])

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")[:_SEAL_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _digest(query: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(_canonical.encode(query)).digest()[:_DIGEST_BYTES]


def _invalid() -> ValidationException:
    return ValidationException("The NextToken is not valid for this request.")
