"""A real store that misbehaves while objects go out: whole objects, or the right failure, and nothing unfinished."""

import io
import os
import random
import signal
import tarfile

import pytest

from clary.instance.storage_trouble import upload_failure
from clary.storage.mirror import Mirror
from clary.storage.port import Credentials, S3Address, StorageError, Unreachable
from clary.storage.s3 import S3Storage
from clary.storage.s3_upload import PART_BYTES
from clary.storage.upload import upload_archive, upload_tree
from clary.storage.uri import S3Location
from faulty_s3 import LOSSES, REFUSALS, UPLOADS, misbehaving
from weed import running_store

pytest_plugins = ["weed"]

SIZES = {"empty": 0, "small": 100_000, "sub/parts": 2 * PART_BYTES + 5}
FOR_EVER = 1000


def archive(storage, bucket, root):
    upload_archive(storage, bucket, "out/model.tar.gz", [root])


def tree(storage, bucket, root):
    upload_tree(storage, bucket, "out", [root])


def mirror(storage, bucket, root):
    place = S3Location(bucket=bucket, key="out/")
    Mirror(storage, place, root, root.parent / f"{bucket}.json", seen_as="/opt/ml/checkpoints").turn(settled=True)


UPLOADERS = [archive, tree, mirror]


each_uploader = pytest.mark.parametrize("uploader", UPLOADERS)
# An archive is one large object.
each_request = pytest.mark.parametrize(
    ("uploader", "operation"),
    [(each, operation) for each in UPLOADERS for operation in UPLOADS if (each, operation) != (archive, "PutObject")],
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A directory of files of all sizes, and their bytes."""
    root = tmp_path_factory.mktemp("source") / "model"
    rng = random.Random(6)
    found = {name: rng.randbytes(size) for name, size in SIZES.items()}
    for name, data in found.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root, found


def storage_at(endpoint_url, store, **options):
    credentials = Credentials(access_key_id=store.access_key_id, secret_access_key=store.secret_access_key)
    return S3Storage(S3Address(endpoint_url=endpoint_url, region="us-east-1"), lambda: credentials, **options)


def files(store, bucket):
    """What was uploaded, by path below the source; members of the archive if there is one."""
    client = store.client()
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    found = {key.removeprefix("out/"): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    if list(found) != ["model.tar.gz"]:
        return found
    with tarfile.open(fileobj=io.BytesIO(found["model.tar.gz"])) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def unfinished(store, bucket):
    return store.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])


@each_uploader
@pytest.mark.parametrize("fault", [*REFUSALS, *LOSSES])
def test_every_trouble_that_passes_is_got_over(weed_store, weed_bucket, source, uploader, fault):
    """Whatever happens to the first two requests of each kind, all objects are whole in the end."""
    root, expected = source
    faults = {operation: [fault] * 2 for operation in UPLOADS if (uploader, operation) != (archive, "PutObject")}
    with misbehaving(weed_store.endpoint_url, faults) as s3:
        uploader(storage_at(s3.endpoint_url, weed_store), weed_bucket, root)
        left = {operation: len(script) for operation, script in s3.faults.items()}
    assert set(left.values()) <= ({0, 1} if fault == "slow" else {0}), "each fault was met"
    assert files(weed_store, weed_bucket) == expected
    assert unfinished(weed_store, weed_bucket) == []


@each_uploader
def test_a_completion_that_fails_after_its_200_is_repeated(weed_store, weed_bucket, source, uploader):
    """S3 may answer 200 to a completion, and an error in its body: it is asked again, and nothing is sent anew."""
    root, expected = source
    faults = {"CompleteMultipartUpload": ["200-error"] * 2, "CreateMultipartUpload": [None] * 2}
    with misbehaving(weed_store.endpoint_url, faults) as s3:
        uploader(storage_at(s3.endpoint_url, weed_store), weed_bucket, root)
        assert s3.faults == {"CompleteMultipartUpload": [], "CreateMultipartUpload": [None]}
    assert files(weed_store, weed_bucket) == expected
    assert unfinished(weed_store, weed_bucket) == []


def test_a_small_archive_is_got_over_too(weed_store, weed_bucket, tmp_path):
    """One that goes out by one request."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w" * 1000)
    with misbehaving(weed_store.endpoint_url, {"PutObject": [*REFUSALS, *LOSSES]}) as s3:
        archive(storage_at(s3.endpoint_url, weed_store), weed_bucket, tmp_path / "model")
        assert s3.faults == {"PutObject": []}
    assert files(weed_store, weed_bucket) == {"weights": b"w" * 1000}


each_body = pytest.mark.parametrize(
    ("uploader", "operation"),
    [(archive, "UploadPart"), (tree, "PutObject"), (tree, "UploadPart"), (mirror, "PutObject"), (mirror, "UploadPart")],
)


@each_body
def test_bytes_that_are_damaged_on_their_way_are_sent_again(weed_store, weed_bucket, source, uploader, operation):
    """The store holds every body against its checksum."""
    root, expected = source
    with misbehaving(weed_store.endpoint_url, {operation: ["damaged", "damaged"]}) as s3:
        uploader(storage_at(s3.endpoint_url, weed_store), weed_bucket, root)
        assert s3.faults == {operation: []}
    assert files(weed_store, weed_bucket) == expected
    assert unfinished(weed_store, weed_bucket) == []


