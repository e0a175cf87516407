"""OutputDataConfig.KmsKeyId: what it does to the artifacts in S3, and encrypted objects as input."""

import hashlib

import pytest
from botocore.exceptions import ClientError

from fuse_mounts import mounted
from server import new_name, wait

pytest_plugins = ["server", "fuse_mounts"]

PROGRAM = """
import random
open("/opt/ml/model/small", "w").write("x")
open("/opt/ml/model/large", "wb").write(random.Random(3).randbytes(40 << 20))
open("/opt/ml/output/data/eval", "w").write("good")
"""
DIGEST = """
import hashlib, os
for directory, _, names in os.walk("/opt/ml/input/data/in"):
    for name in names:
        with open(os.path.join(directory, name), "rb") as file:
            print("digest", name, hashlib.file_digest(file, "md5").hexdigest())
"""
PIPED = """
import hashlib
with open("/opt/ml/input/data/in_0", "rb") as pipe:
    print("digest", "pipe", hashlib.file_digest(pipe, "md5").hexdigest())
"""


@pytest.fixture(scope="module")
def key(server):
    """The ARN of a key of one's own."""
    return server.client("kms").create_key()["KeyMetadata"]["Arn"]


@pytest.fixture(scope="module")
def alias(server, key):
    server.client("kms").create_alias(AliasName="alias/mine", TargetKeyId=key)
    return "alias/mine"


def keys_of(server, bucket, prefix):
    return [entry["Key"] for entry in server.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]


def encryption(server, bucket, key):
    head = server.client("s3").head_object(Bucket=bucket, Key=key)
    return head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")


@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
@pytest.mark.parametrize("named", ["id", "ARN", "alias", "alias ARN", "alias/aws/s3", ""])
def test_artifacts_are_encrypted_if_a_key_is_given(server, key, alias, compression, named):
    """Every artifact, in whatever way it is uploaded, is under the key that was named; without, none is encrypted."""
    given = {
        "id": key.rpartition("/")[2], "ARN": key, "alias": alias, "alias ARN": key.partition(":key/")[0] + ":" + alias
    }.get(named, named)  # fmt: skip
    bucket, name = server.bucket(), new_name("sealed")
    output = {"KmsKeyId": given, "CompressionType": compression}
    description = server.run(name, bucket, program=PROGRAM, OutputDataConfig=output)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert description["OutputDataConfig"]["KmsKeyId"] == given
    keys = keys_of(server, bucket, f"out/{name}/")
    assert len(keys) == (2 if compression == "GZIP" else 3)
    own = server.client("kms").describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
    expected = (None, None) if not named else ("aws:kms", own if named == "alias/aws/s3" else key)
    assert {encryption(server, bucket, each) for each in keys} == {expected}
    if compression == "GZIP":
        assert server.model(description)["small"] == b"x"


def test_an_encrypted_model_is_the_input_of_the_next_job(server, key, request):
    """In each input mode, byte for byte: it is larger than what any of them reads at once."""
    bucket, first = server.bucket(), new_name("first")
    output = {"KmsKeyId": key, "CompressionType": "NONE"}
    assert server.run(first, bucket, program=PROGRAM, OutputDataConfig=output)["TrainingJobStatus"] == "Completed"
    model = f"out/{first}/output/model/large"
    body = server.client("s3").get_object(Bucket=bucket, Key=model)["Body"].read()
    assert len(body) == 40 << 20
    digest = hashlib.md5(body).hexdigest()

    for mode in ("File", "Pipe", "FastFile"):
        if mode == "FastFile":
            request.getfixturevalue("needs_fuse")
        name = new_name(mode.lower())
        job = server.job(
            name, bucket, program=PIPED if mode == "Pipe" else DIGEST, channels=[("in", f"s3://{bucket}/{model}", {})],
            OutputDataConfig={"KmsKeyId": key},
        )  # fmt: skip
        channel = next(each for each in job["InputDataConfig"] if each["ChannelName"] == "in")
        channel["InputMode"] = mode
        server.client("sagemaker").create_training_job(**job)
        end = server.end(name)
        assert end["TrainingJobStatus"] == "Completed", (mode, end, server.lines(name))
        assert [line.split()[-1] for line in server.lines(name) if line.startswith("digest")] == [digest], mode
    wait(lambda: mounted(server.home), until=lambda left: not left)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("alias/nobody", "Alias arn:aws:kms:us-east-1:000000000000:alias/nobody is not found"),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", "does not exist"),
        ("arn:aws:kms:eu-west-1:000000000000:alias/aws/s3", "Invalid arn eu-west-1"),
    ],
)
def test_a_key_that_is_not_there_is_refused_at_create(server, given, words):
    """In KMS's words; no job is made."""
    bucket, name = server.bucket(), new_name("refused")
    with pytest.raises(ClientError, match=words) as refusal:
        server.client("sagemaker").create_training_job(**server.job(name, bucket, OutputDataConfig={"KmsKeyId": given}))
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="Requested resource not found"):
        server.client("sagemaker").describe_training_job(TrainingJobName=name)


def test_a_disabled_key_is_refused_at_create(server):
    kms = server.client("kms")
    disabled = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=disabled)
    request = server.job(new_name("refused"), server.bucket(), OutputDataConfig={"KmsKeyId": disabled})
    with pytest.raises(ClientError, match="is disabled"):
        server.client("sagemaker").create_training_job(**request)


def test_the_buckets_default_key_does_for_a_job_that_names_none(server, key):
    """Small artifacts and those in parts; and without a key it is the account's own."""
    own = server.client("kms").describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
    for rule, expected in (({"KMSMasterKeyID": key}, key), ({}, own)):
        bucket, name = server.bucket(), new_name("default")
        rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"} | rule}]
        server.client("s3").put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
        description = server.run(name, bucket, program=PROGRAM, OutputDataConfig={"CompressionType": "NONE"})
        assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
        found = {encryption(server, bucket, each) for each in keys_of(server, bucket, f"out/{name}/")}
        assert found == {("aws:kms", expected)}
