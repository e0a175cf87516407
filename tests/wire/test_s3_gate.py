"""The S3 gate in front of the real store, driven by unmodified boto3 and by hand-made requests."""

import base64
import contextlib
import gc
import hashlib
import hmac
import http.client
import io
import os
import socket
import threading
import time
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from botocore.exceptions import ClientError

from clary.aws.canonical import Request
from clary.aws.errors import AwsError
from clary.aws.s3_gate import S3Gate
from clary.aws.sigv4 import Credential, SigningKeys, sign
from clary.base.clock import FixedClock, SystemClock
from weed import running_store, s3_client

pytest_plugins = ["weed"]

_CALLER = Credential(
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    account_id="000000000000",
    principal_arn="arn:aws:iam::000000000000:root",
    user_id="000000000000",
)
_SESSION = Credential(
    access_key_id="ASIAIOSFODNN7EXAMPLE",
    secret_access_key="session/secret",
    session_token="a-token",
    account_id="000000000000",
    principal_arn="arn:aws:sts::000000000000:assumed-role/r/s",
    user_id="AROA:s",
)
_CALLERS = {credential.access_key_id: credential for credential in (_CALLER, _SESSION)}


@dataclass
class Served:
    """A listening gate."""

    port: int

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self, credential=_CALLER, **config):
        return s3_client(
            self.url, credential.access_key_id, credential.secret_access_key, credential.session_token, **config
        )

    def signed(self, method, path, *, query="", headers=(), payload_hash=None, body=b""):
        """Headers of a request signed by the caller."""
        headers = [(b"host", f"127.0.0.1:{self.port}".encode()), *headers]
        request = Request(method=method, raw_path=path.encode(), query=query.encode(), headers=headers, body=body)
        return headers + sign(
            request, credential=_CALLER, region="us-east-1", service="s3", now=SystemClock().now(),
            signing_keys=SigningKeys(), payload_hash=payload_hash,
        )  # fmt: skip

    def send(self, method, path, *, query="", headers=(), payload_hash=None, body=b"", sent=None):
        """Sign `body`, send `sent` (the same unless given); returns (status, headers, body)."""
        wire = self.signed(method, path, query=query, headers=headers, payload_hash=payload_hash, body=body)
        sent = body if sent is None else sent
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            target = f"{path}?{query}" if query else path
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in [*wire, (b"content-length", str(len(sent)).encode())]:
                connection.putheader(name.decode(), value)
            connection.endheaders(sent or None)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def _serving(application, loop):
    """The application on a free port of 127.0.0.1, under uvicorn."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            application, lifespan="off", log_level="error", access_log=False, timeout_graceful_shutdown=3
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        serving = threading.Thread(
            target=lambda: loop.run(server.serve(sockets=[listener]), timeout_s=600), daemon=True
        )
        serving.start()
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # uvicorn has no other sign of being ready
        try:
            yield Served(listener.getsockname()[1])
        finally:
            server.should_exit = True
            serving.join(10)


def _find_key(_key_id):
    """There are no keys here: `tests/contract/test_sse_kms.py` has some."""
    raise AwsError(code="NotFoundException", message="no such key")


@contextlib.contextmanager
def _gate(store, region="us-east-1", url=None):
    application = S3Gate(
        url or store.endpoint_url,
        store.embedded.credentials,
        callers=_CALLERS.get,
        clock=SystemClock(),
        region=region,
        find_key=_find_key,
    )
    store.loop.run(application.start())
    try:
        with _serving(application, store.loop) as served:
            yield served
    finally:
        store.loop.run(application.close())


@pytest.fixture(scope="module")
def gate(weed_store):
    with _gate(weed_store) as served:
        yield served


@pytest.fixture(scope="module")
def s3(gate):
    return gate.client()


@pytest.fixture
def bucket(weed_bucket):
    return weed_bucket


def _open(url, **options):
    request = urllib.request.Request(url, **options)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)


def _error(call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    error = refusal.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def _missing(s3, bucket, key):
    return _error(s3.head_object, Bucket=bucket, Key=key) == ("404", 404)


def test_life_of_an_object(s3, bucket):
    """Put, get, head, list, copy and delete work, with checksum, type and user metadata kept."""
    put = s3.put_object(
        Bucket=bucket, Key="a/b", Body=b"hello", Metadata={"owner": "me", "n": "1"}, ContentType="text/x"
    )
    got = s3.get_object(Bucket=bucket, Key="a/b")
    assert got["Body"].read() == b"hello"
    assert (got["Metadata"], got["ContentType"], got["ETag"]) == ({"owner": "me", "n": "1"}, "text/x", put["ETag"])
    assert got["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert (
        got["ChecksumCRC32"]
        == put["ChecksumCRC32"]
        == base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    )
    head = s3.head_object(Bucket=bucket, Key="a/b")
    assert (head["ContentLength"], head["Metadata"]) == (5, {"owner": "me", "n": "1"})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a/b"})
    listed = s3.list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in listed["Contents"]] == ["a/b", "copy"]
    grouped = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == ["a/"]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/b"}, {"Key": "copy"}]})
    assert len(deleted["Deleted"]) == 2
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


_ODD_KEYS = [
    "key with space", "plus+plus", "é/ü/日本", "per%cent", "a%2Fb", "q?m=1&x", "hash#", "semi;colon", "quote'\"", "tilde~-_.",
    "eq=ual", "(paren)!*", "at@comma,", "amp&lt<>", "end.", "colon:", "[br]{ace}|^`", "dollar$",
]  # fmt: skip


def test_odd_keys(s3, bucket):
    """Every key comes back as it was given: in get, in lists, in copies and in deletes."""
    for number, key in enumerate(_ODD_KEYS):
        s3.put_object(Bucket=bucket, Key=key, Body=str(number).encode())
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert sorted(entry["Key"] for entry in listed) == sorted(_ODD_KEYS)
    for number, key in enumerate(_ODD_KEYS):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == str(number).encode(), key
        s3.copy_object(Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": key})
        assert s3.get_object(Bucket=bucket, Key="copied")["Body"].read() == str(number).encode(), key
        s3.delete_object(Bucket=bucket, Key=key)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["copied"]


def test_multipart_and_ranges(s3, bucket):
    """20 MB go up in parts and come back whole, in parallel ranges pinned by If-Match, and in single ranges."""
    data = os.urandom(20 * 1024 * 1024)
    s3.upload_fileobj(io.BytesIO(data), bucket, "big")
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"].endswith('-3"')
    back = io.BytesIO()
    s3.download_fileobj(bucket, "big", back)
    assert back.getvalue() == data
    ranged = s3.get_object(Bucket=bucket, Key="big", Range="bytes=9000000-9000009")
    assert (ranged["Body"].read(), ranged["ContentRange"]) == (data[9000000:9000010], "bytes 9000000-9000009/20971520")
    assert s3.get_object(Bucket=bucket, Key="big", Range="bytes=-7")["Body"].read() == data[-7:]
    assert _error(s3.get_object, Bucket=bucket, Key="big", Range="bytes=30000000-") == ("InvalidRange", 416)


def test_aborted_multipart_leaves_nothing(s3, bucket):
    """An upload that was given up is no object."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    assert len(s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]) == 1
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert _missing(s3, bucket, "k")


