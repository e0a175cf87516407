"""What `port.ObjectStorage` promises, run on the directory and on the real embedded store."""

import contextlib
import os
import random
import socket
import socketserver
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from clary.storage.crc32 import PIECE_BYTES
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.port import (
    AccessDenied,
    Changed,
    Credentials,
    NoSuchBucket,
    NoSuchKey,
    ObjectStorage,
    S3Address,
    StorageError,
    UnfaithfulKey,
    Unreachable,
)
from clary.storage.reading import ReadObject, read_objects
from clary.storage.s3 import S3Storage
from clary.storage.s3_upload import PART_BYTES, part_bytes
from clary.storage.seal import Running
from weed import put_in_parts, put_without_checksum

pytest_plugins = ["weed"]

ODD_KEYS = [
    "a b",
    "a+b",
    "a%b",
    "a%20b",
    "a%2Fb",
    "a#b",
    "a?b&c=d",
    "a&amp;b<c>'\"",
    "a:b@c!$'(),;=",
    "a[b]{c}|^`~*",
    "tab\tand\nnewline\x7f",
    "ünï/日本/😀",
    "e\u0301 is not \u00e9",
    ".hidden",
    "...",
    "a/.b/..c/d.",
    "UPPER/upper",
    "x" * 255,
    "/".join(["y" * 100] * 9),
]
BENT_KEYS = ["a//b", "/a", "//", "a/./b", "a/../b", "../a", "..", ".", "a\\b"]


@dataclass
class Adapter:
    """One implementation, with a bucket and the side doors that a test needs."""

    storage: ObjectStorage
    bucket: str
    uploads: Any
    denied: ObjectStorage
    gone: ObjectStorage


@pytest.fixture
def directory(tmp_path):
    storage = DirectoryStorage(tmp_path / "s3")
    storage.create_bucket("bucket")

    def refusing(error):
        verbs = ["list_objects", "has_objects", "bucket_exists", "head", "get", "put", "open_writer", "delete"]
        return FaultyStorage(storage, [Fault(verb=verb, error=error, times=10**9) for verb in verbs])

    return Adapter(
        storage=storage,
        bucket="bucket",
        uploads=lambda: storage.uploads("bucket"),
        denied=refusing(AccessDenied("AccessDenied (403): Access Denied", code="AccessDenied", status=403)),
        gone=refusing(Unreachable("no route")),
    )


def s3_storage(store, *, secret=None, endpoint_url=None, **options):
    credentials = Credentials(access_key_id=store.access_key_id, secret_access_key=secret or store.secret_access_key)
    address = S3Address(endpoint_url=endpoint_url or store.endpoint_url, region="us-east-1")
    return S3Storage(address, lambda: credentials, **options)


@pytest.fixture
def s3(weed_store, weed_bucket):
    client = weed_store.client()
    return Adapter(
        storage=s3_storage(weed_store),
        bucket=weed_bucket,
        uploads=lambda: len(client.list_multipart_uploads(Bucket=weed_bucket).get("Uploads", [])),
        denied=s3_storage(weed_store, secret="wrong"),
        gone=s3_storage(weed_store, endpoint_url="http://127.0.0.1:1", retry_total_s=0.5),
    )


@pytest.fixture(params=["directory", "s3"])
def adapter(request) -> Adapter:
    return request.getfixturevalue(request.param)


def keys(adapter, prefix=""):
    return [info.key for info in adapter.storage.list_objects(adapter.bucket, prefix)]


def put(adapter, *names):
    for name in names:
        adapter.storage.put(adapter.bucket, name, name.encode())


