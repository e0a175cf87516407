"""SSE-KMS of the embedded store with Clary's KMS behind it: through the gate, and at the store itself as jobs ask it.

The last part pins where the store differs from S3; docs/semantics.md tells of it.
"""

import io
import json
import os
import random
import signal
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.seal import Running
from server import wait

pytest_plugins = ["server"]

PART = 5 << 20
LARGE = random.Random(5).randbytes(3 * PART + 12_345)
SMALL = LARGE[: (1 << 20) + 1]
RANGES = [(0, 0), (0, 15), (17, 17), (PART - 1, PART), (PART - 5, 2 * PART + 7), (3 * PART, 3 * PART + 12_344)]
RANGES += [(0, (16 << 20) - 1), (len(LARGE) - 1, len(LARGE) - 1)]
ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})


def direct(server):
    """A client of the store itself, with all rights: nothing of the gate is between."""
    secrets = json.loads((server.home / "s3" / "secrets.json").read_bytes())
    told = json.loads((server.home / "server.json").read_bytes())
    session = boto3.Session(secrets["access_key_id"], secrets["secret_access_key"], region_name="us-east-1")
    return session.client("s3", endpoint_url=told["s3_endpoint_url"], config=ONCE)


def job_storage(server):
    """The storage of jobs, at the store itself."""
    secrets = json.loads((server.home / "s3" / "secrets.json").read_bytes())
    told = json.loads((server.home / "server.json").read_bytes())
    keys = Credentials(access_key_id=secrets["access_key_id"], secret_access_key=secrets["secret_access_key"])
    return S3Storage(S3Address(endpoint_url=told["s3_endpoint_url"], region="us-east-1"), lambda: keys, tell_parts=True)


@pytest.fixture(scope="module")
def kms(server):
    return server.client("kms")


@pytest.fixture
def key(kms):
    """The ARN of a new key."""
    return kms.create_key()["KeyMetadata"]["Arn"]


@pytest.fixture
def alias(kms, key):
    name = f"alias/{key.rpartition('/')[2]}"
    kms.create_alias(AliasName=name, TargetKeyId=key)
    return name


@pytest.fixture(params=["gate", "store"])
def s3(server, request):
    """Each of the two ways to the store."""
    return server.client("s3", config=ONCE) if request.param == "gate" else direct(server)


@pytest.fixture
def gate(server):
    return server.client("s3", config=ONCE)


@pytest.fixture
def bucket(server):
    return server.bucket()


def sealed(key):
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}


def read(s3, bucket, key, **members):
    return s3.get_object(Bucket=bucket, Key=key, **members)["Body"].read()


def under(s3, bucket, key):
    """How an object is encrypted, and with which key."""
    head = s3.head_object(Bucket=bucket, Key=key)
    return head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")


def put_parts(s3, bucket, key, **members):
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **members)["UploadId"]
    pieces = [LARGE[start : start + PART] for start in range(0, len(LARGE), PART)]
    etags = [s3.upload_part(PartNumber=n, Body=piece, **upload)["ETag"] for n, piece in enumerate(pieces, 1)]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)


def refused(call, **members):
    with pytest.raises(ClientError) as refusal:
        call(**members)
    error = refusal.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def set_default(s3, bucket, **rule):
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"} | rule}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})


def test_a_key_goes_by_any_of_its_names(s3, bucket, key, alias):
    """Whole objects and parts of them come back as they were; HeadObject tells the key's ARN."""
    arn = key.partition(":key/")[0]
    for name, given in enumerate([key, key.rpartition("/")[2], alias, f"{arn}:{alias}"]):
        s3.put_object(Bucket=bucket, Key=f"k{name}", Body=SMALL, **sealed(given))
        assert under(s3, bucket, f"k{name}") == ("aws:kms", key)
        assert read(s3, bucket, f"k{name}") == SMALL
        assert read(s3, bucket, f"k{name}", Range="bytes=1000-70000") == SMALL[1000:70001]


def test_what_is_told_of_encrypted_bytes_is_told_of_the_plain_ones(server, s3, bucket, key, tmp_path):
    """By the store's own address, as jobs read: in memory, and into a file. Their ETags are believed in nothing."""
    body = random.Random(9).randbytes((17 << 20) + 3)
    s3.put_object(Bucket=bucket, Key="at-once", Body=body, **sealed(key))
    s3.upload_fileobj(io.BytesIO(body), bucket, "in-parts", ExtraArgs=sealed(key))
    put_parts(s3, bucket, "untold", **sealed(key))
    storage = job_storage(server)
    for info in storage.list_objects(bucket, ""):
        expected = LARGE if info.key == "untold" else body
        assert storage.get(bucket, info.key, etag=info.etag) == expected
        path = tmp_path / info.key
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            storage.get_into(bucket, info.key, fd, start=0, length=len(expected), etag=info.etag, whole=True)
        finally:
            os.close(fd)
        assert path.read_bytes() == expected
        seal = storage.seal(bucket, info.key, info.etag)
        assert seal is None or seal.kind == "crc32"
        if seal is not None:
            running = Running(seal, len(expected))
            running.update(expected)
            assert running.fits()