def test_conditions(s3, bucket):
    """304, 412 and conditional writes are as of S3."""
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    assert _error(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=tag) == ("304", 304)
    assert _error(s3.get_object, Bucket=bucket, Key="k", IfMatch='"0"') == ("PreconditionFailed", 412)
    assert _error(s3.head_object, Bucket=bucket, Key="k", IfMatch='"0"') == ("412", 412)
    assert _error(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=tag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_misses(s3, bucket):
    """What is not there is said in the codes that clients look for."""
    assert _error(s3.head_object, Bucket=bucket, Key="no") == ("404", 404)
    assert _error(s3.get_object, Bucket=bucket, Key="no") == ("NoSuchKey", 404)
    assert _error(s3.head_bucket, Bucket="no-such-bucket") == ("404", 404)
    assert _error(s3.list_objects_v2, Bucket="no-such-bucket") == ("NoSuchBucket", 404)
    assert _error(s3.put_object, Bucket="no-such-bucket", Key="k", Body=b"x") == ("NoSuchBucket", 404)


def test_life_of_a_bucket(s3):
    """Made, made again (no error in us-east-1), seen, not deleted while full, deleted."""
    for _ in range(2):
        assert s3.create_bucket(Bucket="life-of-a-bucket")["Location"] == "/life-of-a-bucket"
    assert "life-of-a-bucket" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket="life-of-a-bucket", Key="k", Body=b"x")
    assert _error(s3.delete_bucket, Bucket="life-of-a-bucket") == ("BucketNotEmpty", 409)
    s3.create_bucket(Bucket="life-of-a-bucket")
    assert s3.get_object(Bucket="life-of-a-bucket", Key="k")["Body"].read() == b"x"
    s3.delete_object(Bucket="life-of-a-bucket", Key="k")
    s3.delete_bucket(Bucket="life-of-a-bucket")
    assert _error(s3.head_bucket, Bucket="life-of-a-bucket") == ("404", 404)


