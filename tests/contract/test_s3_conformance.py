"""What we rely on in the embedded store, checked on the store itself, so that an upgrade which breaks it is seen.

The second half pins where it differs from S3: the gate, the session policies or the documentation deal with each of
these, and when one of these tests fails, that can be taken out again.
"""

import base64
import concurrent.futures
import hashlib
import http.client
import json
import urllib.error
import urllib.request
import zlib

import boto3
import pytest
from botocore.exceptions import ClientError

from clary.aws.canonical import Request
from clary.aws.sigv4 import SigningKeys, sign
from clary.base.clock import SystemClock
from weed import s3_client

pytest_plugins = ["weed"]

_CHECKSUMS = {  # of "hello"
    "CRC32": "NhCmhg==",
    "CRC32C": "mnG7TA==",
    "CRC64NVME": "M3eFcAZSQlc=",
    "SHA1": "qvTGHdzF6KLavt4PO0gs2a6pQ00=",
    "SHA256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
}


@pytest.fixture(scope="module")
def s3(weed_store):
    return weed_store.client(signature_version="s3v4")


@pytest.fixture
def bucket(weed_bucket):
    return weed_bucket


def _error(call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    error = refusal.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def _keys(listed):
    return [entry["Key"] for entry in listed.get("Contents", [])]


def _put(store, path, *, headers=(), payload_hash=None, body=b"", sent=None):
    """A PUT signed for `body` that sends `sent`; returns (status, answer)."""
    host = store.endpoint_url.removeprefix("http://")
    headers = [(b"host", host.encode()), *headers]
    headers += sign(
        Request(method="PUT", raw_path=path.encode(), query=b"", headers=headers, body=body),
        credential=store.embedded.credentials, region="us-east-1", service="s3", now=SystemClock().now(),
        signing_keys=SigningKeys(), payload_hash=payload_hash,
    )  # fmt: skip
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(
            "PUT", path, body=body if sent is None else sent, headers={k.decode(): v.decode() for k, v in headers}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("algorithm", _CHECKSUMS)
def test_checksums_are_checked_and_kept(s3, bucket, algorithm):
    """Each of the five algorithms is verified before anything is stored, and told on request."""
    name = f"Checksum{algorithm}"
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **{name: _CHECKSUMS[algorithm]})
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[name] == _CHECKSUMS[algorithm]
    wrong = base64.b64encode(bytes(len(base64.b64decode(_CHECKSUMS[algorithm])))).decode()
    assert _error(s3.put_object, Bucket=bucket, Key="bad", Body=b"hello", **{name: wrong}) == ("BadDigest", 400)
    assert _error(s3.head_object, Bucket=bucket, Key="bad") == ("404", 404)


def test_content_md5_is_checked(s3, bucket):
    """The oldest checksum too."""
    right = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=right)
    assert _error(s3.put_object, Bucket=bucket, Key="bad", Body=b"y", ContentMD5=right) == ("BadDigest", 400)
    assert _keys(s3.list_objects_v2(Bucket=bucket)) == ["k"]