@each_body
def test_bytes_that_are_damaged_each_time_end_the_upload(weed_store, weed_bucket, source, uploader, operation):
    """After three attempts, with S3's word for it."""
    root, expected = source
    with misbehaving(weed_store.endpoint_url, {operation: ["damaged"] * FOR_EVER}) as s3:
        with pytest.raises(StorageError) as caught:
            uploader(storage_at(s3.endpoint_url, weed_store), weed_bucket, root)
        assert s3.seen
    assert caught.value.code == "BadDigest"
    assert upload_failure(caught.value).reason.startswith("ClientError: Artifact upload failed:BadDigest (400)")
    found = files(weed_store, weed_bucket)
    assert found == {name: expected[name] for name in found}
    assert unfinished(weed_store, weed_bucket) == []


@each_uploader
@pytest.mark.parametrize("seed", range(3))
def test_troubles_of_all_kinds_at_once_are_got_over(weed_store, weed_bucket, source, uploader, seed):
    """In any order."""
    root, expected = source
    rng = random.Random(seed)
    faults = {operation: rng.choices([*REFUSALS, *LOSSES], k=4) for operation in UPLOADS}
    with misbehaving(weed_store.endpoint_url, faults) as s3:
        uploader(storage_at(s3.endpoint_url, weed_store), weed_bucket, root)
    assert files(weed_store, weed_bucket) == expected
    assert unfinished(weed_store, weed_bucket) == []


@each_request
@pytest.mark.parametrize("fault", ["500", "503", "hang-up", "late-500"])
def test_a_trouble_that_stays_ends_the_upload(weed_store, weed_bucket, source, uploader, operation, fault):
    """With S3's words for a store that insists, and to be tried again for one that is away. What is there is whole."""
    root, expected = source
    with misbehaving(weed_store.endpoint_url, {operation: [fault] * FOR_EVER}) as s3:
        storage = storage_at(s3.endpoint_url, weed_store, retry_total_s=0.3)
        with pytest.raises(StorageError) as caught:
            uploader(storage, weed_bucket, root)
        assert s3.seen
    failure = upload_failure(caught.value)
    if fault in {"503", "hang-up"}:
        assert isinstance(caught.value, Unreachable)
        assert failure is None
    else:
        assert failure.reason.startswith("ClientError: Artifact upload failed:InternalError (500)"), failure
    found = files(weed_store, weed_bucket)
    assert found == {name: expected[name] for name in found}
    assert fault == "late-500" or not (found.keys() & spoiled(uploader, operation))
    assert unfinished(weed_store, weed_bucket) == []


def spoiled(uploader, operation):
    """The files that cannot have come to the store while it refuses the operation."""
    if uploader is archive:
        return set(SIZES)
    return {"empty", "small"} if operation == "PutObject" else {"sub/parts"}


def test_an_upload_that_somebody_ends_is_no_success(weed_store, weed_bucket, tmp_path):
    """Although an older object of as many parts is there: the failure is told, and that object stays what it was."""
    client = weed_store.client()
    (tmp_path / "out").mkdir()
    weights = tmp_path / "out" / "weights"
    weights.write_bytes(bytes(PART_BYTES + 1))
    tree(storage_at(weed_store.endpoint_url, weed_store), weed_bucket, tmp_path / "out")
    weights.write_bytes(b"1" * (PART_BYTES + 1))

    def end():
        (upload,) = unfinished(weed_store, weed_bucket)
        client.abort_multipart_upload(Bucket=weed_bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    with (
        misbehaving(weed_store.endpoint_url, {"CompleteMultipartUpload": [end]}) as s3,
        pytest.raises(StorageError, match=r"NoSuchUpload \(404\)"),
    ):
        tree(storage_at(s3.endpoint_url, weed_store), weed_bucket, tmp_path / "out")
    assert files(weed_store, weed_bucket) == {"weights": bytes(PART_BYTES + 1)}


@each_uploader
@pytest.mark.parametrize("moment", [("UploadPart", 2), ("CompleteMultipartUpload", 1)], ids=lambda moment: moment[0])
def test_a_store_that_is_killed_half_way_is_waited_for(tmp_path, source, uploader, moment):
    """kill -9 of the store between two parts, or before the last word: it comes back, and the upload goes on."""
    root, expected = source
    operation, number = moment
    with running_store(tmp_path / "home") as store:
        bucket = store.bucket()
        killed = []

        def kill():
            killed.append(store.embedded.pid)
            os.kill(killed[0], signal.SIGKILL)

        with misbehaving(store.endpoint_url, {operation: [None] * (number - 1) + [kill]}) as s3:
            uploader(storage_at(s3.endpoint_url, store), bucket, root)
        assert killed
        assert store.embedded.pid not in killed
        assert files(store, bucket) == expected
        assert unfinished(store, bucket) == []
