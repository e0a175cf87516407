"""Manifests: the two kinds of object that name the objects of a channel, read into typed data. Pure.

Called when a channel of S3DataType ManifestFile or AugmentedManifestFile is planned or streamed, and by whoever must know
beforehand where its objects are. Texts are UTF-8; a byte order mark at the beginning, which Windows editors leave, is
skipped (inferred). The bytes come from a user's object: whatever is wrong with them is a `ManifestError` that says where.

Source: API model, S3DataSource; what it leaves open is marked "(inferred)".
"""

import codecs
import io
import json
from collections.abc import Iterator, Sequence
from os.path import commonprefix
from typing import Any

import msgspec

from clary.base import typed
from clary.storage.selection import SelectionError
from clary.storage.uri import InvalidS3Uri, S3Location, parse_s3_uri

MANIFEST_BYTES_MAX = 64 * 1024 * 1024
"""The largest ManifestFile that is taken, some million objects (inferred): it is held in memory, as are its entries."""

HEAD_BYTES = 64 * 1024
"""Enough of a ManifestFile for `manifest_location`: keys have 1,024 bytes at most, escaped ones six times as many."""

_LINE_BYTES_MAX = 16 * 1024 * 1024
_REFERENCE = "-ref"
_KEY_BYTES_MAX = 1024  # Source: S3, object keys


class ManifestError(SelectionError):
    """A manifest cannot be read, or names nothing that can be had."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a ManifestFile names: `keys` in its order, duplicates kept, each `prefix` (a key's beginning) and a suffix."""

    bucket: str
    prefix: str
    keys: tuple[str, ...]


class AugmentedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute of one line: an object to send, or else the bytes themselves. `line` counts from 1."""

    line: int
    attribute: str
    reference: S3Location | None = None
    data: bytes = b""


def manifest_entries(data: bytes | memoryview) -> Manifest:
    """A ManifestFile: [{"prefix": "s3://bucket/…"}, "suffix", …]. Raises `ManifestError`.

    A URI is prefix and suffix, joined as they are; one prefix for all, so that all objects are in one bucket.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise ManifestError(f"the manifest has {len(data)} bytes; {MANIFEST_BYTES_MAX} are taken at most")
    text = _text(data)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"the manifest is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise ManifestError("the manifest is nested too deeply") from None
    if not isinstance(document, list):
        raise ManifestError(f"the manifest must be a JSON array, and is {_kind(document)}")
    if not document:
        raise ManifestError('the manifest is an empty array; its first element must be {"prefix": "s3://bucket/…"}')
    location = _location(document[0])
    if len(document) == 1:
        raise ManifestError("the manifest names no objects")
    keys = []
    for number, suffix in enumerate(document[1:], start=2):
        if not isinstance(suffix, str):
            raise ManifestError(f"element {number} of the manifest must be a string, and is {_kind(suffix)}")
        keys.append(_key(location.key + suffix, f"element {number} of the manifest"))
    return Manifest(bucket=location.bucket, prefix=location.key, keys=tuple(keys))


def manifest_location(head: bytes | memoryview) -> S3Location:
    """Bucket and prefix of a ManifestFile, from its first `HEAD_BYTES` or all of it. Raises `ManifestError`.

    What comes after its first element is not looked at, and may be cut off anywhere.
    """
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(head)).removeprefix("\ufeff").lstrip()
    if not text.startswith("["):
        raise ManifestError("the manifest must be a JSON array")
    try:
        first, _ = json.JSONDecoder().raw_decode(text[1:].lstrip())
    except json.JSONDecodeError as error:
        raise ManifestError(f"the first element of the manifest is no JSON: {error.msg}") from None
    except RecursionError:
        raise ManifestError("the manifest is nested too deeply") from None
    return _location(first)


