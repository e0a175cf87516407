"""The canonical form of a request, which both ends of Signature Version 4 must compute alike.

Pure functions over bytes as they stood on the wire, used by `sigv4` and `sigv2`. Source: the SigV4 chapter of the IAM
user guide; S3 differs in that its path is encoded once and never normalised.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_PLAIN_PATH = re.compile(rb"[A-Za-z0-9\-._~/]*").fullmatch


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request as it stood on the wire.

    `raw_path` and `query` are still percent-encoded, `query` comes without its question mark. Names of headers may be of
    any case. `body` is None when the body is not at hand (an S3 stream); then the hash that the caller declared counts.
    """

    method: str
    raw_path: bytes
    query: bytes
    headers: Iterable[tuple[bytes, bytes]]
    body: bytes | None = None


def headers_by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Values by lower-case name; a repeated header is joined by commas, in order."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        key = name.lower()
        found[key] = found[key] + b"," + value if key in found else value
    return found


def canonical_headers(headers: dict[bytes, bytes], signed: Iterable[bytes]) -> bytes:
    """One line a signed header: spaces at the ends cut, runs of spaces made one. A signed header not sent is empty."""
    return b"".join([b"%b:%b\n" % (name, b" ".join(headers.get(name, b"").split())) for name in signed])


def query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """The decoded parameters in the order sent. A plus sign is a space, as S3 reads it."""
    pairs = []
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((unquote_to_bytes(name.replace(b"+", b" ")), unquote_to_bytes(value.replace(b"+", b" "))))
    return pairs


def canonical_query(query: bytes, *, without: bytes | None = None) -> bytes:
    """Parameters encoded anew and sorted by encoded name, then value; `without` names one that is left out."""
    if not query:
        return b""
    encoded = [(_encode(name), _encode(value)) for name, value in query_pairs(query) if name != without]
    return b"&".join(b"%b=%b" % pair for pair in sorted(encoded))


def canonical_path(raw_path: bytes, *, single_encoding: bool) -> bytes:
    """The path as it is signed: for S3 encoded once, for all others normalised and encoded a second time."""
    if raw_path in {b"", b"/"}:
        return b"/"
    if single_encoding:
        return raw_path if _PLAIN_PATH(raw_path) else _encode(unquote_to_bytes(raw_path), safe="/-_.~")
    return _encode(_normalised(raw_path), safe="/-_.~")


def _encode(text: bytes, *, safe: str = "-_.~") -> bytes:
    return quote_from_bytes(text, safe=safe).encode()


def _normalised(path: bytes) -> bytes:
    kept: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del kept[-1:]
        elif part not in {b"", b"."}:
            kept.append(part)
    end = b"/" if kept and path.endswith((b"/", b"/.", b"/..")) else b""
    return b"/" + b"/".join(kept) + end
