"""Credentials that keep checkpoints, on the real store: all that they may do below their prefix, and nothing beside it."""

import pytest
from botocore.exceptions import ClientError

from clary.base.clock import SystemClock
from clary.storage.port import AccessDenied, Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.session_policy import Grant
from clary.storage.sts import StsClient
from weed import s3_client

pytest_plugins = ["weed"]

BESIDE = ["ckpt/v20/x", "ckpt/v2", "ckpt/x", "train/a", "output/job/m", "output/other"]


@pytest.fixture(scope="module")
def bucket(weed_store):
    """A bucket with objects below the prefix, beside it, and in the job's other places."""
    name = weed_store.bucket()
    for key in ("ckpt/v2/old", "ckpt/v2/deep/er", *BESIDE):
        weed_store.client().put_object(Bucket=name, Key=key, Body=key.encode())
    return name


@pytest.fixture(scope="module")
def credentials(weed_store, bucket):
    """A job that reads `train/`, writes `output/job/` and syncs `ckpt/v2/`."""
    embedded = weed_store.embedded
    sts = StsClient(
        weed_store.endpoint_url,
        credential=embedded.credentials,
        role_arn=embedded.role_arn,
        region=embedded.region,
        clock=SystemClock(),
    )
    grants = [
        Grant(access="read", bucket=bucket, prefix="train/"),
        Grant(access="write", bucket=bucket, prefix="output/job/"),
        Grant(access="sync", bucket=bucket, prefix="ckpt/v2/"),
    ]
    ((covered, given),) = weed_store.loop.run(sts.assume(grants, 3600, "job"))
    assert covered == tuple(grants)
    return given


@pytest.fixture(scope="module")
def job(weed_store, credentials):
    """boto3 with what the job was given."""
    return s3_client(
        weed_store.endpoint_url, credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )


def _code(call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    return refusal.value.response["Error"]["Code"]


def test_all_that_a_sync_needs_is_allowed(weed_store, bucket, credentials):
    """Listing, reading, writing small and large objects, and deleting, through the instance's own client."""
    storage = S3Storage(
        S3Address(endpoint_url=weed_store.endpoint_url, region="us-east-1"),
        lambda: Credentials(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token,
        ),
    )
    assert [info.key for info in storage.list_objects(bucket, "ckpt/v2/")] == ["ckpt/v2/deep/er", "ckpt/v2/old"]
    assert bytes(storage.get(bucket, "ckpt/v2/old")) == b"ckpt/v2/old"
    storage.put(bucket, "ckpt/v2/new", b"x")
    with storage.open_writer(bucket, "ckpt/v2/large") as writer:
        writer.write(bytes(9 << 20))
    assert storage.head(bucket, "ckpt/v2/large").size_bytes == 9 << 20
    for key in ("ckpt/v2/new", "ckpt/v2/large", "ckpt/v2/old", "ckpt/v2/never"):
        storage.delete(bucket, key)
    assert [info.key for info in storage.list_objects(bucket, "ckpt/v2/")] == ["ckpt/v2/deep/er"]
    with pytest.raises(AccessDenied):
        storage.delete(bucket, "ckpt/v2")


@pytest.mark.parametrize("key", BESIDE)
def test_nothing_beside_the_prefix_is_deleted(job, weed_store, bucket, key):
    """Not the job's own output, nor its input, nor a prefix whose name begins alike."""
    assert _code(job.delete_object, Bucket=bucket, Key=key) == "AccessDenied"
    several = job.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [error["Code"] for error in several["Errors"]] == ["AccessDenied"]
    assert weed_store.client().get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


@pytest.mark.parametrize("key", ["ckpt/v20/x", "ckpt/v2", "ckpt/x", "output/other"])
def test_nothing_beside_the_prefix_is_read_or_written(job, bucket, key):
    """Each of the job's grants opens its own place alone."""
    assert _code(job.get_object, Bucket=bucket, Key=key) == "AccessDenied"
    assert _code(job.put_object, Bucket=bucket, Key=key, Body=b"x") == "AccessDenied"
    assert _code(job.create_multipart_upload, Bucket=bucket, Key=key) == "AccessDenied"
    source = {"Bucket": bucket, "Key": key}
    assert _code(job.copy_object, Bucket=bucket, Key="ckpt/v2/copy", CopySource=source) == "AccessDenied"


@pytest.mark.parametrize("prefix", ["", "ckpt/", "ckpt/v2", "ckpt/v20/", "output/job/"])
def test_nothing_beside_the_prefix_is_listed(job, bucket, prefix):
    """The prefix with its slash is the widest list."""
    assert _code(job.list_objects_v2, Bucket=bucket, Prefix=prefix) == "AccessDenied"