class TestListing:
    def test_the_prefix_is_a_raw_string(self, adapter):
        """A prefix matches inside names and across slashes, and an empty one matches all."""
        names = ["data/train", "data/train-2/y", "data/train.csv", "data/train/x", "data/val/x", "other"]
        put(adapter, *[name for name in names if name != "data/train"])
        assert keys(adapter, "data/train") == names[1:4]
        assert keys(adapter, "data/train/") == ["data/train/x"]
        assert keys(adapter, "data/t") == names[1:4]
        assert keys(adapter, "data/train-2/y") == ["data/train-2/y"]
        assert keys(adapter, "") == names[1:]
        assert keys(adapter, "data/train/x/") == []
        assert keys(adapter, "data//train") == []
        assert keys(adapter, "/data") == []

    def test_keys_come_in_the_order_of_their_bytes(self, adapter):
        """Directories and files mix by the UTF-8 bytes of their whole keys, whatever tree the store keeps."""
        names = ["a!", "a/b", "a/b!", "a0", "B", "ä", "z", "a/b-c/d", "\U0001f600", "\uffee", "a/a/a"]
        put(adapter, *names)
        assert keys(adapter) == sorted(names, key=str.encode)

    def test_more_than_a_page(self, adapter):
        """Thousands of keys all come, each once."""
        names = [f"many/{n % 7}/{n:05d}" for n in range(2345)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: adapter.storage.put(adapter.bucket, name, b""), names))
        assert keys(adapter, "many/") == sorted(names)
        assert len(keys(adapter, "many/3/")) == len([name for name in names if name.startswith("many/3/")])

    def test_size_and_etag_are_those_of_the_object(self, adapter):
        """A listing, a head and the bytes agree; an empty object has size 0."""
        adapter.storage.put(adapter.bucket, "empty", b"")
        adapter.storage.put(adapter.bucket, "three", b"abc")
        listed = list(adapter.storage.list_objects(adapter.bucket, ""))
        assert [(info.key, info.size_bytes) for info in listed] == [("empty", 0), ("three", 3)]
        assert listed == [adapter.storage.head(adapter.bucket, key) for key in ("empty", "three")]
        assert listed[1].etag == '"900150983cd24fb0d6963f7d28e17f72"'
        assert bytes(adapter.storage.get(adapter.bucket, "empty", etag=listed[0].etag)) == b""

    def test_a_folder_marker_keeps_its_slash(self, adapter):
        """The empty object "folder/" is listed under that name and can be told from "folder"."""
        put(adapter, "folder/x")
        adapter.storage.put(adapter.bucket, "folder/", b"")
        adapter.storage.put(adapter.bucket, "other/", b"")
        assert keys(adapter) == ["folder/", "folder/x", "other/"]
        assert bytes(adapter.storage.get(adapter.bucket, "other/")) == b""

    def test_whether_there_are_any(self, adapter):
        """`has_objects` agrees with the listing."""
        put(adapter, "data/train-1/x")
        assert adapter.storage.has_objects(adapter.bucket, "data/tr")
        assert adapter.storage.has_objects(adapter.bucket, "")
        assert not adapter.storage.has_objects(adapter.bucket, "data/val")
        assert not adapter.storage.has_objects(adapter.bucket, "data//")


class TestObjects:
    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_kept_as_they_are(self, adapter, key):
        """Any key that the store can keep comes back under exactly that name, by list, head, get and delete."""
        adapter.storage.put(adapter.bucket, key, b"small")
        with adapter.storage.open_writer(adapter.bucket, key) as writer:
            writer.write(key.encode())
        assert keys(adapter) == [key]
        assert keys(adapter, key[:-1]) == [key]
        info = adapter.storage.head(adapter.bucket, key)
        assert bytes(adapter.storage.get(adapter.bucket, key, etag=info.etag)) == key.encode()
        assert bytes(adapter.storage.get(adapter.bucket, key, start=1, length=1)) == key.encode()[1:2]
        adapter.storage.delete(adapter.bucket, key)
        assert keys(adapter) == []

    @pytest.mark.parametrize("key", BENT_KEYS)
    def test_keys_that_a_store_bends_are_kept_or_refused(self, adapter, key):
        """Such a key is kept exactly, or refused before anything is written: never written elsewhere."""
        try:
            adapter.storage.put(adapter.bucket, key, b"x")
        except UnfaithfulKey:
            with pytest.raises(UnfaithfulKey):
                adapter.storage.open_writer(adapter.bucket, key)
            with pytest.raises(UnfaithfulKey):
                adapter.storage.get(adapter.bucket, key)
            with pytest.raises(UnfaithfulKey):
                adapter.storage.delete(adapter.bucket, key)
            assert keys(adapter) == []
        else:
            assert keys(adapter) == [key]
            assert bytes(adapter.storage.get(adapter.bucket, key)) == b"x"

    def test_ranges(self, adapter):
        """A range gives its bytes, and fewer at the end of the object; one beyond it is an error."""
        adapter.storage.put(adapter.bucket, "k", bytes(range(100)))

        def get(**options):
            return bytes(adapter.storage.get(adapter.bucket, "k", **options))

        assert get() == bytes(range(100))
        assert get(start=10, length=5) == bytes(range(10, 15))
        assert get(start=0, length=1) == b"\0"
        assert get(start=90, length=50) == bytes(range(90, 100))
        assert get(start=99) == b"c"
        with pytest.raises(StorageError, match="416"):
            get(start=100, length=1)

    def test_an_etag_pins_the_object(self, adapter):
        """A read that names an ETag fails once the object was replaced, also for a range."""
        adapter.storage.put(adapter.bucket, "k", b"old")
        etag = adapter.storage.head(adapter.bucket, "k").etag
        assert bytes(adapter.storage.get(adapter.bucket, "k", etag=etag)) == b"old"
        adapter.storage.put(adapter.bucket, "k", b"new")
        for options in ({}, {"start": 1, "length": 1}):
            with pytest.raises(Changed):
                adapter.storage.get(adapter.bucket, "k", etag=etag, **options)

    def test_many_threads(self, adapter):
        """One storage serves many threads at once."""

        def round_trip(n):
            adapter.storage.put(adapter.bucket, f"k{n}", b"%d" % n * 1000)
            return bytes(adapter.storage.get(adapter.bucket, f"k{n}")) == b"%d" % n * 1000

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(round_trip, range(200)))

    def test_deleting_what_is_not_there_is_no_error(self, adapter):
        """Delete is idempotent."""
        adapter.storage.delete(adapter.bucket, "nothing")


