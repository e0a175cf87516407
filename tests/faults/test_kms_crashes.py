"""`kill -9` of the server: keys that it has answered for are there afterwards, and what is under them is readable."""

import json

from server import new_name

pytest_plugins = ["server"]

PROGRAM = """
import os, random, time
while not os.path.exists("/opt/ml/go"):
    time.sleep(0.05)
open("/opt/ml/model/small", "w").write("x")
open("/opt/ml/model/large", "wb").write(random.Random(3).randbytes(20 << 20))
"""


def store_process(server):
    """The pid that the server says its store has, and whether it was adopted."""
    lines = [json.loads(line) for line in server.log_text().splitlines() if line.startswith("{")]
    found = [line for line in lines if line["action"] in {"store.started", "store.adopted", "store.replaced"}]
    return found[-1]["pid"], found[-1]["action"]


def test_artifacts_are_readable_after_the_server_was_killed(own_server):
    """With the same home, keys, aliases and their states are as they were; the store goes on asking for them."""
    kms = own_server.client("kms")
    key = kms.create_key(Description="mine")["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=key)
    disabled = kms.create_key()["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=disabled)
    bucket, name = own_server.bucket(), new_name("kms")
    request = own_server.job(name, bucket, program=PROGRAM, OutputDataConfig={"KmsKeyId": "alias/mine"})
    own_server.client("sagemaker").create_training_job(**request)
    own_server.reach(name, "Training")
    pid, _ = store_process(own_server)

    own_server.kill()
    own_server.start()
    assert store_process(own_server) == (pid, "store.adopted")
    own_server.let_go(name)
    description = own_server.end(name)
    assert description["TrainingJobStatus"] == "Completed", description

    own_server.kill()
    own_server.start()
    assert own_server.model(description)["small"] == b"x"
    head = own_server.client("s3").head_object(Bucket=bucket, Key=f"out/{name}/output/model.tar.gz")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    kms = own_server.client("kms")
    assert kms.describe_key(KeyId="alias/mine")["KeyMetadata"]["Description"] == "mine"
    assert kms.describe_key(KeyId=disabled)["KeyMetadata"]["KeyState"] == "Disabled"


def test_an_upload_goes_on_when_the_server_is_back(own_server, tmp_path):
    """Without it there are no keys for the artifacts: the upload waits for some minutes, and here it need not."""
    held = tmp_path / "held"
    held.touch()
    own_server.stop()
    own_server.start(CLARY_FAULT_HOLD=f"instance.uploading:{held}")
    key = own_server.client("kms").create_key()["KeyMetadata"]["Arn"]
    bucket, name = own_server.bucket(), new_name("kms")
    request = own_server.job(name, bucket, program=PROGRAM, OutputDataConfig={"KmsKeyId": key})
    own_server.client("sagemaker").create_training_job(**request)
    own_server.reach(name, "Training")
    own_server.let_go(name)
    own_server.reach(name, "Uploading")

    own_server.kill()
    held.unlink()
    own_server.start()
    description = own_server.end(name)
    assert description["TrainingJobStatus"] == "Completed", description
    assert own_server.model(description)["small"] == b"x"


def test_no_key_that_was_answered_for_is_lost(own_server):
    """The server is killed as soon as it has answered, again and again."""
    made = {}
    for number in range(3):
        kms = own_server.client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        made[key] = kms.encrypt(KeyId=key, Plaintext=str(number).encode())["CiphertextBlob"]
        own_server.kill()
        own_server.start()
    kms = own_server.client("kms")
    opened = [kms.decrypt(CiphertextBlob=sealed)["Plaintext"] for sealed in made.values()]
    assert opened == [str(number).encode() for number in range(3)]
    assert set(made) < {key["KeyId"] for key in kms.list_keys(Limit=1000)["Keys"]}
