"""The S3 that a task names, each location of it with the credentials of its grant.

Used by the programs of an instance. S3's client is imported when it is needed: a job without channels starts without it.
"""

from clary.instance.channel_plan import StorageFor
from clary.instance.grants import Grants
from clary.jobs.task import InstanceTask, StorageGrant
from clary.storage.port import Credentials, ObjectStorage, S3Address
from clary.storage.uri import S3Location

_INSISTS_S = 300.0
"""The embedded store answers 500 to everything under a KMS key while the server, who has the keys, is away: a job must
outlive that. A key that was disabled looks the same to us, and fails the job only then.
"""


def s3(task: InstanceTask, grants: Grants) -> StorageFor:
    """The storage that the task names. What it answers raises `AccessDenied` where there is no grant."""
    address = S3Address(endpoint_url=task.s3_endpoint_url, region=task.region)

    def storage_for(access: str, location: S3Location) -> ObjectStorage:
        from clary.storage.s3 import S3Storage  # noqa: PLC0415

        def credentials() -> Credentials:
            return _credentials(grants.find(access, location.bucket, location.key))

        credentials()  # no grant, no request
        return S3Storage(address, credentials, insists_s=_INSISTS_S, tell_parts=task.verify_multipart_etags)

    return storage_for


def _credentials(grant: StorageGrant) -> Credentials:
    return Credentials(
        access_key_id=grant.access_key_id,
        secret_access_key=grant.secret_access_key,
        session_token=grant.session_token or None,
    )
