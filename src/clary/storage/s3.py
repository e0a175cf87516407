r"""Any S3: AWS, MinIO, Ceph, and the SeaweedFS that Clary brings along.

Chosen by whoever composes the program; the port is `port.ObjectStorage`. Every request goes through `s3_wire`, which retries
and knows what an error means.

SeaweedFS keeps objects in directories, and so stores "a//b", "a\b" or "/a" under other keys, lists in the order of a
tree and creates missing buckets as it goes. Such keys are refused there (`UnfaithfulKey`), listings are sorted here,
and the bucket is asked for before the first write.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from os.path import commonprefix

from msgspec.structs import replace

from clary.storage.crc32 import checksum
from clary.storage.file_check import FileCheck
from clary.storage.integrity import ATTEMPTS, Corrupt, check_length
from clary.storage.port import (
    CredentialsProvider,
    NoSuchBucket,
    NoSuchKey,
    ObjectInfo,
    S3Address,
    StorageError,
    UnfaithfulKey,
    Writer,
)
from clary.storage.s3_read import DiskTrouble, InMemory, IntoFile
from clary.storage.s3_upload import S3Writer
from clary.storage.s3_wire import Answer, S3Wire, decoded, element, elements
from clary.storage.seal import ASK_CHECKSUM, CHECKSUM, Running, Seal, seal_of

_IMPLIED_DIRECTORY = "application/x-directory"  # what SeaweedFS says of "a/" if there is no such object, but an "a/b"
_BENT_BY_SEAWEEDFS = re.compile(r"\\|//|^/|(^|/)\.{1,2}(/|$)")


class S3Storage:
    """See `port.ObjectStorage`. `credentials` is asked for every request.

    A store that is away for less than `retry_total_s` seconds is waited for; beyond that, `Unreachable`. `insists_s` as in
    `S3Wire`. With `tell_parts` the ETags of objects in parts are a seal, too.
    """

    def __init__(
        self,
        address: S3Address,
        credentials: CredentialsProvider,
        *,
        retry_total_s: float = 60.0,
        insists_s: float | None = None,
        tell_parts: bool = False,
    ) -> None:
        self._wire = S3Wire(address, credentials, retry_total_s=retry_total_s, insists_s=insists_s)
        self._tell_parts = tell_parts
        self._seaweedfs: dict[str, bool] = {}

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """See `port.ObjectStorage`. All pages are read before the first object is given, for the sake of the order."""
        found: list[ObjectInfo] = []
        token = ""
        while True:
            page = self._page(bucket, prefix, token)
            found += _objects(page, prefix)
            token = element(page.body, "NextContinuationToken")
            if element(page.body, "IsTruncated") != "true" or not token:
                break
        found.sort(key=lambda info: info.key.encode("utf-8", "surrogateescape"))
        yield from found

    def has_objects(self, bucket: str, prefix: str) -> bool:
        """See `port.ObjectStorage`."""
        # SeaweedFS answers a neighbour for some odd prefixes: a handful of keys lets the true ones show.
        return bool(_objects(self._page(bucket, prefix, "", limit=10), prefix))

    def bucket_exists(self, bucket: str) -> bool:
        """See `port.ObjectStorage`."""
        return self._wire.request("HEAD", bucket, accept=lambda answer: answer.status == 404).status != 404

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """See `port.ObjectStorage`."""
        answer = self._head(bucket, key)
        return ObjectInfo(
            key=key, size_bytes=int(answer.headers.get("content-length", "0")), etag=answer.headers.get("etag", "")
        )

    def seal(self, bucket: str, key: str, etag: str, *, sure: bool = False) -> Seal | None:
        """See `port.ObjectStorage`."""
        self._check_key(bucket, key)
        headers = ASK_CHECKSUM | {"if-match": etag}
        answer = self._wire.request("HEAD", bucket, key, headers=headers, accept=lambda answer: answer.status == 400)
        if answer.status == 400:  # only who has the client's key may know
            return None
        size_bytes = int(answer.headers.get("content-length", "0"))
        seal = self._of_known_parts(bucket, key, answer.headers, size_bytes)
        if sure and seal is not None and seal.parts is not None:
            for number in range(2, seal.parts):
                if self._part_bytes(bucket, key, etag, number) != seal.part_bytes:
                    return None
        return seal

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes | memoryview:
        """See `port.ObjectStorage`."""
        whole = (start, length) == (0, None)
        for _ in range(ATTEMPTS):
            body = InMemory()
            headers = self._get(bucket, key, etag, start, length, body)
            if not whole or self._fits(bucket, key, headers, body.data):
                return memoryview(body.data)
        raise Corrupt(bucket, key)

    def get_into(
        self, bucket: str, key: str, fd: int, *, start: int, length: int, etag: str | None = None, whole: bool = False
    ) -> Sequence[int]:
        """See `port.ObjectStorage`."""
        for _ in range(ATTEMPTS):
            body = IntoFile(fd, start, length)
            try:
                headers = self._get(bucket, key, etag, start, None if whole else length, body)
            except DiskTrouble as error:
                raise error.error from None
            check_length(bucket, key, body.length, length)
            if not whole or self._file_fits(bucket, key, headers, fd, body):
                return body.sums.crcs
        raise Corrupt(bucket, key)

    def _get(
        self, bucket: str, key: str, etag: str | None, start: int, length: int | None, body: InMemory | IntoFile
    ) -> dict[str, str]:
        self._check_key(bucket, key)
        headers = {} if etag is None else {"if-match": etag}
        if (start, length) != (0, None):
            headers["range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        else:
            headers |= ASK_CHECKSUM
        return self._wire.request("GET", bucket, key, headers=headers, into=body).headers

    def _fits(self, bucket: str, key: str, headers: Mapping[str, str], data: bytes | bytearray) -> bool:
        """Whether a whole object is what the headers that came with it speak of, as far as can be known."""
        seal = self._of_known_parts(bucket, key, headers, len(data))
        if seal is None:
            return True
        running = Running(seal, len(data))
        running.update(memoryview(data))
        return running.fits() or not self._surely(bucket, key, headers)

    def _file_fits(self, bucket: str, key: str, headers: Mapping[str, str], fd: int, body: IntoFile) -> bool:
        """The same, of one that was written to a file."""
        check = FileCheck(fd, body.length, lambda: self._of_known_parts(bucket, key, headers, body.length))
        check.written(0, body.length, body.sums.crcs)
        return check.fits() or not self._surely(bucket, key, headers)

    def _surely(self, bucket: str, key: str, headers: Mapping[str, str]) -> bool:
        """Whether what the headers of an object tell is sure to hold: see `port.ObjectStorage.seal`."""
        return self.seal(bucket, key, headers.get("etag", ""), sure=True) is not None

    def _of_known_parts(self, bucket: str, key: str, headers: Mapping[str, str], size_bytes: int) -> Seal | None:
        """The seal of an object, if it can be used."""
        seal = seal_of(headers)
        if seal is None or seal.parts is None:
            return seal
        if seal.kind == "md5" and not self._tell_parts:
            return None
        one = seal.parts == 1
        part_bytes = size_bytes if one else self._part_bytes(bucket, key, headers.get("etag", ""), 1)
        return (
            replace(seal, part_bytes=part_bytes) if part_bytes and -(-size_bytes // part_bytes) == seal.parts else None
        )

    def _part_bytes(self, bucket: str, key: str, etag: str, number: int) -> int | None:
        """The size of a part. A store that knows of none answers as for a whole object. Source: S3, HeadObject, partNumber."""
        query, pinned = {"partNumber": str(number)}, {"if-match": etag}
        answer = self._wire.request(
            "HEAD", bucket, key, query=query, headers=pinned, accept=lambda answer: answer.status in {400, 416, 501}
        )
        return int(answer.headers.get("content-length", "0")) if answer.status < 300 else None

    def put(self, bucket: str, key: str, data: bytes | memoryview, *, kms_key_id: str | None = None) -> None:
        """See `port.ObjectStorage`."""
        self._check_write(bucket, key)
        headers = _encryption(kms_key_id) | {CHECKSUM: checksum(data)}
        self._wire.request("PUT", bucket, key, headers=headers, body=data)

    def open_writer(self, bucket: str, key: str, *, kms_key_id: str | None = None) -> AbstractContextManager[Writer]:
        """See `port.ObjectStorage`."""
        self._check_write(bucket, key)
        headers = _encryption(kms_key_id)
        return S3Writer(self._wire, bucket, key, headers, lambda: self.abort_uploads(bucket, {key}))

    def abort_uploads(self, bucket: str, keys: Collection[str]) -> int:
        """See `port.ObjectStorage`. One request for each thousand uploads under what the keys begin with."""
        aborted = 0
        common = commonprefix([*keys])  # noqa: RUF071  a raw prefix, not a path
        query = {"uploads": "", "prefix": common, "encoding-type": "url"}
        while True:
            page = self._wire.request("GET", bucket, query=query).body
            for upload in elements(page, "Upload"):
                key, upload_id = decoded(element(upload, "Key")), element(upload, "UploadId")
                if key in keys:
                    gone = {"uploadId": upload_id}
                    self._wire.request("DELETE", bucket, key, query=gone, accept=lambda answer: answer.status == 404)
                    aborted += 1
            query["key-marker"] = decoded(element(page, "NextKeyMarker"))
            query["upload-id-marker"] = element(page, "NextUploadIdMarker")
            if element(page, "IsTruncated") != "true" or not query["key-marker"]:
                return aborted

    def delete(self, bucket: str, key: str) -> None:
        """See `port.ObjectStorage`."""
        self._check_write(bucket, key)
        self._wire.request("DELETE", bucket, key)

    def _head(self, bucket: str, key: str) -> Answer:
        self._check_key(bucket, key)
        try:
            answer = self._wire.request("HEAD", bucket, key)
        except NoSuchKey:
            self._is_seaweedfs(bucket)
            raise
        if answer.is_seaweedfs and answer.headers.get("content-type") == _IMPLIED_DIRECTORY:
            raise NoSuchKey(f"NoSuchKey (404): Not Found [HEAD s3://{bucket}/{key}]", code="NoSuchKey", status=404)
        return answer

    def _page(self, bucket: str, prefix: str, token: str, limit: int = 1000) -> Answer:
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(limit), "prefix": prefix}
        if token:
            query["continuation-token"] = token
        return self._wire.request("GET", bucket, query=query)

    def _is_seaweedfs(self, bucket: str) -> bool:
        """Whose store it is, asked once for each bucket. Raises `NoSuchBucket`: HEAD's own 404 has no body to say so."""
        if bucket not in self._seaweedfs:
            answer = self._wire.request("HEAD", bucket, accept=lambda answer: answer.status in {403, 404})
            if answer.status == 404:
                raise NoSuchBucket(f"NoSuchBucket (404): no bucket {bucket!r}", code="NoSuchBucket", status=404)
            self._seaweedfs[bucket] = answer.is_seaweedfs
        return self._seaweedfs[bucket]

    def _check_key(self, bucket: str, key: str) -> None:
        """Refuse a key that the store would bend. Only such keys cost the question whose store it is."""
        if not key:
            raise StorageError("an object needs a key")
        if _BENT_BY_SEAWEEDFS.search(key) and self._is_seaweedfs(bucket):
            raise UnfaithfulKey(f"the store does not keep the key {key!r} as it is")

    def _check_write(self, bucket: str, key: str) -> None:
        """The same, and that the bucket is there: SeaweedFS would create it."""
        self._is_seaweedfs(bucket)
        self._check_key(bucket, key)


def _encryption(kms_key_id: str | None) -> dict[str, str]:
    if kms_key_id is None:
        return {}
    return {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": kms_key_id}


def _objects(page: Answer, prefix: str) -> list[ObjectInfo]:
    found = []
    for entry in elements(page.body, "Contents"):
        key = decoded(element(entry, "Key"))
        # For the prefix "a//" SeaweedFS answers "a/b", or even an "a//b" that is really "a/b".
        bent = page.is_seaweedfs and _BENT_BY_SEAWEEDFS.search(key)
        if key.startswith(prefix) and not bent:
            found.append(ObjectInfo(key=key, size_bytes=int(element(entry, "Size")), etag=element(entry, "ETag")))
    return found
