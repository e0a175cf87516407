"""A stream into one S3 object: one PUT if it is small, else a multipart upload that is completed or abandoned.

Each body goes with its CRC-32, which the store holds it against: what was damaged on its way is sent again.

An upload whose beginning was asked for twice may have begun twice: what is under its key then is abandoned too.

Called by `s3`. Memory is bounded by (PARTS_IN_FLIGHT + 1) parts; a part has 8 MiB for the first 1,250 parts and doubles
every 1,250, so that 10,000 parts (S3's limit) make 2.4 TiB while a stream of some GB stays below 50 MiB of memory.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self
from xml.sax.saxutils import escape

from clary.base.telemetry import get_logger
from clary.storage.crc32 import checksum
from clary.storage.port import AccessDenied, NoSuchKey, StorageError
from clary.storage.s3_wire import S3Wire, element
from clary.storage.seal import CHECKSUM, etag_of_parts

PART_BYTES = 8 * 1024 * 1024
PARTS_IN_FLIGHT = 4
_PARTS_PER_SIZE = 1250
_PARTS_MAX = 10_000

_log = get_logger("storage")


def part_bytes(number: int) -> int:
    """The size of part `number` (from 1) in bytes."""
    return int(PART_BYTES * 2 ** ((number - 1) // _PARTS_PER_SIZE))


class _Part(NamedTuple):
    """One that the store has."""

    etag: str
    checksum: str


class S3Writer:
    """Use in a `with` block; see `port.Writer`. One thread writes. `abandon` ends all unfinished uploads of the key."""

    def __init__(
        self, wire: S3Wire, bucket: str, key: str, headers: Mapping[str, str], abandon: Callable[[], object]
    ) -> None:
        self._wire = wire
        self._bucket = bucket
        self._key = key
        self._headers = headers
        self._abandon = abandon
        self._buffer = bytearray()
        self._part = 1
        self._upload_id = ""
        self._strays = False
        self._parts: deque[Future[_Part]] = deque()
        self._stop = threading.Event()
        self._free = threading.Semaphore(PARTS_IN_FLIGHT)
        self._pool = ThreadPoolExecutor(PARTS_IN_FLIGHT, thread_name_prefix="upload")

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes; waits while enough parts are under way, and raises what befell an earlier part."""
        view = memoryview(data).cast("B")
        while view:
            taken = min(part_bytes(self._part) - len(self._buffer), len(view))
            self._buffer += view[:taken]
            view = view[taken:]
            if len(self._buffer) == part_bytes(self._part):
                self._send_part()
        return memoryview(data).nbytes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                return
            if not self._upload_id:
                body = bytes(self._buffer)
                headers = {**self._headers, CHECKSUM: checksum(body)}
                self._wire.request("PUT", self._bucket, self._key, headers=headers, body=body)
                return
            if self._buffer:
                self._send_part()
            self._complete([part.result() for part in self._parts])
            self._upload_id = ""
        finally:
            self._stop.set()
            # Parts that arrive after the abort would be kept, and paid for: let those under way end first.
            self._pool.shutdown(wait=True, cancel_futures=True)
            if self._upload_id or self._strays:
                self._abort()

    def _send_part(self) -> None:
        if self._part > _PARTS_MAX:
            raise StorageError("the object is too large for S3's 10,000 parts", code="EntityTooLarge")
        if not self._upload_id:
            self._strays = True
            headers = {**self._headers, "x-amz-checksum-algorithm": "CRC32"}
            answer = self._wire.request("POST", self._bucket, self._key, query={"uploads": ""}, headers=headers)
            self._strays = answer.repeated
            self._upload_id = element(answer.body, "UploadId")
        self._free.acquire()
        body, self._buffer = self._buffer, bytearray()
        self._parts.append(self._pool.submit(self._put_part, self._part, body))
        self._part += 1
        for part in self._parts:
            if part.done():
                part.result()  # raises the first failure here, instead of after gigabytes more

    def _put_part(self, number: int, body: bytearray) -> _Part:
        try:
            query = {"partNumber": str(number), "uploadId": self._upload_id}
            told = checksum(body)
            answer = self._wire.request(
                "PUT",
                self._bucket,
                self._key,
                query=query,
                headers={CHECKSUM: told},
                body=memoryview(body),
                stop=self._stop,
            )
            return _Part(answer.headers["etag"], told)
        finally:
            self._free.release()

    def _complete(self, done: list[_Part]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            f"<ChecksumCRC32>{part.checksum}</ChecksumCRC32></Part>"
            for number, part in enumerate(done, start=1)
        )
        try:
            self._wire.request(
                "POST",
                self._bucket,
                self._key,
                query={"uploadId": self._upload_id},
                body=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode(),
            )
        except StorageError as error:
            if error.code != "NoSuchUpload" or not self._is_there([part.etag for part in done]):
                raise

    def _is_there(self, etags: list[str]) -> bool:
        """Whether the object is ours although its upload is unknown: the answer to a first try may have been lost.

        What ETag parts make that are encrypted with keys of KMS is not documented: there their number must do.
        """
        try:
            headers = self._wire.request("HEAD", self._bucket, self._key).headers
        except (NoSuchKey, AccessDenied):
            return False
        if headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
            return headers.get("etag", "").endswith(f'-{len(etags)}"')
        return headers.get("etag") == etag_of_parts(etags)

    def _abort(self) -> None:
        gone = {"uploadId": self._upload_id}
        try:
            if self._upload_id:
                self._wire.request(
                    "DELETE", self._bucket, self._key, query=gone, accept=lambda answer: answer.status == 404
                )
            if self._strays:
                self._abandon()
        except StorageError as error:
            _log.warning("upload_not_aborted", bucket=self._bucket, key=self._key, error=str(error))
