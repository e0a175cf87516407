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

pytest_plugins = ["weed"]


@pytest.mark.parametrize("verify", [False, True])
def test_parts_are_asked_for_as_the_task_says(weed_store, weed_bucket, tmp_path, verify):
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
    with storage_for("write", place).open_writer(weed_bucket, "k") as writer:
        writer.write(bytes(PART_BYTES + 1))
    reading = storage_for("read", place)
    etag = reading.head(weed_bucket, "k").etag
    assert reading.part_bytes(weed_bucket, "k", etag) == (PART_BYTES if verify else None)