def test_an_empty_object_is_under_its_key(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="empty", Body=b"", **sealed(key))
    assert (under(s3, bucket, "empty"), read(s3, bucket, "empty")) == (("aws:kms", key), b"")


def test_uploads_in_parts_are_read_whole_and_by_ranges(s3, bucket, key):
    """Ranges that begin and end anywhere: within a part, across parts, as large as File mode's."""
    put_parts(s3, bucket, "k", **sealed(key))
    assert under(s3, bucket, "k") == ("aws:kms", key)
    assert read(s3, bucket, "k") == LARGE
    for first, last in RANGES:
        assert read(s3, bucket, "k", Range=f"bytes={first}-{last}") == LARGE[first : last + 1]


def test_a_context_is_kept_and_needed(s3, bucket, key):
    """Also for the parts of an upload."""
    context = {"SSEKMSEncryptionContext": "eyJhIjoiYiJ9"}
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL, **sealed(key), **context)
    put_parts(s3, bucket, "parts", **sealed(key), **context)
    assert (read(s3, bucket, "k"), read(s3, bucket, "parts")) == (SMALL, LARGE)


def test_bucket_keys_change_nothing_that_can_be_read(s3, bucket, key):
    """A second object under the same bucket key is as good as the first."""
    for name in ("a", "b", "c"):
        s3.put_object(Bucket=bucket, Key=name, Body=SMALL, BucketKeyEnabled=True, **sealed(key))
    assert [read(s3, bucket, name) for name in ("a", "b", "c")] == [SMALL] * 3


@pytest.mark.parametrize("named", ["key", "alias"])
def test_the_buckets_default_encrypts_what_asks_for_nothing(s3, bucket, key, alias, named):
    """Whole objects and uploads in parts; what asks for SSE-S3 gets that."""
    set_default(s3, bucket, KMSMasterKeyID=key if named == "key" else alias)
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL)
    put_parts(s3, bucket, "parts")
    s3.put_object(Bucket=bucket, Key="aes", Body=SMALL, ServerSideEncryption="AES256")
    assert [under(s3, bucket, name)[0] for name in ("k", "parts", "aes")] == ["aws:kms", "aws:kms", "AES256"]
    assert {under(s3, bucket, name)[1] for name in ("k", "parts")} == {key}
    assert (read(s3, bucket, "k"), read(s3, bucket, "parts")) == (SMALL, LARGE)


def test_copies_go_from_any_encryption_to_any(s3, bucket, key, kms):
    """From none, from another key, from parts; and to none."""
    other = kms.create_key()["KeyMetadata"]["Arn"]
    s3.put_object(Bucket=bucket, Key="open", Body=SMALL)
    s3.put_object(Bucket=bucket, Key="sealed", Body=SMALL, **sealed(key))
    put_parts(s3, bucket, "parts", **sealed(key))
    for source, body in {"open": SMALL, "sealed": SMALL, "parts": LARGE}.items():
        for wanted, expected in (
            ({}, (None, None)),
            ({"ServerSideEncryption": "AES256"}, ("AES256", None)),
            (sealed(key), ("aws:kms", key)),
            (sealed(other), ("aws:kms", other)),
        ):
            s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/{source}", **wanted)
            assert (under(s3, bucket, "copy"), read(s3, bucket, "copy") == body) == (expected, True)


def test_without_a_key_it_is_the_accounts_own(gate, bucket, kms):
    """As SDK v2 asks with every sourcedir.tar.gz: whole, in parts, copied, and as a bucket's default."""
    own = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
    unnamed = {"ServerSideEncryption": "aws:kms"}
    assert gate.put_object(Bucket=bucket, Key="k", Body=SMALL, **unnamed)["SSEKMSKeyId"] == own
    put_parts(gate, bucket, "parts", **unnamed)
    gate.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", **unnamed)
    set_default(gate, bucket)
    gate.put_object(Bucket=bucket, Key="default", Body=SMALL)
    put_parts(gate, bucket, "default parts")
    for name in ("k", "parts", "copy", "default", "default parts"):
        assert under(gate, bucket, name) == ("aws:kms", own)
        assert read(gate, bucket, name) == (LARGE if "parts" in name else SMALL)


