"""The S3 that a task names."""

import msgspec
import pytest

from clary.base.clock import FixedClock, Instant
from clary.instance.grants import Grants
from clary.instance.storage_access import s3
from clary.jobs.task import StorageGrant
from clary.storage.s3_upload import PART_BYTES
from clary.storage.uri import S3Location
from unit.instance.scenes import make_task
from weed import put_without_checksum

pytest_plugins = ["weed"]


@pytest.mark.parametrize("verify", [False, True])
def test_etags_of_parts_are_a_seal_as_the_task_says(weed_store, weed_bucket, tmp_path, verify):
    """By `verify_multipart_etags`, which the setting of that name has set."""
    grants = [
        StorageGrant(
            access=access,
            bucket=weed_bucket,
            prefix="",
            access_key_id=weed_store.access_key_id,
            secret_access_key=weed_store.secret_access_key,
            session_token="",
            expiration=Instant(2),
        )
        for access in ("read", "write")
    ]
    (tmp_path / "grants").write_bytes(msgspec.json.encode(grants))
    task = make_task(s3_endpoint_url=weed_store.endpoint_url, verify_multipart_etags=verify)
    storage_for = s3(task, Grants(tmp_path / "grants", FixedClock(Instant(1))))
    place = S3Location(bucket=weed_bucket, key="k")
    put_without_checksum(weed_store, weed_bucket, "k", bytes(PART_BYTES + 1), part_bytes=PART_BYTES)
    reading = storage_for("read", place)
    seal = reading.seal(weed_bucket, "k", reading.head(weed_bucket, "k").etag)
    assert (seal and seal.part_bytes) == (PART_BYTES if verify else None)
