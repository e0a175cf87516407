"""What a job may read because a manifest of its names it: known only inside the manifest, which is looked at when
credentials are given.

Called by `act`, at each launch and at each renewal. Only the beginning of a ManifestFile is read, where its prefix stands,
however large it is; everything below that prefix is granted. An augmented manifest is read whole: of each bucket that it
refers to, all keys are granted that begin as all of these do. So the job has what its manifest named at that moment: one
that is replaced afterwards and names another place is refused there (AccessDenied) when the instance reads it.

A manifest that is gone or makes no sense grants nothing: the instance reads it with its own eyes and fails the job with the
reason. While the store does not answer nothing is decided: the launch is tried again.
"""

import asyncio

from clary.base.telemetry import get_logger
from clary.jobs.model import S3DataSource, TrainingJob
from clary.storage.manifests import HEAD_BYTES, MANIFEST_BYTES_MAX, ManifestError, manifest_location, referenced
from clary.storage.port import ObjectStorage, StorageError, Unreachable
from clary.storage.session_policy import Grant, UngrantableName, pack
from clary.storage.uri import S3Location, parse_s3_uri

_log = get_logger("controller")


class ManifestGrants:
    """Reads manifests through a storage that may read all."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    async def of(self, job: TrainingJob) -> tuple[Grant, ...]:
        """What the manifests of a job name. Raises `StorageError` if the store cannot say."""
        sources = [channel.s3 for channel in job.request.input_data_config if channel.s3 is not None]
        manifests = dict.fromkeys(source for source in sources if source.is_manifest)
        found = await asyncio.gather(*(asyncio.to_thread(self._named, source) for source in manifests))
        return tuple(grant for grants in found for grant in grants)

    def _named(self, source: S3DataSource) -> tuple[Grant, ...]:
        try:
            locations = self._locations(source)
            grants = tuple(Grant(access="read", bucket=found.bucket, prefix=found.key) for found in locations)
            pack(grants)
        except (StorageError, ManifestError, UngrantableName) as error:
            if isinstance(error, StorageError) and (isinstance(error, Unreachable) or error.status >= 500):
                raise
            _log.warning("manifest grants nothing", manifest=source.s3_uri, why=str(error))
            return ()
        return grants

    def _locations(self, source: S3DataSource) -> tuple[S3Location, ...]:
        where = parse_s3_uri(source.s3_uri)
        info = self._storage.head(where.bucket, where.key)
        if not info.size_bytes:
            return ()
        if source.s3_data_type == "ManifestFile":
            length = min(HEAD_BYTES, info.size_bytes)
            return (manifest_location(self._storage.get(where.bucket, where.key, start=0, length=length)),)
        if info.size_bytes > MANIFEST_BYTES_MAX:
            raise ManifestError(f"the manifest has {info.size_bytes} bytes; {MANIFEST_BYTES_MAX} are taken at most")
        data = self._storage.get(where.bucket, where.key, etag=info.etag)
        return referenced(data, source.attribute_names)
