"""A real store that misbehaves while a channel comes in: right bytes, or the right failure, and nothing in between."""

import hashlib
import io
import os
import random
import signal
import threading

import pytest
from boto3.s3.transfer import TransferConfig

from clary.instance.channel_plan import plan_channel
from clary.instance.storage_trouble import download_failure
from clary.jobs.model import S3DataSource
from clary.storage.integrity import Corrupt
from clary.storage.port import Changed, Credentials, NoSuchKey, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.transfer import PART_BYTES, download
from faulty_s3 import FAULTS, misbehaving
from unit.instance.scenes import make_task
from weed import running_store

pytest_plugins = ["weed"]

SIZES = {"empty": 0, "one": 1, "small": 100_000, "sub/whole": PART_BYTES, "parts": 2 * PART_BYTES + 5}


@pytest.fixture(scope="module")
def objects(weed_store):
    """A bucket of objects of all sizes, each stored by one request, and their bytes."""
    rng = random.Random(5)
    bucket = weed_store.bucket()
    found = {name: rng.randbytes(size) for name, size in SIZES.items()}
    for name, data in found.items():
        weed_store.client().put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
    return bucket, found


def storage_at(endpoint_url, store, **options):
    credentials = Credentials(access_key_id=store.access_key_id, secret_access_key=store.secret_access_key)
    return S3Storage(S3Address(endpoint_url=endpoint_url, region="us-east-1"), lambda: credentials, **options)


def bring(storage, bucket, directory, **options):
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/in/")
    plan = plan_channel(source, make_task(), lambda _access, _location: storage)
    return download(plan.storage, plan.bucket, plan.selection, directory, **options)


def files(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_trouble_that_passes_is_got_over(weed_store, objects, tmp_path, fault):
    """Whatever happens to the first two answers about each object, all that comes in the end is what was stored."""
    bucket, expected = objects
    faults = {f"/{bucket}/in/{name}": [fault] * 2 for name in expected}
    with misbehaving(weed_store.endpoint_url, faults) as s3:
        bring(storage_at(s3.endpoint_url, weed_store), bucket, tmp_path / "train")
        left = {name: s3.faults[f"/{bucket}/in/{name}"] for name in ("small", "sub/whole", "parts")}
    assert set(map(len, left.values())) <= ({0, 1} if fault == "slow" else {0}), "each fault was met"
    assert files(tmp_path / "train") == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "train"]


@pytest.mark.parametrize("seed", range(3))
def test_troubles_of_all_kinds_at_once_are_got_over(weed_store, objects, tmp_path, seed):
    """In any order, while many requests run side by side."""
    bucket, expected = objects
    rng = random.Random(seed)
    script = [rng.choice([each for each in FAULTS if each != "flip"]) for _ in range(25)]
    with misbehaving(weed_store.endpoint_url, {"*": script}) as s3:
        bring(storage_at(s3.endpoint_url, weed_store), bucket, tmp_path / "train")
    assert files(tmp_path / "train") == expected


@pytest.mark.parametrize("name", ["small", "parts"])
def test_bytes_that_are_wrong_each_time_fail_the_job(weed_store, objects, tmp_path, name):
    """With a ClientError that names the object; the file is not there."""
    bucket, _ = objects
    faults = {f"/{bucket}/in/{name}": ["flip"] * 100}
    with misbehaving(weed_store.endpoint_url, faults) as s3, pytest.raises(Corrupt) as caught:
        bring(storage_at(s3.endpoint_url, weed_store), bucket, tmp_path / "train")
    failure = download_failure(caught.value)
    assert failure.reason.startswith(
        f"ClientError: Data download failed:BadDigest: the bytes of s3://{bucket}/in/{name} "
    )
    assert name not in files(tmp_path / "train")