def test_a_key_that_cannot_be_used_is_an_error_that_is_not_repeated(gate, bucket, key, kms):
    """KMS's own words with status 400, for whatever needs the key, until it can be used again; HeadObject needs none."""
    gate.put_object(Bucket=bucket, Key="k v/ä", Body=SMALL, **sealed(key))
    put_parts(gate, bucket, "parts", **sealed(key))
    gate.put_object(Bucket=bucket, Key="open", Body=SMALL)
    source = {"Bucket": bucket, "Key": "k v/ä"}
    set_default(gate, bucket, KMSMasterKeyID=key)

    def refusals():
        return {
            refused(gate.put_object, Bucket=bucket, Key="new", Body=SMALL, **sealed(key)),
            refused(gate.put_object, Bucket=bucket, Key="new", Body=SMALL),
            refused(gate.create_multipart_upload, Bucket=bucket, Key="new", **sealed(key)),
            refused(gate.copy_object, Bucket=bucket, Key="new", CopySource=f"{bucket}/open", **sealed(key)),
            refused(gate.copy_object, Bucket=bucket, Key="new", CopySource=source),
            refused(gate.get_object, **source),
            refused(gate.get_object, **source, Range="bytes=0-9"),
            refused(gate.get_object, Bucket=bucket, Key="parts"),
            refused(gate.get_object, Bucket=bucket, Key="parts", Range=f"bytes={PART}-{PART + 9}"),
        }

    kms.disable_key(KeyId=key)
    assert refusals() == {("KMS.DisabledException", 400)}
    assert under(gate, bucket, "k v/ä") == ("aws:kms", key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert refusals() == {("KMS.KMSInvalidStateException", 400)}
    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    assert (read(gate, bucket, "k v/ä"), read(gate, bucket, "parts")) == (SMALL, LARGE)
    assert refused(gate.head_object, Bucket=bucket, Key="new") == ("404", 404)


def test_a_default_key_that_does_not_exist_is_told_when_it_is_needed(gate, bucket):
    """PutBucketEncryption takes it, as on S3."""
    set_default(gate, bucket, KMSMasterKeyID="alias/nobody")
    assert refused(gate.put_object, Bucket=bucket, Key="k", Body=b"x") == ("KMS.NotFoundException", 400)
    gate.put_object(Bucket=bucket, Key="aes", Body=b"x", ServerSideEncryption="AES256")


def test_everything_is_readable_after_the_store_was_killed(server, gate, bucket, key):
    """It asks for its keys anew."""
    gate.put_object(Bucket=bucket, Key="k", Body=SMALL, **sealed(key))
    put_parts(gate, bucket, "parts", **sealed(key))
    assert kill_store(server)
    patient = server.client("s3", config=Config(retries={"total_max_attempts": 20, "mode": "standard"}))
    assert read(patient, bucket, "k") == SMALL
    assert read(patient, bucket, "parts", Range="bytes=100-9000000") == LARGE[100:9000001]
    patient.put_object(Bucket=bucket, Key="new", Body=SMALL, **sealed(key))
    assert (under(patient, bucket, "new"), read(patient, bucket, "new")) == (("aws:kms", key), SMALL)


def test_differs_troubles_with_keys_are_internal_errors(server, bucket, key, kms):
    """The gate finds out what they were."""
    store = direct(server)
    store.put_object(Bucket=bucket, Key="k", Body=SMALL, **sealed(key))
    kms.disable_key(KeyId=key)
    assert refused(store.get_object, Bucket=bucket, Key="k") == ("InternalError", 500)
    for given in (key, "alias/nobody"):
        assert refused(store.put_object, Bucket=bucket, Key="k", Body=b"x", **sealed(given)) == ("InternalError", 500)


def test_differs_parts_cannot_be_copied_from_encrypted_objects(s3, bucket, key):
    """UploadPartCopy is refused by name; CopyObject goes."""
    put_parts(s3, bucket, "parts", **sealed(key))
    upload = {"Bucket": bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    source = {"CopySource": f"{bucket}/parts", "CopySourceRange": f"bytes=0-{PART - 1}"}
    assert refused(s3.upload_part_copy, PartNumber=1, **upload, **source) == ("NotImplemented", 501)


def test_differs_copies_do_not_get_the_buckets_default(s3, bucket, key):
    """They are as they ask to be."""
    s3.put_object(Bucket=bucket, Key="open", Body=SMALL)
    set_default(s3, bucket, KMSMasterKeyID=key)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/open")
    assert under(s3, bucket, "copy") == (None, None)


def kill_store(server):
    """SIGKILL to the store of this server; it brings up another. Answers whether there was one."""
    data = f"-dir={server.home / 's3' / 'data'}".encode()

    def stores():
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and data in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    before = stores()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait(stores, until=lambda now: now and not set(now) & set(before), why=server.log_text)
    return bool(before)