def test_bucket_made_twice_elsewhere(weed_store):
    """Outside us-east-1 the second CreateBucket is an error."""
    with _gate(weed_store, region="eu-west-1") as elsewhere:
        s3 = elsewhere.client()
        s3.create_bucket(Bucket="made-twice", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        assert _error(s3.create_bucket, Bucket="made-twice") == ("BucketAlreadyOwnedByYou", 409)


def test_bucket_calls_with_a_trailing_slash(gate, bucket):
    """The JavaScript SDK sends `/bucket/` and `x-id`."""
    assert gate.send("HEAD", f"/{bucket}/")[0] == 200
    assert gate.send("GET", f"/{bucket}/", query="list-type=2&x-id=ListObjectsV2")[0] == 200
    assert gate.send("PUT", f"/{bucket}/k", query="x-id=PutObject", body=b"x")[0] == 200
    assert gate.send("PUT", f"/{bucket}/", query="x-id=CreateBucket")[0] == 200


@pytest.mark.parametrize("version", ["s3", "s3v4"])
@pytest.mark.parametrize("credential", [_CALLER, _SESSION], ids=["key", "session"])
def test_presigned(gate, s3, bucket, version, credential):
    """URLs of both versions, of a key and of a session, get and put; altered or outdated ones do not."""
    signer = gate.client(credential, signature_version=version)
    s3.put_object(Bucket=bucket, Key="a b+é", Body=b"hello")
    url = signer.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b+é"})
    with _open(url) as answer:
        assert answer.read() == b"hello"
    with _open(
        signer.generate_presigned_url("head_object", {"Bucket": bucket, "Key": "a b+é"}), method="HEAD"
    ) as answer:
        assert answer.headers["content-length"] == "5"
    put = signer.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "put", "ContentType": "text/x"})
    with _open(put, method="PUT", data=b"data", headers={"Content-Type": "text/x"}) as answer:
        assert answer.status == 200
    got = s3.get_object(Bucket=bucket, Key="put")
    assert (got["Body"].read(), got["ContentType"]) == (b"data", "text/x")
    for bad in (url.replace("b%2B", "c%2B"), url.replace("Signature=", "Signature=0"), url.replace("b%2B", "../")):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            _open(bad)
        assert refusal.value.code == 403
        refusal.value.close()


def test_presigned_response_headers_and_metadata(gate, s3, bucket):
    """Parameters that change the answer are kept, and headers that the signer moved into the URL take effect."""
    signer = gate.client(signature_version="s3v4")
    arguments = {"Bucket": bucket, "Key": "k"}
    with _open(
        signer.generate_presigned_url("put_object", arguments | {"Metadata": {"a": "1"}}),
        method="PUT", data=b"x", headers={"x-amz-meta-a": "1"},
    ):  # fmt: skip
        pass
    assert s3.head_object(**arguments)["Metadata"] == {"a": "1"}
    url = signer.generate_presigned_url("get_object", arguments | {"ResponseContentType": "text/y"})
    with _open(url) as answer:
        assert answer.headers["content-type"] == "text/y"