@pytest.mark.parametrize("algorithm", _CHECKSUMS)
def test_unsigned_trailers_are_checked_and_kept(weed_store, s3, bucket, algorithm):
    """A trailing checksum of each algorithm is verified; this is the form in which the gate hands chunked uploads on."""
    header = f"x-amz-checksum-{algorithm.lower()}".encode()
    headers = [(b"x-amz-decoded-content-length", b"5"), (b"x-amz-trailer", header)]
    sent = {"headers": headers, "payload_hash": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
    right = _CHECKSUMS[algorithm].encode()
    wrong = base64.b64encode(bytes(len(base64.b64decode(right))))
    body = b"5\r\nhello\r\n0\r\n%b:%b\r\n\r\n"
    assert _put(weed_store, f"/{bucket}/k", sent=body % (header, right), **sent)[0] == 200
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ContentLength"]) == (right.decode(), 5)
    assert "ContentEncoding" not in head
    assert _put(weed_store, f"/{bucket}/bad", sent=body % (header, wrong), **sent)[0] == 400
    assert _put(weed_store, f"/{bucket}/bad", sent=b"5\r\nhel", **sent)[0] == 400
    assert _keys(s3.list_objects_v2(Bucket=bucket)) == ["k"]


def test_conditional_requests(s3, bucket):
    """If-Match, If-None-Match and the times, on reads and on writes."""
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert put["ETag"] == head["ETag"] == f'"{hashlib.md5(b"1").hexdigest()}"'
    assert _error(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=put["ETag"])[1] == 304
    assert _error(s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=head["LastModified"])[1] == 304
    assert _error(s3.get_object, Bucket=bucket, Key="k", IfMatch='"0"')[1] == 412
    assert _error(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")[1] == 412
    assert _error(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"0"')[1] == 412
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=put["ETag"])
    s3.put_object(Bucket=bucket, Key="new", Body=b"2", IfNoneMatch="*")


@pytest.mark.parametrize(
    ("wanted", "expected", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=3-5", b"345", "bytes 3-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
    ],
)
def test_ranges(s3, bucket, wanted, expected, content_range):
    """Ranges of every form; one beyond the end is an error."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    assert (got["Body"].read(), got["ContentRange"]) == (expected, content_range)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert _error(s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-") == ("InvalidRange", 416)


def test_multipart(s3, bucket):
    """Parts in any order, replaced, copied in; the ETag counts them; nothing is seen before the end."""
    size = 5 * 1024 * 1024
    s3.put_object(Bucket=bucket, Key="source", Body=b"s" * size)
    upload = {"Bucket": bucket, "Key": "k", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]}
    tags = {3: s3.upload_part(PartNumber=3, Body=b"c", **upload)["ETag"]}
    tags[1] = s3.upload_part(PartNumber=1, Body=b"x" * size, **upload)["ETag"]
    tags[1] = s3.upload_part(PartNumber=1, Body=b"a" * size, **upload)["ETag"]
    tags[2] = s3.upload_part_copy(PartNumber=2, CopySource=f"{bucket}/source", **upload)["CopyPartResult"]["ETag"]
    assert {part["PartNumber"] for part in s3.list_parts(**upload)["Parts"]} == {1, 2, 3}
    assert _keys(s3.list_objects_v2(Bucket=bucket)) == ["source"]
    parts = [{"PartNumber": number, "ETag": tags[number]} for number in (1, 2, 3)]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"a" * size + b"s" * size + b"c"
    assert got["ETag"].endswith('-3"')
    assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size - 1}-{size}")["Body"].read() == b"as"


def test_checksum_of_an_object_of_parts(s3, bucket):
    """boto3 asks for CRC-32: the object then carries the composite checksum of its parts."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32")
    upload = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    part = s3.upload_part(PartNumber=1, Body=b"hello", ChecksumAlgorithm="CRC32", **upload)
    assert part["ChecksumCRC32"] == _CHECKSUMS["CRC32"]
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]
    whole = zlib.crc32(base64.b64decode(part["ChecksumCRC32"])).to_bytes(4, "big")
    expected = base64.b64encode(whole).decode() + "-1"
    assert s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)["ChecksumCRC32"] == expected
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == expected


def test_parts_are_checked(s3, bucket):
    """A part's checksum is verified, and a completion must name the parts that there are."""
    upload = {"Bucket": bucket, "Key": "k", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]}
    assert _error(s3.upload_part, PartNumber=1, Body=b"x", ChecksumCRC32="AAAAAA==", **upload)[1] == 400
    s3.upload_part(PartNumber=1, Body=b"x", **upload)
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}
    assert _error(s3.complete_multipart_upload, MultipartUpload=parts, **upload) == ("InvalidPart", 400)
    s3.abort_multipart_upload(**upload)
    assert _error(s3.list_parts, **upload) == ("NoSuchUpload", 404)