class TestWriting:
    @pytest.mark.parametrize(
        "size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 5 * PART_BYTES + 17]
    )
    def test_a_stream_of_any_size(self, adapter, size):
        """What was written in uneven pieces is what is read back; nothing unfinished remains."""
        data = random.Random(size).randbytes(size)
        with adapter.storage.open_writer(adapter.bucket, "k") as writer:
            for start in range(0, size, 1_000_003):
                piece = memoryview(data)[start : start + 1_000_003]
                assert writer.write(piece) == len(piece)
        info = adapter.storage.head(adapter.bucket, "k")
        assert info.size_bytes == size
        whole = ReadObject(bucket=adapter.bucket, key="k", size_bytes=info.size_bytes, etag=info.etag)
        blocks = list(read_objects(lambda _entry: adapter.storage, [whole]))
        assert b"".join(bytes(block.data) for block in blocks) == data
        assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]
        assert adapter.uploads() == 0

    @pytest.mark.parametrize("size", [0, 1, 10_000, 2 * PART_BYTES + 1])
    def test_what_was_written_fits_its_seal(self, adapter, size):
        """Of every object that we write ourselves something is told, for sure, and nothing else fits it."""
        data = random.Random(size).randbytes(size)
        with adapter.storage.open_writer(adapter.bucket, "k") as writer:
            writer.write(data)
        etag = adapter.storage.head(adapter.bucket, "k").etag
        seal = adapter.storage.seal(adapter.bucket, "k", etag)
        assert seal == adapter.storage.seal(adapter.bucket, "k", etag, sure=True)
        for written, fits in ((data, True), (data[:-1] + b"?", False)):
            running = Running(seal, len(written))
            running.update(written)
            assert running.fits() is fits

    @pytest.mark.parametrize("whole", [False, True])
    def test_what_comes_into_a_file_is_summed_up(self, adapter, tmp_path, whole):
        """By pieces; a whole object is the same without a range."""
        data = random.Random(1).randbytes(PIECE_BYTES + 10)
        adapter.storage.put(adapter.bucket, "k", data)
        fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
        try:
            came = adapter.storage.get_into(adapter.bucket, "k", fd, start=0, length=len(data), whole=whole)
            with pytest.raises(StorageError):
                adapter.storage.get_into(adapter.bucket, "k", fd, start=0, length=len(data) + 1, whole=whole)
        finally:
            os.close(fd)
        assert list(came) == [zlib.crc32(data[:PIECE_BYTES]), zlib.crc32(data[PIECE_BYTES:])]
        assert (tmp_path / "f").read_bytes() == data

    @pytest.mark.parametrize("size", [10, 3 * PART_BYTES])
    def test_an_exception_abandons_the_object(self, adapter, size):
        """An exception in the block leaves the old object, no new one, and no unfinished upload."""
        put(adapter, "old")
        for key in ("old", "new"):
            with pytest.raises(KeyboardInterrupt), adapter.storage.open_writer(adapter.bucket, key) as writer:
                writer.write(bytes(size))
                raise KeyboardInterrupt
        assert keys(adapter) == ["old"]
        assert bytes(adapter.storage.get(adapter.bucket, "old")) == b"old"
        assert adapter.uploads() == 0

    def test_leftovers_of_a_killed_writer_can_be_abandoned(self, adapter):
        """`abort_uploads` ends unfinished uploads of exactly those keys, and counts them."""
        with contextlib.ExitStack() as stack:
            for key in ("a", "a", "ab"):
                writer = adapter.storage.open_writer(adapter.bucket, key)
                left = writer.__enter__()
                left.write(bytes(PART_BYTES + 1))
                stack.callback(lambda writer=writer: writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None))
            assert adapter.uploads() == 3
            assert adapter.storage.abort_uploads(adapter.bucket, {"a"}) == 2
            assert adapter.uploads() == 1
            assert adapter.storage.abort_uploads(adapter.bucket, {"a"}) == 0
            assert adapter.storage.abort_uploads(adapter.bucket, {"a", "ab", "b"}) == 1

    def test_replacing_is_atomic_for_readers(self, adapter):
        """A reader during a replacement sees the old bytes or the new, whole."""
        adapter.storage.put(adapter.bucket, "k", b"0" * 100_000)
        stop = threading.Event()
        seen = []

        def read():
            while not stop.is_set():
                seen.append(bytes(adapter.storage.get(adapter.bucket, "k")))

        reader = threading.Thread(target=read)
        reader.start()
        for n in range(1, 10):
            adapter.storage.put(adapter.bucket, "k", b"%d" % n * 100_000)
        stop.set()
        reader.join()
        assert {(len(data), len(set(data))) for data in seen} == {(100_000, 1)}