def test_presigned_url_runs_out(weed_store, bucket):
    """A URL is good until its end and not after."""
    clock = FixedClock(SystemClock().now())
    application = S3Gate(
        weed_store.endpoint_url,
        weed_store.embedded.credentials,
        callers=_CALLERS.get,
        clock=clock,
        region="us-east-1",
        find_key=_find_key,
    )
    weed_store.loop.run(application.start())
    try:
        with _serving(application, weed_store.loop) as served:
            for version in ("s3", "s3v4"):
                client = served.client(signature_version=version)
                url = client.generate_presigned_url("list_objects_v2", {"Bucket": bucket}, ExpiresIn=60)
                clock._at = SystemClock().now()
                _open(url).close()
                clock.advance(120)
                with pytest.raises(urllib.error.HTTPError) as refusal:
                    _open(url)
                assert b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in refusal.value.read()
                refusal.value.close()
    finally:
        weed_store.loop.run(application.close())


def test_strangers_are_refused(gate, bucket):
    """A wrong secret, an unknown key, a missing or wrong token and no signature at all are told apart, as S3 does."""
    wrong = s3_client(gate.url, _CALLER.access_key_id, "wrong")
    assert _error(wrong.list_objects_v2, Bucket=bucket) == ("SignatureDoesNotMatch", 403)
    unknown = s3_client(gate.url, "AKIAUNKNOWN", "x")
    assert _error(unknown.list_objects_v2, Bucket=bucket) == ("InvalidAccessKeyId", 403)
    token = s3_client(gate.url, _SESSION.access_key_id, _SESSION.secret_access_key, "other")
    assert _error(token.list_objects_v2, Bucket=bucket) == ("InvalidToken", 400)
    assert _error(wrong.head_bucket, Bucket=bucket) == ("403", 403)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        _open(f"{gate.url}/{bucket}/k")
    body = refusal.value.read()
    assert b"<Code>AccessDenied</Code>" in body
    assert f"<RequestId>{refusal.value.headers['x-amz-request-id']}</RequestId>".encode() in body
    assert refusal.value.headers["content-type"] == "application/xml"
    refusal.value.close()


def test_the_stores_own_key_is_no_key_of_ours(gate, weed_store, bucket):
    """The store's credential opens the store, not the gate: only known callers pass."""
    client = s3_client(gate.url, weed_store.access_key_id, weed_store.secret_access_key)
    assert _error(client.list_objects_v2, Bucket=bucket) == ("InvalidAccessKeyId", 403)


def test_signature_for_another_service_is_refused(gate, bucket):
    """A signature made for SageMaker opens no bucket."""
    request = Request(method="GET", raw_path=f"/{bucket}".encode(), query=b"", headers=[(b"host", b"x")], body=b"")
    added = sign(
        request, credential=_CALLER, region="us-east-1", service="sagemaker", now=SystemClock().now(),
        signing_keys=SigningKeys(),
    )  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as refusal:
        _open(f"{gate.url}/{bucket}", headers={"host": "x"} | {name.decode(): value.decode() for name, value in added})
    assert b"<Code>AuthorizationHeaderMalformed</Code>" in refusal.value.read()
    refusal.value.close()


def test_session_credentials_pass(gate, bucket):
    """A caller with temporary credentials and their token is let in, and the token goes no further."""
    client = gate.client(_SESSION)
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_altered_body_is_not_stored(gate, s3, bucket):
    """A body other than the signed one is refused by the store, which is told the signed hash."""
    status, _, body = gate.send("PUT", f"/{bucket}/k", body=b"signed", sent=b"altred")
    assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)
    assert _missing(s3, bucket, "k")
    digest = base64.b64encode(hashlib.md5(b"signed").digest())
    for headers in ([(b"content-md5", digest)], [(b"x-amz-checksum-crc32", b"AAAAAA==")]):
        status, _, body = gate.send(
            "PUT", f"/{bucket}/k", headers=headers, payload_hash="UNSIGNED-PAYLOAD", body=b"altred"
        )
        assert (status, b"<Code>BadDigest</Code>" in body or b"InvalidDigest" in body) == (400, True), body
        assert _missing(s3, bucket, "k")


