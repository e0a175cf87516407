"""What a Pipe mode channel sends: looked up once, kept, and the same for every instance program of the attempt.

`stage_channels` looks it up before the program starts, so that a channel without data fails early; `pipes` reads it. What
is kept is the listing of a prefix, or the manifest as it was.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby
from os.path import commonprefix
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import write_atomically
from clary.instance.channel_plan import StorageFor
from clary.instance.storage_trouble import empty_listing
from clary.jobs.failure import JobFailed
from clary.jobs.model import S3DataSource
from clary.storage.manifests import (
    MANIFEST_BYTES_MAX,
    ManifestError,
    augmented_entries,
    manifest_entries,
    manifest_location,
)
from clary.storage.port import ObjectInfo
from clary.storage.reading import ReadObject
from clary.storage.session_policy import Grant, UngrantableName, pack
from clary.storage.uri import S3Location, parse_s3_uri

Entry = ReadObject | S3Location | bytes
"""What is sent for one place in the stream: an object that was listed, one that a manifest names, or the bytes themselves."""

Unit = tuple[Entry, ...]
"""Entries that stay together when units are shuffled and dealt out: one object, or one line of an augmented manifest."""

_LOOKED_UP_AHEAD = 32

_listing = typed.json_decoder(list[ObjectInfo])


def look_up(source: S3DataSource, storage_for: StorageFor, keep: Path) -> int:
    """Look up what the channel has and keep it; how many units that are.

    Raises `JobFailed` (nothing there), `SelectionError` (the manifest is at fault), `StorageError`.
    """
    location = parse_s3_uri(source.s3_uri)
    storage = storage_for("read", location)
    if source.is_manifest:
        info = storage.head(location.bucket, location.key)
        if info.size_bytes > MANIFEST_BYTES_MAX:
            raise ManifestError(f"the manifest has {info.size_bytes} bytes; {MANIFEST_BYTES_MAX} are taken at most")
        data = bytes(storage.get(location.bucket, location.key, etag=info.etag))
    else:
        data = msgspec.json.encode(list(storage.list_objects(location.bucket, location.key)))
    found = _units(source, data)
    if not found:
        raise JobFailed(empty_listing(source.s3_uri))
    if source.is_manifest:
        _check_grantable([manifest_location(data)] if source.s3_data_type == "ManifestFile" else _referred(found))
    write_atomically(keep, data)
    return len(found)


def units(source: S3DataSource, keep: Path) -> list[Unit]:
    """What was kept, in the order of S3's listing or of the manifest."""
    return _units(source, keep.read_bytes())


def objects(
    chosen: Iterable[Unit], head: Callable[[S3Location], ObjectInfo], *, ahead: int = _LOOKED_UP_AHEAD
) -> Iterator[ReadObject | bytes]:
    """The entries of the units one by one, those that a manifest names looked up some ahead. Raises what `head` raises."""
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="head")
    waiting: deque[Future[ReadObject] | ReadObject | bytes] = deque()
    try:
        for unit in chosen:
            for entry in unit:
                waiting.append(pool.submit(_read_object, head, entry) if isinstance(entry, S3Location) else entry)
                while len(waiting) > ahead:
                    yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _units(source: S3DataSource, data: bytes) -> list[Unit]:
    match source.s3_data_type:
        case "ManifestFile":
            manifest = manifest_entries(data)
            return [(S3Location(bucket=manifest.bucket, key=key),) for key in manifest.keys]
        case "AugmentedManifestFile":
            entries = augmented_entries(data, source.attribute_names)
            return [
                tuple(entry.reference or entry.data for entry in line)
                for _, line in groupby(entries, key=lambda entry: entry.line)
            ]
    bucket = parse_s3_uri(source.s3_uri).bucket
    return [
        (ReadObject(bucket=bucket, key=info.key, size_bytes=info.size_bytes, etag=info.etag),)
        for info in _listing.decode(data)
        if info.size_bytes or not info.key.endswith("/")  # markers of folders have nothing to send, nor a record
    ]


def _check_grantable(locations: Iterable[S3Location]) -> None:
    """Raise `ManifestError` if no leave can be given for what a manifest names, so that none was given to this job."""
    try:
        pack(Grant(access="read", bucket=where.bucket, prefix=where.key) for where in locations)
    except UngrantableName as error:
        raise ManifestError(f"the prefix of the manifest cannot be used: {error}") from None


def _referred(found: Iterable[Unit]) -> list[S3Location]:
    """Of each bucket that an augmented manifest refers to, what all keys begin with: as `manifests.referenced`."""
    prefixes: dict[str, str] = {}
    for entry in chain.from_iterable(found):
        if isinstance(entry, S3Location):
            prefixes[entry.bucket] = commonprefix([prefixes.get(entry.bucket, entry.key), entry.key])  # noqa: RUF071
    return [S3Location(bucket=bucket, key=prefix) for bucket, prefix in prefixes.items()]


def _read_object(head: Callable[[S3Location], ObjectInfo], location: S3Location) -> ReadObject:
    info = head(location)
    return ReadObject(bucket=location.bucket, key=location.key, size_bytes=info.size_bytes, etag=info.etag)


def _result(waiting: "Future[ReadObject] | ReadObject | bytes") -> ReadObject | bytes:
    return waiting.result() if isinstance(waiting, Future) else waiting
