"""OutputDataConfig.KmsKeyId: what it does to the artifacts in S3."""

import pytest

from server import new_name

pytest_plugins = ["server"]

ARN = "arn:aws:kms:us-east-1:000000000000:alias/aws/s3"
PROGRAM = """
import os
open("/opt/ml/model/small", "w").write("x")
open("/opt/ml/model/large", "wb").write(os.urandom(9 << 20))
open("/opt/ml/output/data/eval", "w").write("good")
"""


@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
@pytest.mark.parametrize(("key", "encryption"), [("alias/aws/s3", "AES256"), (ARN, "AES256"), ("", None)])
def test_artifacts_are_encrypted_if_a_key_is_given(server, compression, key, encryption):
    """With the account's own key every artifact is encrypted, in whatever way it is uploaded; without, none is."""
    bucket, name = server.bucket(), new_name("sealed")
    output = {"KmsKeyId": key, "CompressionType": compression}
    description = server.run(name, bucket, program=PROGRAM, OutputDataConfig=output)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert description["OutputDataConfig"]["KmsKeyId"] == key
    s3 = server.client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=f"out/{name}/")["Contents"]]
    assert len(keys) == (2 if compression == "GZIP" else 3)
    found = {each: s3.head_object(Bucket=bucket, Key=each).get("ServerSideEncryption") for each in keys}
    assert found == dict.fromkeys(keys, encryption)
    if compression == "GZIP":
        assert server.model(description)["small"] == b"x"
