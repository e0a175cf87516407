"""S3 around a job, as boto3's transfer manager does it: parts, ranges, copies, odd keys, presigned URLs, misses."""

import hashlib
import os
import urllib.request
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from common import found, told

BUCKET = told()["bucket"]
ODD = "odd/a b+c=d&é~!'()*.txt"
s3 = boto3.client("s3")


def code_of(call, **arguments):
    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]
    return None


big = os.urandom(20 * 1024 * 1024 + 7)
Path("big").write_bytes(big)
s3.upload_file("big", BUCKET, "x/big", Config=TransferConfig(multipart_threshold=8 << 20, max_concurrency=4))
s3.download_file(BUCKET, "x/big", "back")
s3.put_object(Bucket=BUCKET, Key="x/empty", Body=b"")
s3.put_object(Bucket=BUCKET, Key=ODD, Body=b"odd", Metadata={"who": "me"}, ContentType="text/plain")
s3.copy({"Bucket": BUCKET, "Key": ODD}, BUCKET, "x/copy")
head = s3.head_object(Bucket=BUCKET, Key="x/copy")
url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": ODD}, ExpiresIn=60)
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
listed = sorted(item["Key"] for page in pages for item in page["Contents"])
deleted = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in ("x/empty", "x/none")]})
with urllib.request.urlopen(url) as answer:
    presigned = answer.read().decode()
found(
    same=hashlib.sha256(Path("back").read_bytes()).digest() == hashlib.sha256(big).digest(),
    ranged=s3.get_object(Bucket=BUCKET, Key="x/big", Range="bytes=5-14")["Body"].read() == big[5:15],
    copied=[head["ContentLength"], head["ContentType"], head["Metadata"]],
    listed=listed,
    presigned=presigned,
    deleted=sorted(item["Key"] for item in deleted["Deleted"]),
    misses=[code_of(s3.head_object, Key="none"), code_of(s3.get_object, Key="none")],
    no_bucket=code_of(lambda Bucket: s3.list_objects_v2(Bucket=Bucket + "-none")),
    buckets=BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]],
)