def test_altered_header_is_refused(gate, bucket):
    """A header beginning with x-amz- that was added on the way is not obeyed."""
    wire = gate.signed("PUT", f"/{bucket}/k", body=b"x")
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    headers = {name.decode(): value.decode() for name, value in wire} | {"x-amz-acl": "public-read"}
    connection.request("PUT", f"/{bucket}/k", body=b"x", headers=headers)
    answer = connection.getresponse()
    assert (answer.status, b"AccessDenied" in answer.read()) == (403, True)
    connection.close()


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256", "SHA1", "CRC32C", "CRC64NVME"])
def test_checksums_in_headers(s3, bucket, algorithm):
    """A checksum that boto3 can compute is checked, kept and given back; a wrong one leaves nothing."""
    if algorithm in {"CRC32C", "CRC64NVME"}:  # boto3 computes these with an extra package: give the value ourselves
        value = {"CRC32C": "mnG7TA==", "CRC64NVME": "M3eFcAZSQlc="}[algorithm]  # of "hello"
        stored = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **{f"Checksum{algorithm}": value})
        assert stored[f"Checksum{algorithm}"] == value
    else:
        stored = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == stored[f"Checksum{algorithm}"]
    other = base64.b64encode(bytes(len(base64.b64decode(stored[f"Checksum{algorithm}"])))).decode()
    code, status = _error(s3.put_object, Bucket=bucket, Key="bad", Body=b"hello", **{f"Checksum{algorithm}": other})
    assert (code, status) == ("BadDigest", 400)
    assert _missing(s3, bucket, "bad")


def _trailer(value=None, data=b"hello world", pieces=4):
    """An unsigned aws-chunked body with its CRC-32 in the trailer, and the headers that announce it."""
    value = value or base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    chunks = [data[at : at + pieces] for at in range(0, len(data), pieces)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    headers = [
        (b"content-encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", str(len(data)).encode()),
        (b"x-amz-trailer", b"x-amz-checksum-crc32"),
    ]
    return framed + b"0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % value, headers


def test_unsigned_trailer(gate, s3, bucket):
    """The trailing checksum is checked and kept, the transfer's encoding is not."""
    framed, headers = _trailer()
    sent = {"headers": headers, "payload_hash": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "sent": framed}
    assert gate.send("PUT", f"/{bucket}/k", **sent)[0] == 200
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["ChecksumCRC32"]) == (b"hello world", "DUoRhQ==")
    assert "ContentEncoding" not in got
    headers[0] = (b"content-encoding", b"aws-chunked,gzip")
    assert gate.send("PUT", f"/{bucket}/k", **sent)[0] == 200
    assert s3.head_object(Bucket=bucket, Key="k")["ContentEncoding"] == "gzip"