def augmented_entries(data: bytes | memoryview, attribute_names: Sequence[str]) -> Iterator[AugmentedEntry]:
    """An AugmentedManifestFile: of each line, in order, the attributes named, in the order of their names.

    An attribute whose name ends in "-ref" refers to an object; of others a string is sent without its quotes, anything
    else as it is written (for arrays and objects inferred). Raises `ManifestError` when it gets to the line at fault, such
    as one that lacks an attribute (inferred). Lines that are blank are skipped (inferred).
    """
    lines = io.BytesIO(data)
    number = 0
    named = False
    while line := lines.readline(_LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > _LINE_BYTES_MAX:
            raise ManifestError(f"line {number} of the manifest is longer than {_LINE_BYTES_MAX} bytes")
        text = _text(line, f"line {number} of the manifest", first=number == 1).strip()
        if not text:
            continue
        members = _members(text, number)
        for name in attribute_names:
            if name not in members:
                raise ManifestError(f"line {number} of the manifest lacks the attribute '{name}'")
            named = True
            yield _entry(number, name, members[name])
    if not named:
        raise ManifestError("the manifest names no objects")


def referenced(data: bytes | memoryview, attribute_names: Sequence[str]) -> tuple[S3Location, ...]:
    """Where the objects are that an AugmentedManifestFile refers to: of each bucket, what all keys begin with.

    Raises `ManifestError`.
    """
    prefixes: dict[str, str] = {}
    for entry in augmented_entries(data, attribute_names):
        if entry.reference is not None:
            bucket, key = entry.reference.bucket, entry.reference.key
            prefixes[bucket] = commonprefix([prefixes.get(bucket, key), key])  # noqa: RUF071  a raw prefix, not a path
    return tuple(S3Location(bucket=bucket, key=prefix) for bucket, prefix in prefixes.items())


def _text(data: bytes | memoryview, where: str = "the manifest", *, first: bool = True) -> str:
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        line = bytes(data[: error.start]).count(b"\n") + 1
        at = f", line {line}" if where == "the manifest" else ""
        raise ManifestError(f"{where} is not UTF-8: byte {error.start}{at}") from None
    return text.removeprefix("\ufeff") if first else text


def _location(first: Any) -> S3Location:
    if not isinstance(first, dict) or set(first) != {"prefix"} or not isinstance(first["prefix"], str):
        raise ManifestError('the first element of the manifest must be {"prefix": "s3://bucket/…"} and nothing else')
    prefix = first["prefix"]
    try:
        location = parse_s3_uri(prefix)
    except InvalidS3Uri:
        raise ManifestError(f"the prefix of the manifest must be an S3 URI, and is {prefix!r}") from None
    # Without the slash a suffix would go on with the bucket's name.
    if not prefix.startswith(f"s3://{location.bucket}/"):
        raise ManifestError(f"the prefix of the manifest must begin with s3://bucket/, and is {prefix!r}")
    return location


def _key(key: str, where: str) -> str:
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise ManifestError(f"{where} holds half of a surrogate pair, which no key can") from None
    if not 1 <= size_bytes <= _KEY_BYTES_MAX:
        raise ManifestError(f"{where} makes a key of {size_bytes} bytes; keys have 1 to {_KEY_BYTES_MAX}")
    return key


def _members(text: str, number: int) -> dict[str, str]:
    """The members of a line's object by name, each value as it is written: 1.0 must not become 1, nor 1e3 1000.0."""
    raw = typed.json_decoder(dict[str, msgspec.Raw])
    try:
        return {name: bytes(value).decode().strip() for name, value in raw.decode(text.encode()).items()}
    except UnicodeEncodeError:
        raise ManifestError(f"line {number} of the manifest is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ManifestError(f"line {number} of the manifest must be a JSON object: {error}") from None


def _entry(line: int, name: str, raw: str) -> AugmentedEntry:
    is_text = raw.startswith('"')
    value = json.loads(raw) if is_text else raw
    where = f"the attribute '{name}' in line {line} of the manifest"
    if name.endswith(_REFERENCE):
        try:
            location = parse_s3_uri(value if is_text else "")
        except InvalidS3Uri:
            raise ManifestError(f"{where} must be an S3 URI, and is {raw}") from None
        return AugmentedEntry(
            line=line,
            attribute=name,
            reference=S3Location(bucket=location.bucket, key=_key(location.key, where)),
        )
    try:
        return AugmentedEntry(line=line, attribute=name, data=value.encode())
    except UnicodeEncodeError:
        raise ManifestError(f"{where} holds half of a surrogate pair, which is no text") from None


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"