@pytest.mark.parametrize("flips", [2, 100])
def test_bytes_are_held_against_a_checksum_where_the_etag_tells_nothing(weed_store, tmp_path, flips):
    """Of an object that was uploaded in parts, with a CRC-32 of the whole: it is read again, and right, or fails the job."""
    bucket, client = weed_store.bucket(), weed_store.client()
    place = {"Bucket": bucket, "Key": "in/k"}
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    place["UploadId"] = upload["UploadId"]
    etag = client.upload_part(**place, PartNumber=1, Body=b"part" * 1000)["ETag"]
    client.complete_multipart_upload(**place, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    with misbehaving(weed_store.endpoint_url, {f"/{bucket}/in/k": ["flip"] * flips}) as s3:
        storage = storage_at(s3.endpoint_url, weed_store)
        if flips == 2:
            bring(storage, bucket, tmp_path / "train")
            assert s3.seen == ["flip"] * 2
            assert files(tmp_path / "train") == {"k": b"part" * 1000}
        else:
            with pytest.raises(Corrupt, match="its checksum or ETag, read 3 times") as caught:
                bring(storage, bucket, tmp_path / "train")
            assert download_failure(caught.value).reason.startswith("ClientError: Data download failed:BadDigest: ")
            assert files(tmp_path / "train") == {}


@pytest.mark.parametrize("part_bytes", [5 * 2**20, 8 * 2**20, PART_BYTES, 12_345_678])
@pytest.mark.parametrize("flips", [2, 100])
@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_objects_in_parts_are_held_against_what_is_told_of_them(weed_store, tmp_path, part_bytes, flips, checksums):
    """Boto3's own checksum of checksums, and, if that is wished, the ETag where there is none: whatever the size of the uploader's
    parts, they are read again, and right, or fail the job.
    """
    bucket = weed_store.bucket()
    client = weed_store.client(request_checksum_calculation=checksums)
    data = random.Random(7).randbytes(2 * PART_BYTES + 5)
    config = TransferConfig(multipart_threshold=1, multipart_chunksize=part_bytes)
    client.upload_fileobj(io.BytesIO(data), bucket, "in/k", Config=config)
    with misbehaving(weed_store.endpoint_url, {f"/{bucket}/in/k": ["flip"] * flips}) as s3:
        storage = storage_at(s3.endpoint_url, weed_store, tell_parts=checksums == "when_required")
        if flips == 2:
            bring(storage, bucket, tmp_path / "train")
            assert s3.seen == ["flip"] * 2
            assert files(tmp_path / "train") == {"k": data}
        else:
            with pytest.raises(Corrupt):
                bring(storage, bucket, tmp_path / "train")
            assert files(tmp_path / "train") == {}


@pytest.mark.parametrize("name", ["small", "parts"])
def test_an_object_that_is_replaced_after_the_listing_fails_the_job(weed_store, tmp_path, name):
    """Old and new bytes are never mixed: the channel is what was listed, or the job fails."""
    bucket = weed_store.bucket()
    client = weed_store.client()
    client.put_object(Bucket=bucket, Key=f"in/{name}", Body=bytes(SIZES[name]))

    once = threading.Lock()

    def replace(path):
        if path == f"/{bucket}/in/{name}" and once.acquire(blocking=False):
            client.put_object(Bucket=bucket, Key=f"in/{name}", Body=os.urandom(SIZES[name]))

    with misbehaving(weed_store.endpoint_url, {}, before=replace) as s3, pytest.raises(Changed) as caught:
        bring(storage_at(s3.endpoint_url, weed_store), bucket, tmp_path / "train")
    failure = download_failure(caught.value)
    assert failure.reason.startswith("ClientError: Data download failed:PreconditionFailed (412)"), failure
    assert files(tmp_path / "train") == {}


def test_an_object_that_is_deleted_after_the_listing_fails_the_job(weed_store, tmp_path):
    """With S3's own word for it."""
    bucket = weed_store.bucket()
    client = weed_store.client()
    client.put_object(Bucket=bucket, Key="in/k", Body=b"x")

    def delete(path):
        if path == f"/{bucket}/in/k":
            client.delete_object(Bucket=bucket, Key="in/k")

    with misbehaving(weed_store.endpoint_url, {}, before=delete) as s3, pytest.raises(NoSuchKey) as caught:
        bring(storage_at(s3.endpoint_url, weed_store), bucket, tmp_path / "train")
    assert download_failure(caught.value).reason.startswith("ClientError: Data download failed:NoSuchKey (404)")


def test_a_store_that_is_killed_half_way_is_waited_for(tmp_path):
    """kill -9 of the store between two objects: it comes back, and so do the rest of the bytes."""
    with running_store(tmp_path / "home") as store:
        bucket = store.bucket()
        client = store.client()
        expected = {f"{n:02}": random.Random(n).randbytes(50_000) for n in range(40)}
        expected["parts"] = random.Random(99).randbytes(3 * PART_BYTES)
        for name, data in expected.items():
            client.put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
        killed = []

        def kill_once(path):
            if path.endswith("/in/20") and not killed:
                killed.append(store.embedded.pid)
                os.kill(killed[0], signal.SIGKILL)

        with misbehaving(store.endpoint_url, {}, before=kill_once) as s3:
            bring(storage_at(s3.endpoint_url, store), bucket, tmp_path / "train", concurrency=4)
        assert killed
        assert store.embedded.pid not in killed
    found = files(tmp_path / "train")
    assert {name: hashlib.sha256(data).digest() for name, data in found.items()} == {
        name: hashlib.sha256(data).digest() for name, data in expected.items()
    }