def test_wrong_trailing_checksum_leaves_no_object(gate, s3, bucket):
    """Neither a wrong checksum nor a body that was cut or garbled is stored."""
    wrong, headers = _trailer(value=b"AAAAAA==")
    right, _ = _trailer()
    for sent, code in (
        (wrong, b"BadDigest"),
        (right[:-30], b"IncompleteBody"),
        (right.replace(b"4\r\nhell", b"5\r\nhell"), b"IncompleteBody"),
        (right.replace(b"4\r\nhell", b"3\r\nhell"), b"InvalidRequest"),
        (right.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-sha1:"), b"InvalidRequest"),
    ):
        status, _, body = gate.send(
            "PUT", f"/{bucket}/k", headers=headers, payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER", sent=sent
        )
        assert status == 400
        assert b"<Code>%b</Code>" % code in body
        assert _missing(s3, bucket, "k")


def test_boto3_streams_with_trailers(weed_store, gate, s3, bucket):
    """boto3's own chunked upload of a stream that it cannot read twice carries a trailer."""

    class Once(io.RawIOBase):
        def __init__(self):
            self._left = 300_000

        def readable(self):
            return True

        def readinto(self, buffer):
            count = min(len(buffer), self._left)
            buffer[:count] = b"z" * count
            self._left -= count
            return count

    s3.upload_fileobj(Once(), bucket, "stream")
    assert s3.head_object(Bucket=bucket, Key="stream")["ContentLength"] == 300_000


def _signed_chunks(gate, path, chunks, *, trailer=None, alter=lambda body: body):
    """A body of signed chunks as the Java SDK sends it, through `send`."""
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    size = str(sum(map(len, chunks))).encode()
    headers = [(b"content-encoding", b"aws-chunked"), (b"x-amz-decoded-content-length", size)]
    if trailer:
        headers.append((b"x-amz-trailer", trailer[0]))
    wire = gate.signed("PUT", path, headers=headers, payload_hash=kind)
    found = dict(wire)
    date = found[b"x-amz-date"].decode()
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    previous = found[b"authorization"].decode().rpartition("Signature=")[2]
    key = SigningKeys().derive(_CALLER.secret_access_key, date[:8], "us-east-1", "s3")
    empty, body = hashlib.sha256(b"").hexdigest(), b""
    for chunk in [*chunks, b""]:
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{empty}\n{hashlib.sha256(chunk).hexdigest()}"
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        body += b"%x;chunk-signature=%b\r\n" % (len(chunk), previous.encode()) + (chunk and chunk + b"\r\n")
    if trailer:
        hashed = hashlib.sha256(b"%b:%b\n" % trailer).hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{hashed}"
        proof = hmac.digest(key, text.encode(), "sha256").hex().encode()
        body += b"%b:%b\r\nx-amz-trailer-signature:%b\r\n" % (*trailer, proof)
    body = alter(body + b"\r\n")
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=20)
    connection.request("PUT", path, body=body, headers={name.decode(): value.decode() for name, value in wire})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_signed_chunks(gate, s3, bucket):
    """Signed chunks are proved, taken apart and stored without a trace of them."""
    chunks = [b"a" * 65536, b"b" * 65536, b"c" * 10]
    assert _signed_chunks(gate, f"/{bucket}/k", chunks)[0] == 200
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read(), "ContentEncoding" in got) == (b"".join(chunks), False)
    trailer = (b"x-amz-checksum-crc32", base64.b64encode(zlib.crc32(b"".join(chunks)).to_bytes(4, "big")))
    assert _signed_chunks(gate, f"/{bucket}/t", chunks, trailer=trailer)[0] == 200
    got = s3.get_object(Bucket=bucket, Key="t")
    assert (got["Body"].read(), got["ChecksumCRC32"]) == (b"".join(chunks), trailer[1].decode())
    assert _signed_chunks(gate, f"/{bucket}/empty", [])[0] == 200
    assert s3.head_object(Bucket=bucket, Key="empty")["ContentLength"] == 0


@pytest.mark.parametrize("trailer", [None, (b"x-amz-checksum-crc32", b"AAAAAA==")])
def test_altered_signed_chunks_are_not_stored(gate, s3, bucket, trailer):
    """A byte changed in any chunk, the last too, a chunk left out, or a cut leave no object."""
    chunks = [b"a" * 65536, b"b" * 65536, b"c" * 10]
    for alter in (
        lambda body: body.replace(b"ccc", b"cdc", 1),
        lambda body: body.replace(b"aaa", b"aba", 1),
        lambda body: body[: body.index(b"c" * 10)],
        lambda body: body[:-3],
    ):
        status, body = _signed_chunks(gate, f"/{bucket}/k", chunks, trailer=trailer, alter=alter)
        assert status in {400, 403}, body
        assert b"<Code>SignatureDoesNotMatch" in body or b"<Code>IncompleteBody" in body
        assert _missing(s3, bucket, "k")


def test_expect_continue(gate, bucket):
    """The caller is told to go on only when his signature is good."""
    good = gate.signed("PUT", f"/{bucket}/k", payload_hash=hashlib.sha256(b"body").hexdigest())
    bad = [(name, value.replace(b"Signature=", b"Signature=0")) for name, value in good]
    for wire, expected in ((good, b"HTTP/1.1 100 Continue\r\n\r\n"), (bad, b"HTTP/1.1 403 Forbidden\r\n")):
        with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as connection:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in wire)
            connection.sendall(
                f"PUT /{bucket}/k HTTP/1.1\r\n".encode() + lines + b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n"
            )
            assert connection.recv(100).startswith(expected)
            if wire is good:
                connection.sendall(b"body")
                assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_hang_up_while_uploading_stores_nothing(gate, s3, bucket):
    """A caller that goes away in the middle of a body leaves no object, whatever the kind of body."""
    framed, trailer_headers = _trailer(data=b"x" * 200_000, pieces=50_000)
    for payload, headers, body in (
        ("UNSIGNED-PAYLOAD", [], b"x" * 200_000),
        (hashlib.sha256(b"x" * 200_000).hexdigest(), [], b"x" * 200_000),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", trailer_headers, framed),
    ):
        wire = gate.signed("PUT", f"/{bucket}/k", headers=headers, payload_hash=payload)
        with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as connection:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in wire)
            length = str(len(body)).encode()
            connection.sendall(
                f"PUT /{bucket}/k HTTP/1.1\r\n".encode() + lines + b"content-length: " + length + b"\r\n\r\n"
            )
            connection.sendall(body[:150_000])
        time.sleep(0.3)  # nobody tells us when the store has noticed
        assert _missing(s3, bucket, "k"), payload


