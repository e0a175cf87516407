"""What a job may read because a manifest of its names it: known only inside the manifest, which is looked at when
credentials are given.

Called by `act`, at each launch and at each renewal. Only the beginning of a ManifestFile is read, where its prefix stands,
however large it is; everything below that prefix is granted. So the job has what its manifest named at that moment: one
that is replaced afterwards and names another place is refused there (AccessDenied) when the instance reads it.

A manifest that is gone or makes no sense grants nothing: the instance reads it with its own eyes and fails the job with the
reason. While the store does not answer nothing is decided: the launch is tried again.
"""

import asyncio

from clary.base.telemetry import get_logger
from clary.jobs.model import TrainingJob
from clary.storage.manifests import HEAD_BYTES, ManifestError, manifest_location
from clary.storage.port import ObjectStorage, StorageError, Unreachable
from clary.storage.session_policy import Grant, UngrantableName, pack
from clary.storage.uri import parse_s3_uri

_log = get_logger("controller")


class ManifestGrants:
    """Reads manifests through a storage that may read all."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    async def of(self, job: TrainingJob) -> tuple[Grant, ...]:
        """What the manifests of a job name. Raises `StorageError` if the store cannot say."""
        sources = [channel.s3 for channel in job.request.input_data_config if channel.s3 is not None]
        uris = dict.fromkeys(source.s3_uri for source in sources if source.s3_data_type == "ManifestFile")
        found = await asyncio.gather(*(asyncio.to_thread(self._named, uri) for uri in uris))
        return tuple(grant for grant in found if grant is not None)

    def _named(self, uri: str) -> Grant | None:
        where = parse_s3_uri(uri)
        try:
            info = self._storage.head(where.bucket, where.key)
            if not info.size_bytes:
                return None
            length = min(HEAD_BYTES, info.size_bytes)
            location = manifest_location(self._storage.get(where.bucket, where.key, start=0, length=length))
            grant = Grant(access="read", bucket=location.bucket, prefix=location.key)
            pack([grant])
        except (StorageError, ManifestError, UngrantableName) as error:
            if isinstance(error, StorageError) and (isinstance(error, Unreachable) or error.status >= 500):
                raise
            _log.warning("manifest grants nothing", manifest=uri, why=str(error))
            return None
        return grant