def test_lists(s3, bucket):
    """A prefix is a raw string; pages, delimiters and start-after; keys in the order of their bytes."""
    keys = ["a", "a/1", "a/2", "ab", "b/1", "b/deep/2", "z", "é"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert _keys(s3.list_objects_v2(Bucket=bucket)) == keys
    assert _keys(s3.list_objects_v2(Bucket=bucket, Prefix="a")) == ["a", "a/1", "a/2", "ab"]
    assert _keys(s3.list_objects_v2(Bucket=bucket, Prefix="a/")) == ["a/1", "a/2"]
    assert _keys(s3.list_objects_v2(Bucket=bucket, StartAfter="ab")) == ["b/1", "b/deep/2", "z", "é"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    assert [key for page in pages for key in _keys(page)] == keys
    grouped = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert _keys(grouped) == ["a", "ab", "z", "é"]
    assert [entry["Prefix"] for entry in grouped["CommonPrefixes"]] == ["a/", "b/"]


def test_list_of_more_than_a_page(s3, bucket):
    """A thousand keys a page, and the next page goes on."""
    keys = [f"k{number:04}" for number in range(1005)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    first = s3.list_objects_v2(Bucket=bucket)
    assert (first["KeyCount"], first["IsTruncated"]) == (1000, True)
    assert [key for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket) for key in _keys(page)] == keys


def test_copy_and_metadata(s3, bucket):
    """A copy takes the metadata along, or replaces it."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "1"}, ContentType="text/x", CacheControl="no-cache")
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="same", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="new", CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE")
    same = s3.head_object(Bucket=bucket, Key="same")
    assert (same["Metadata"], same["ContentType"], same["CacheControl"]) == ({"a": "1"}, "text/x", "no-cache")
    assert s3.head_object(Bucket=bucket, Key="new")["Metadata"] == {"b": "2"}


def test_versions(s3, bucket):
    """With versioning, overwritten and deleted objects can be read by their version."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")["VersionId"]
    assert first != second
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    assert _error(s3.get_object, Bucket=bucket, Key="k") == ("NoSuchKey", 404)
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"
    assert {entry["VersionId"] for entry in s3.list_object_versions(Bucket=bucket)["Versions"]} == {first, second}


def test_tags(s3, bucket):
    """Objects and buckets have tags."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=2")
    assert {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]} == {
        "a": "1",
        "b": "2",
    }
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "c", "Value": "3"}]


def test_sse_s3(s3, bucket):
    """AES256 by request and by the bucket's default."""
    s3.put_object(Bucket=bucket, Key="asked", Body=b"x", ServerSideEncryption="AES256")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="default", Body=b"x")
    for key in ("asked", "default"):
        assert s3.get_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "AES256"
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_buckets(s3, bucket):
    """A missing bucket is not made on the way, a full one not deleted."""
    assert _error(s3.put_object, Bucket="never-made", Key="k", Body=b"x") == ("NoSuchBucket", 404)
    assert _error(s3.head_bucket, Bucket="never-made") == ("404", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert _error(s3.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_object(Bucket=bucket, Key="k")  # deleting twice is no error
    s3.delete_bucket(Bucket=bucket)
    assert _error(s3.delete_bucket, Bucket=bucket) == ("NoSuchBucket", 404)


def test_signatures(weed_store, s3, bucket):
    """Header and presigned V4 are verified."""
    wrong = s3_client(weed_store.endpoint_url, weed_store.access_key_id, "wrong")
    assert _error(wrong.list_objects_v2, Bucket=bucket) == ("SignatureDoesNotMatch", 403)
    unknown = s3_client(weed_store.endpoint_url, "unknown", "wrong")
    assert _error(unknown.list_objects_v2, Bucket=bucket) == ("InvalidAccessKeyId", 403)
    s3.put_object(Bucket=bucket, Key="a b+é", Body=b"x")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a b+é"})
    with opener.open(url) as answer:
        assert answer.read() == b"x"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        opener.open(url.replace("b%2B", "c%2B"))
    assert refusal.value.code == 403
    refusal.value.close()


# Differences from S3 -------------------------------------------------------------------------------------------------


def test_differs_payload_hash_is_not_checked(weed_store, bucket):
    """X-Amz-Content-SHA256 is not held against the body: `s3_body` does it for the gate. S3: XAmzContentSHA256Mismatch."""
    assert _put(weed_store, f"/{bucket}/k", body=b"signed", sent=b"altred")[0] == 200


def test_differs_wrong_trailer_is_called_incomplete(weed_store, bucket):
    """A wrong trailing checksum answers IncompleteBody: the gate says BadDigest, as S3 does."""
    crc = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big"))
    headers = [(b"x-amz-decoded-content-length", b"5"), (b"x-amz-trailer", b"x-amz-checksum-crc32")]
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % crc
    status, answer = _put(
        weed_store, f"/{bucket}/k", headers=headers, payload_hash="STREAMING-UNSIGNED-PAYLOAD-TRAILER", sent=body
    )
    assert (status, b"IncompleteBody" in answer) == (400, True)


def test_differs_chunked_encoding_is_kept(weed_store, s3, bucket):
    """`aws-chunked` stays in the stored Content-Encoding: the gate takes it out."""
    headers = [
        (b"content-encoding", b"aws-chunked"), (b"x-amz-decoded-content-length", b"5"),
        (b"x-amz-trailer", b"x-amz-checksum-crc32"),
    ]  # fmt: skip
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % _CHECKSUMS["CRC32"].encode()
    sent = {"headers": headers, "payload_hash": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "sent": body}
    assert _put(weed_store, f"/{bucket}/k", **sent)[0] == 200
    assert s3.head_object(Bucket=bucket, Key="k")["ContentEncoding"] == "aws-chunked"


def test_differs_own_bucket_again(s3, bucket):
    """Making an own bucket again is an error in us-east-1 too: the gate answers 200."""
    assert _error(s3.create_bucket, Bucket=bucket) == ("BucketAlreadyOwnedByYou", 409)


def test_differs_keys_are_paths(s3, bucket):
    """Empty segments vanish, dots are refused, a backslash becomes a slash. S3 keeps every key as it is."""
    s3.put_object(Bucket=bucket, Key="x//y", Body=b"1")
    s3.put_object(Bucket=bucket, Key="b\\c", Body=b"1")
    assert _keys(s3.list_objects_v2(Bucket=bucket)) == ["b/c", "x/y"]
    for key in ("a/.", "a/../b"):
        assert _error(s3.put_object, Bucket=bucket, Key=key, Body=b"1")[1] == 400


def test_differs_replaced_part_is_listed_twice(s3, bucket):
    """ListParts tells of a part that was sent again twice; completing takes the one that the ETag names."""
    upload = {"Bucket": bucket, "Key": "k", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]}
    s3.upload_part(PartNumber=1, Body=b"old", **upload)
    tag = s3.upload_part(PartNumber=1, Body=b"new", **upload)["ETag"]
    assert [part["PartNumber"] for part in s3.list_parts(**upload)["Parts"]] == [1, 1]
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **upload)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"


