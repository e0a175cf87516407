"""A real embedded store for tests. PYTEST_DONT_REWRITE

In a test module:

    pytest_plugins = ["weed"]                      # once, at the top: gives the fixtures below

    def test_x(weed_store, weed_bucket): ...

`weed_store` (session) is one store per test process, started when it is first asked for; `weed_bucket` is the name of a
fresh bucket on it. `running_store(home)` starts one that a test may kill. `Store` and `on_loop` may be imported by name.
"""

import asyncio
import contextlib
import io
import shutil
import tempfile
import threading
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from clary.base.clock import SystemClock
from clary.storage.seaweedfs import EmbeddedS3

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, for asynchronous things under synchronous clients."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 90) -> T:
        """Run a coroutine there and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextlib.contextmanager
def on_loop() -> Iterator[Loop]:
    """A `Loop` that ends with the block."""
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()


@dataclass
class Store:
    """A running store, and what a client needs to use it directly."""

    embedded: EmbeddedS3
    loop: Loop

    @property
    def endpoint_url(self) -> str:
        return self.embedded.endpoint_url

    @property
    def access_key_id(self) -> str:
        return self.embedded.credentials.access_key_id

    @property
    def secret_access_key(self) -> str:
        return self.embedded.credentials.secret_access_key

    def client(self, **config):
        """A boto3 S3 client on the store itself, without the gate, with all rights."""
        return s3_client(self.endpoint_url, self.access_key_id, self.secret_access_key, **config)

    def bucket(self) -> str:
        """The name of a fresh, empty bucket."""
        name = f"b-{uuid.uuid4().hex[:20]}"
        self.client().create_bucket(Bucket=name)
        return name


def s3_client(endpoint_url, access_key_id, secret_access_key, session_token=None, **config):
    """A boto3 S3 client that takes nothing from the machine's own AWS configuration."""
    session = boto3.Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret_access_key,
                            aws_session_token=session_token, region_name="us-east-1")  # fmt: skip
    retries = {"total_max_attempts": 1, "mode": "standard"}
    return session.client("s3", endpoint_url=endpoint_url, config=Config(**({"retries": retries} | config)))


def put_without_checksum(store, bucket, key, data, *, part_bytes):
    """An object uploaded in parts by a client that sends no checksums."""
    config = TransferConfig(multipart_threshold=1, multipart_chunksize=part_bytes)
    client = store.client(request_checksum_calculation="when_required")
    client.upload_fileobj(io.BytesIO(data), bucket, key, Config=config)


def put_in_parts(store, bucket, key, sizes):
    """An object of zeros in parts of these sizes, with a CRC-32 of each."""
    client, place = store.client(), {"Bucket": bucket, "Key": key}
    place["UploadId"] = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for number, size in enumerate(sizes, start=1):
        told = client.upload_part(**place, PartNumber=number, Body=bytes(size), ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": told["ETag"], "ChecksumCRC32": told["ChecksumCRC32"]})
    client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})


@contextlib.contextmanager
def running_store(home: Path, **options) -> Iterator[Store]:
    """A store of its own under `home`, for tests that kill it or look at its files."""
    with on_loop() as loop:
        embedded = EmbeddedS3(home, clock=SystemClock(), **options)
        loop.run(embedded.start())
        try:
            yield Store(embedded, loop)
        finally:
            loop.run(embedded.stop())


@pytest.fixture(scope="session")
def weed_store() -> Iterator[Store]:
    """One store for all tests of this process."""
    home = Path(tempfile.mkdtemp(prefix="clary-weed-"))
    try:
        with running_store(home) as store:
            yield store
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def weed_bucket(weed_store: Store) -> str:
    """The name of a fresh bucket."""
    return weed_store.bucket()
