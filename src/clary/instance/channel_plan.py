"""What a host gets of a channel of objects in File mode: looked up in S3, then decided.

Called by `stage_channels`, which brings it. Pure decisions are in `storage.selection` and `storage.manifests`; here they
meet the store.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from clary.instance.storage_trouble import empty_listing
from clary.jobs.failure import JobFailed
from clary.jobs.model import S3DataSource
from clary.jobs.task import InstanceTask
from clary.storage.manifests import MANIFEST_BYTES_MAX, Manifest, ManifestError, manifest_entries
from clary.storage.port import NoSuchKey, ObjectInfo, ObjectStorage
from clary.storage.selection import Selection, arrange, channel_manifest, select_prefix, shard, suffix_path
from clary.storage.session_policy import Grant, UngrantableName, pack
from clary.storage.transfer import Cancelled
from clary.storage.uri import S3Location, parse_s3_uri

StorageFor = Callable[[str, S3Location], ObjectStorage]
"""The storage through which keys from a location on may be accessed: to "read", "write" or "sync" them."""

_HEADS_AT_ONCE = 16
_BATCH = 1000

T = TypeVar("T")


class ChannelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to bring, from where, by which storage; and the text of `<channel>-manifest`, which lists all hosts' objects."""

    bucket: str
    selection: Selection
    storage: ObjectStorage
    manifest: str


def plan_channel(
    source: S3DataSource, task: InstanceTask, storage_for: StorageFor, cancelled: Callable[[], bool] = lambda: False
) -> ChannelPlan:
    """This host's share of the objects. `cancelled` is asked while many are looked up.

    Raises `JobFailed`, `SelectionError` (`ManifestError` among them), `StorageError`, `Cancelled`.
    """
    location = parse_s3_uri(source.s3_uri)
    storage = storage_for("read", location)
    if not source.is_manifest:
        return _of_prefix(source, location, task, storage)
    manifest = _read_manifest(storage, location)
    named = S3Location(bucket=manifest.bucket, key=manifest.prefix)
    try:
        return _of_manifest(source, manifest, task, storage_for("read", named), cancelled)
    except NoSuchKey as error:
        raise NoSuchKey(f"{error}, named by the manifest {location}", code=error.code, status=error.status) from None


def _of_prefix(source: S3DataSource, location: S3Location, task: InstanceTask, storage: ObjectStorage) -> ChannelPlan:
    listing = list(storage.list_objects(location.bucket, location.key))
    if not listing:
        raise JobFailed(empty_listing(source.s3_uri))
    whole = select_prefix(location.key, listing)
    return ChannelPlan(
        bucket=location.bucket,
        selection=msgspec.structs.replace(whole, objects=_share(whole.objects, source, task)),
        storage=storage,
        manifest=channel_manifest(location.key, location.bucket, (item.key for item in whole.objects)),
    )


def _of_manifest(
    source: S3DataSource,
    manifest: Manifest,
    task: InstanceTask,
    storage: ObjectStorage,
    cancelled: Callable[[], bool],
) -> ChannelPlan:
    """Entries are dealt out in the order of the manifest, duplicates counted (inferred); only our own are looked up."""
    mine = dict.fromkeys(_share(manifest.keys, source, task))
    found = _look_up(storage, manifest.bucket, list(mine), cancelled)
    return ChannelPlan(
        bucket=manifest.bucket,
        selection=arrange((info, suffix_path(manifest.prefix, info.key)) for info in found),
        storage=storage,
        manifest=channel_manifest(manifest.prefix, manifest.bucket, manifest.keys),
    )


def _share(objects: tuple[T, ...], source: S3DataSource, task: InstanceTask) -> tuple[T, ...]:
    """What this host gets of them (Source: API model, S3DataDistributionType; the deal was observed).

    A channel for some instance groups is dealt out among their hosts (inferred).
    """
    if source.s3_data_distribution_type != "ShardedByS3Key":
        return objects
    hosts = task.hosts_with(source)
    return shard(objects, hosts.index(task.host), len(hosts))


def _read_manifest(storage: ObjectStorage, location: S3Location) -> Manifest:
    info = storage.head(location.bucket, location.key)
    if info.size_bytes > MANIFEST_BYTES_MAX:
        raise ManifestError(f"the manifest has {info.size_bytes} bytes; {MANIFEST_BYTES_MAX} are taken at most")
    manifest = manifest_entries(storage.get(location.bucket, location.key, etag=info.etag))
    try:
        pack([Grant(access="read", bucket=manifest.bucket, prefix=manifest.prefix)])
    except UngrantableName as error:  # so that it was granted nothing, and would be told so of each object
        raise ManifestError(f"the prefix of the manifest cannot be used: {error}") from None
    return manifest


def _look_up(
    storage: ObjectStorage, bucket: str, keys: list[str], cancelled: Callable[[], bool]
) -> Iterator[ObjectInfo]:
    """Size and ETag of each: what is read later must be what was seen here."""
    with ThreadPoolExecutor(_HEADS_AT_ONCE, thread_name_prefix="head") as pool:
        for start in range(0, len(keys), _BATCH):
            if cancelled():
                raise Cancelled
            yield from pool.map(lambda key: storage.head(bucket, key), keys[start : start + _BATCH])