class TestTrouble:
    def test_missing_bucket(self, adapter):
        """Every verb names a missing bucket, and none creates it."""
        storage = adapter.storage
        assert storage.bucket_exists(adapter.bucket)
        assert not storage.bucket_exists("no-such-bucket")
        for call in (
            lambda: list(storage.list_objects("no-such-bucket", "")),
            lambda: storage.has_objects("no-such-bucket", ""),
            lambda: storage.head("no-such-bucket", "k"),
            lambda: storage.get("no-such-bucket", "k"),
            lambda: storage.put("no-such-bucket", "k", b""),
            lambda: storage.open_writer("no-such-bucket", "k"),
            lambda: storage.delete("no-such-bucket", "k"),
        ):
            with pytest.raises(NoSuchBucket):
                call()
        assert not storage.bucket_exists("no-such-bucket")

    def test_missing_key(self, adapter):
        """Head and get name a missing key; a key that is only a folder of others is missing too."""
        put(adapter, "folder/x")
        with pytest.raises(NoSuchKey):
            adapter.storage.head(adapter.bucket, "folder/")
        for key in ("nothing", "folder", "folder/x/y"):
            with pytest.raises(NoSuchKey):
                adapter.storage.head(adapter.bucket, key)
            with pytest.raises((NoSuchKey, Changed)):  # a folder may have an ETag, which is another
                adapter.storage.seal(adapter.bucket, key, '"etag"')
            with pytest.raises(NoSuchKey):
                adapter.storage.get(adapter.bucket, key)

    def test_access_denied(self, adapter):
        """Bad credentials are told apart from everything else, at once."""
        put(adapter, "k")
        for call in (
            lambda: list(adapter.denied.list_objects(adapter.bucket, "")),
            lambda: adapter.denied.head(adapter.bucket, "k"),
            lambda: adapter.denied.get(adapter.bucket, "k"),
            lambda: adapter.denied.put(adapter.bucket, "k", b""),
            lambda: adapter.denied.bucket_exists(adapter.bucket),
        ):
            with pytest.raises(AccessDenied) as caught:
                call()
            assert caught.value.status == 403
            assert "403" in str(caught.value)

    def test_unreachable(self, adapter):
        """A store that is not there fails within its bound."""
        started = time.monotonic()
        for call in (
            lambda: list(adapter.gone.list_objects(adapter.bucket, "")),
            lambda: adapter.gone.get(adapter.bucket, "k"),
            lambda: adapter.gone.put(adapter.bucket, "k", b""),
        ):
            with pytest.raises(Unreachable):
                call()
        assert time.monotonic() - started < 10