def test_early_answer_is_heard(gate, bucket):
    """An error that the store knows before the body is there reaches a caller who sends without asking first."""
    for size in (1_000_000, 12_000_000):
        status, _, body = gate.send("PUT", "/no-such-bucket/k", payload_hash="UNSIGNED-PAYLOAD", sent=b"x" * size)
        assert (status, b"NoSuchBucket" in body) == (404, True)
    status, _, body = gate.send("PUT", f"/{bucket}/k", headers=[(b"if-match", b'"0"')], sent=b"", body=b"")
    assert status in {404, 412}


def test_refused_upload_leaves_the_connection_usable(gate, bucket):
    """A caller that asks with Expect and is refused can send its next request: nothing is taken for the missing body."""
    wrong = s3_client(gate.url, _CALLER.access_key_id, "wrong")
    assert _error(wrong.put_object, Bucket=bucket, Key="k", Body=b"x" * 100_000) == ("SignatureDoesNotMatch", 403)
    assert _error(wrong.head_bucket, Bucket=bucket) == ("403", 403)
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    for _ in range(2):  # one that sends at once is read to the end, on one connection
        connection.request("PUT", f"/{bucket}/k", body=b"x" * 3_000_000)
        answer = connection.getresponse()
        assert (answer.status, b"AccessDenied" in answer.read()) == (403, True)
    connection.close()


def _in_flight(application):
    return len(application._session.connector._acquired)