def test_differs_kms_is_an_internal_error(s3, bucket):
    """Without a key id `aws:kms` answers 500: the gate names the account's own key."""
    assert _error(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms") == (
        "InternalError",
        500,
    )


def test_differs_policies_ignore_case(weed_store, s3, bucket):
    """A session policy on `in/` reads `IN/` as well: `session_policy` warns of it. Lists are exact."""
    sts = boto3.client(
        "sts", endpoint_url=weed_store.endpoint_url, region_name="us-east-1",
        aws_access_key_id=weed_store.access_key_id, aws_secret_access_key=weed_store.secret_access_key,
    )  # fmt: skip
    arn = f"arn:aws:s3:::{bucket}"
    listing = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": arn,
        "Condition": {"StringLike": {"s3:prefix": "in/*"}},
    }
    reading = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/in/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reading, listing]})
    given = sts.assume_role(RoleArn=weed_store.embedded.role_arn, RoleSessionName="session", Policy=policy)[
        "Credentials"
    ]
    job = s3_client(weed_store.endpoint_url, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    s3.put_object(Bucket=bucket, Key="IN/k", Body=b"x")
    assert job.get_object(Bucket=bucket, Key="IN/k")["Body"].read() == b"x"
    assert _error(job.list_objects_v2, Bucket=bucket, Prefix="IN/") == ("AccessDenied", 403)