class TestS3Alone:
    def test_a_store_that_comes_back_is_waited_for(self, weed_store, weed_bucket):
        """A connection refused for a second is no failure of the request."""
        storage = s3_storage(weed_store)
        storage.put(weed_bucket, "k", b"here")
        with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
            port = server.server_address[1]
        late = s3_storage(weed_store, endpoint_url=f"http://127.0.0.1:{port}", retry_total_s=30)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: bytes(late.get(weed_bucket, "k")))
            time.sleep(1)  # the outage
            with Forwarder(port, weed_store.endpoint_url):
                assert reading.result(20) == b"here"

    def test_renewed_credentials_are_used(self, weed_store, weed_bucket):
        """Credentials that stop working are asked for again, and the request is made with the new ones."""
        good = Credentials(access_key_id=weed_store.access_key_id, secret_access_key=weed_store.secret_access_key)
        current = SimpleNamespace(credentials=good)
        address = S3Address(endpoint_url=weed_store.endpoint_url, region="us-east-1")
        answers = iter([Credentials(access_key_id="old", secret_access_key="old")])
        storage = S3Storage(address, lambda: next(answers, current.credentials))
        assert storage.bucket_exists(weed_bucket)

    def test_etags_of_parts_are_a_seal_if_that_is_wished(self, weed_store, weed_bucket):
        """Of the object as it was listed; a store that does not know of parts does not tell."""
        put_without_checksum(weed_store, weed_bucket, "k", bytes(PART_BYTES + 1), part_bytes=PART_BYTES)
        asking = s3_storage(weed_store, tell_parts=True)
        etag = asking.head(weed_bucket, "k").etag
        seal = asking.seal(weed_bucket, "k", etag)
        assert (seal.kind, seal.parts, seal.part_bytes) == ("md5", 2, PART_BYTES)
        assert s3_storage(weed_store).seal(weed_bucket, "k", etag) is None
        with pytest.raises(Changed):
            asking.seal(weed_bucket, "k", '"another"')
        with pytest.raises(NoSuchKey):
            asking.seal(weed_bucket, "nothing", etag)
        with scripted([(400, b"")]) as (endpoint_url, _):
            assert anonymous(endpoint_url, tell_parts=True).seal("b", "k", etag) is None

    def test_parts_that_differ_in_size_are_no_reason_to_doubt(self, weed_store, weed_bucket):
        """Their number may be that of parts that are alike: it shows when all are asked for."""
        sizes = (6 * 2**20, 5 * 2**20, 3 * 2**20)  # three, as parts of 6 MiB would be
        put_in_parts(weed_store, weed_bucket, "k", sizes)
        storage = s3_storage(weed_store)
        etag = storage.head(weed_bucket, "k").etag
        assert storage.seal(weed_bucket, "k", etag).part_bytes == sizes[0]
        assert storage.seal(weed_bucket, "k", etag, sure=True) is None
        assert len(storage.get(weed_bucket, "k")) == sum(sizes)

    @pytest.mark.parametrize(
        ("status", "code", "kind", "attempts"),
        [
            (503, "SlowDown", Unreachable, 3),
            (429, "TooManyRequests", Unreachable, 3),
            (500, "InternalError", StorageError, 3),
            (403, "AccessDenied", AccessDenied, 1),
            (400, "ExpiredToken", AccessDenied, 1),
            (400, "InvalidArgument", StorageError, 1),
        ],
    )
    def test_what_is_repeated_and_what_it_means(self, status, code, kind, attempts):
        """Answers that may pass are asked for again until the bound, others are final at once; each has its error."""
        body = f"<Error><Code>{code}</Code><Message>text &lt;here&gt;</Message></Error>".encode()
        with scripted([(status, body)]) as (endpoint_url, requests):
            storage = anonymous(endpoint_url, retry_total_s=2)
            with pytest.raises(StorageError) as caught:
                list(storage.list_objects("b", "p"))
        assert type(caught.value) is kind
        assert (caught.value.code, caught.value.status) == (code, status)
        assert str(caught.value).startswith(f"{code} ({status}): text <here>")
        assert len(requests) >= attempts if attempts > 1 else len(requests) == 1

    def test_a_trouble_that_passes_is_not_seen(self):
        """A few server errors and a closed connection in a row only cost time."""
        page = b"<ListBucketResult><Contents><Key>p%2Fk</Key><Size>3</Size><ETag>&quot;e&quot;</ETag></Contents>"
        with scripted([(500, b""), (0, b""), (503, b""), (200, page)]) as (endpoint_url, requests):
            (info,) = anonymous(endpoint_url).list_objects("b", "p")
        assert (info.key, info.size_bytes, info.etag) == ("p/k", 3, '"e"')
        assert len(requests) == 4

    def test_a_completion_that_fails_after_its_200_is_a_failure(self):
        """A store may answer 200 to a completion and a refusal in its body: the object is not there, so neither is success."""
        upload = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        error = b"<Error><Code>InvalidPart</Code><Message>late</Message></Error>"
        script = [(200, b""), (200, upload), (200, b""), (200, error), (204, b"")]
        with (
            scripted(script) as (endpoint_url, requests),
            pytest.raises(StorageError, match=r"InvalidPart \(400\): late"),
            anonymous(endpoint_url).open_writer("b", "k") as writer,
        ):
            writer.write(bytes(PART_BYTES))
        assert [line.split("?")[0] for line, _ in requests] == [
            "HEAD /b",
            "POST /b/k",
            "PUT /b/k",
            "POST /b/k",
            "DELETE /b/k",
        ]

    def test_the_key_for_encryption_is_sent(self):
        """A KMS key id becomes the headers of SSE-KMS, on a single put and on the start of a multipart upload."""
        upload = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        with scripted([(200, b""), (200, b""), (200, upload), (200, b"")]) as (endpoint_url, requests):
            storage = anonymous(endpoint_url)
            storage.put("b", "small", b"x", kms_key_id="alias/mine")
            with storage.open_writer("b", "large", kms_key_id="alias/mine") as writer:
                writer.write(bytes(PART_BYTES))
        sent = [headers.get("x-amz-server-side-encryption-aws-kms-key-id") for _, headers in requests]
        assert sent == [None, "alias/mine", "alias/mine", None, None]
        assert requests[1][1]["x-amz-server-side-encryption"] == "aws:kms"
        assert "x-amz-server-side-encryption-aws-kms-key-id" in requests[1][1]["authorization"]

    def test_ten_thousand_parts_reach_two_tebibytes(self):
        """Part sizes stay at 8 MiB for the first ten GB and grow far enough for any artifact."""
        assert part_bytes(1) == part_bytes(1250) == PART_BYTES
        assert part_bytes(1251) == 2 * PART_BYTES
        assert sum(part_bytes(n) for n in range(1, 10_001)) > 2 * 2**40

    def test_secrets_do_not_show(self):
        """Credentials in a traceback or a log show their key id alone."""
        shown = repr(Credentials(access_key_id="AKIA", secret_access_key="hidden", session_token="hidden"))
        assert "hidden" not in shown
        assert "AKIA" in shown


def anonymous(endpoint_url, **options):
    credentials = Credentials(access_key_id="AK", secret_access_key="SK")
    return S3Storage(S3Address(endpoint_url=endpoint_url, region="us-east-1"), lambda: credentials, **options)


@contextlib.contextmanager
def scripted(answers):
    """A server that gives these (status, body) in order, then the last one for ever; status 0 closes the connection."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            requests.append((f"{self.command} {self.path}", self.headers))
            status, body = answers[min(len(requests), len(answers)) - 1]
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("etag", '"e"')
            self.send_header("content-length", str(0 if status == 204 else len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

        def log_message(self, *_args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


class Forwarder:
    """Forwards one port to an endpoint for as long as the block runs."""

    def __init__(self, port, endpoint_url):
        host, _, target = endpoint_url.removeprefix("http://").partition(":")
        self._target = (host, int(target))
        self._server = socket.create_server(("127.0.0.1", port))
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets = []

    def _accept(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for end in [self._server, *self._sockets]:
            end.close()