def test_hang_up_while_downloading_frees_the_connection(weed_store, bucket):
    """A caller that goes away does not leave us reading the object for nobody."""
    application = S3Gate(
        weed_store.endpoint_url, weed_store.embedded.credentials, callers=_CALLERS.get, clock=SystemClock(),
        region="us-east-1", find_key=_find_key,
    )  # fmt: skip
    weed_store.client().put_object(Bucket=bucket, Key="k", Body=b"x" * 50_000_000)
    weed_store.loop.run(application.start())
    try:
        with _serving(application, weed_store.loop) as served:
            wire = served.signed("GET", f"/{bucket}/k")
            with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
                lines = b"".join(b"%b: %b\r\n" % pair for pair in wire)
                connection.sendall(f"GET /{bucket}/k HTTP/1.1\r\n".encode() + lines + b"\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
                assert _in_flight(application) == 1
            deadline = time.monotonic() + 10
            while _in_flight(application):
                assert time.monotonic() < deadline
                time.sleep(0.02)  # the gate tells nobody that it has let go
    finally:
        weed_store.loop.run(application.close())


def test_store_away(weed_store, bucket):
    """When the store does not answer, callers get the error on which they try again, and later an answer."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with _gate(weed_store, url=f"http://127.0.0.1:{nobody.getsockname()[1]}") as served:
            client = served.client()
            assert _error(client.list_objects_v2, Bucket=bucket) == ("ServiceUnavailable", 503)
            assert _error(client.put_object, Bucket=bucket, Key="k", Body=b"x" * 100_000) == ("ServiceUnavailable", 503)
            assert _error(client.head_bucket, Bucket=bucket) == ("503", 503)


def test_restart_of_the_store_is_survived(tmp_path):
    """After the store was killed and came back, unmodified clients with their usual retries go on."""
    with running_store(tmp_path) as store, _gate(store) as served:
        client = served.client(retries={"total_max_attempts": 8, "mode": "standard"})
        client.create_bucket(Bucket="bucket")
        for number in range(3):
            os.kill(store.embedded.pid, 9)
            client.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x" * 100_000)
        assert client.list_objects_v2(Bucket="bucket")["KeyCount"] == 3


def test_unknown_kms_keys_are_refused_as_kms_does(gate, s3, bucket):
    """With S3's status 400, on which no client tries again; nothing is stored open."""
    wanted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/nobody's"}
    for call in (s3.put_object, s3.create_multipart_upload):
        assert _error(call, Bucket=bucket, Key="k", **wanted) == ("KMS.NotFoundException", 400)
    s3.put_object(Bucket=bucket, Key="open", Body=b"x")
    source = f"{bucket}/open"
    assert _error(s3.copy_object, Bucket=bucket, Key="k", CopySource=source, **wanted) == ("KMS.NotFoundException", 400)
    assert _missing(s3, bucket, "k")


def test_two_layers_of_encryption_are_refused_by_name(gate, s3, bucket):
    """What cannot be sealed as asked is not stored open."""
    for call in (s3.put_object, s3.create_multipart_upload):
        assert _error(call, Bucket=bucket, Key="k", ServerSideEncryption="aws:kms:dsse") == ("NotImplemented", 501)
    assert _missing(s3, bucket, "k")


def test_encryption_by_the_store(gate, s3, bucket):
    """SSE-S3 passes."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="AES256")
    assert s3.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"


def test_expected_owner(s3, bucket):
    """All buckets are the account's own; who expects another owner is refused."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner="000000000000")
    s3.head_bucket(Bucket=bucket, ExpectedBucketOwner="000000000000")
    assert _error(s3.get_object, Bucket=bucket, Key="k", ExpectedBucketOwner="111111111111") == ("AccessDenied", 403)


def test_bucket_in_the_name_of_the_host(gate, s3, bucket):
    """`bucket.localhost` is the bucket, for clients that are set to virtual-host addressing."""
    s3.put_object(Bucket=bucket, Key="a b", Body=b"x")
    headers = [(b"host", f"{bucket}.localhost:{gate.port}".encode())]
    request = Request(method="GET", raw_path=b"/a%20b", query=b"", headers=headers, body=b"")
    headers += sign(
        request,
        credential=_CALLER,
        region="us-east-1",
        service="s3",
        now=SystemClock().now(),
        signing_keys=SigningKeys(),
    )
    with _open(f"{gate.url}/a%20b", headers={name.decode(): value.decode() for name, value in headers}) as answer:
        assert answer.read() == b"x"


def test_upload_without_a_length_is_refused(gate, bucket):
    """S3 wants to know the length before it takes a body."""
    wire = gate.signed("PUT", f"/{bucket}/k", payload_hash="UNSIGNED-PAYLOAD")
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    headers = {name.decode(): value.decode() for name, value in wire}
    connection.request("PUT", f"/{bucket}/k", body=iter([b"x"]), headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, b"MissingContentLength" in answer.read()) == (411, True)
    connection.close()


def _peak_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_memory_while_streaming(gate, s3, bucket):
    """200 MB go up and come down in constant memory."""

    class Zeros(io.RawIOBase):
        """Streams without holding anything itself."""

        def __init__(self, size):
            self._left = size

        def read(self, size=-1):
            count = min(65_536 if size < 0 else size, self._left)
            self._left -= count
            return bytes(count)

    size = 200_000_000
    s3.put_object(Bucket=bucket, Key="warm", Body=b"x" * 1_000_000)
    s3.get_object(Bucket=bucket, Key="warm")["Body"].read()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here. Source: proc(5)
    before = _peak_kib()
    wire = gate.signed("PUT", f"/{bucket}/big", payload_hash="UNSIGNED-PAYLOAD")
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=120)
    headers = {name.decode(): value.decode() for name, value in wire} | {"content-length": str(size)}
    connection.request("PUT", f"/{bucket}/big", body=Zeros(size), headers=headers)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.close()
    count = sum(len(piece) for piece in s3.get_object(Bucket=bucket, Key="big")["Body"].iter_chunks(65_536))
    assert count == size
    grown = _peak_kib() - before
    assert grown < 5 * 1024, f"{grown} KiB"
