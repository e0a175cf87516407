"""ManifestFile channels: what a job gets, what it may read, and how it fails, on a real server."""

import json

import pytest
from botocore.exceptions import ClientError

from server import new_name

pytest_plugins = ["server"]

# Tells what is in the channel, and in the list beside it.
SHOW = """
import json, os, sys
root = "/opt/ml/input/data/"
for top, _, names in sorted(os.walk(root + "train")):
    for name in sorted(names):
        path = os.path.join(top, name)
        print(os.path.relpath(path, root + "train"), open(path).read())
print(repr(open(root + "train-manifest").read()))
print(json.load(open("/opt/ml/input/config/inputdataconfig.json"))["train"])
"""


@pytest.fixture(scope="module")
def bucket(server):
    bucket = server.bucket()
    s3 = server.client("s3")
    for n in range(5):
        s3.put_object(Bucket=bucket, Key=f"pool/part-{n}/data", Body=f"{n}".encode())
    s3.put_object(Bucket=bucket, Key="elsewhere/secret", Body=b"not in any manifest")
    return bucket


def manifest(server, bucket, document):
    key = f"manifests/{new_name()}.json"
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    server.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


def request(server, bucket, uri, **changes):
    more = changes.pop("source", {})
    channel = ("train", uri, {"S3DataType": "ManifestFile"} | more)
    return server.job(new_name("manifest"), bucket, program=SHOW, channels=[channel], **changes)


def run(server, bucket, uri, **changes):
    job = request(server, bucket, uri, **changes)
    server.client("sagemaker").create_training_job(**job)
    return server.end(job["TrainingJobName"])


def test_the_objects_are_there_under_their_suffixes(server, bucket):
    """Those that are named and no others; the list beside the channel has them in the manifest's order."""
    names = ["part-3/data", "part-1/data", "part-3/data"]
    uri = manifest(server, bucket, [{"prefix": f"s3://{bucket}/pool/"}, *names])
    end = run(server, bucket, uri)

    assert end["TrainingJobStatus"] == "Completed", end
    assert end["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataType"] == "ManifestFile"
    listed = "pool/\n" + "".join(f"s3://{bucket}/pool/{name}\n" for name in names)
    assert server.lines(end["TrainingJobName"]) == [
        "part-1/data 1",
        "part-3/data 3",
        repr(listed),
        "{'TrainingInputMode': 'File', 'S3DistributionType': 'FullyReplicated', 'RecordWrapperType': 'None'}",
    ]


def test_shards_follow_the_order_of_the_manifest(server, bucket):
    """Entry i goes to host i mod n, whatever its key."""
    uri = manifest(server, bucket, [{"prefix": f"s3://{bucket}/pool/part-"}, "4/data", "0/data", "2/data"])
    job = request(server, bucket, uri, source={"S3DataDistributionType": "ShardedByS3Key"})
    job["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "FullyReplicated"
    job["ResourceConfig"]["InstanceCount"] = 2
    server.client("sagemaker").create_training_job(**job)
    name = server.end(job["TrainingJobName"])["TrainingJobName"]

    seen = [server.lines(name, host)[:-2] for host in ("algo-1", "algo-2")]
    assert seen == [["2/data 2", "4/data 4"], ["0/data 0"]]
    assert server.lines(name, "algo-1")[-2] == server.lines(name, "algo-2")[-2]


def test_the_manifest_must_be_there_when_the_job_is_created(server, bucket):
    """An object whose key merely begins like it is not it; what it says is not looked at."""
    uri = manifest(server, bucket, b"no JSON")
    for missing in (
        uri.removesuffix(".json"),
        uri + "x",
        f"s3://{bucket}/manifests/",
        f"s3://{bucket}",
        "s3://nowhere/m",
    ):
        with pytest.raises(ClientError, match="No S3 objects found under S3 URL") as caught:
            server.client("sagemaker").create_training_job(**request(server, bucket, missing))
        assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"no JSON", "the manifest is no JSON: Expecting value at line 1, column 1"),
        (b"", "the manifest is no JSON"),
        ([{"prefix": "s3://BUCKET/pool/"}], "the manifest names no objects"),
        ([{"prefix": "s3://BUCKET/pool/"}, "part-1/data", "part-9/data"], "NoSuchKey (404)"),
        ([{"prefix": "s3://BUCKET/pool/"}, "../elsewhere/secret"], "pool/../elsewhere/secret"),
        ([{"prefix": "s3://nowhere/pool/"}, "x"], "(404): Not Found [HEAD s3://nowhere/pool/x]"),
        ([{"prefix": "s3://BUCKET/po*l/"}, "x"], "the prefix of the manifest cannot be used"),
    ],
)
def test_a_manifest_that_is_no_good_fails_the_job(server, bucket, document, reason):
    """With a ClientError that says what is wrong with it."""
    if not isinstance(document, bytes):
        document = json.dumps(document).replace("BUCKET", bucket).encode()
    end = run(server, bucket, manifest(server, bucket, document))

    assert end["FailureReason"].startswith("ClientError: Data download failed:"), end
    assert reason in end["FailureReason"]
    assert [step["Status"] for step in end["SecondaryStatusTransitions"]][-1] == "Failed"


def test_an_augmented_manifest_is_for_pipe_mode(server, bucket):
    """Refused by name in File mode."""
    uri = manifest(server, bucket, b"{}")
    job = request(server, bucket, uri, source={"S3DataType": "AugmentedManifestFile", "AttributeNames": ["a"]})
    with pytest.raises(ClientError, match="AugmentedManifestFile is supported in the input mode Pipe only"):
        server.client("sagemaker").create_training_job(**job)
