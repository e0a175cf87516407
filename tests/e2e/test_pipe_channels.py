"""Pipe mode channels through boto3, on each runtime: what a program reads, epoch after epoch, and how a job ends."""

import base64
import gzip
import hashlib
import json
import random
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

import container_images
from each_runtime import CONTAINERS, EACH_RUNTIME
from server import new_name, wait
from unit.instance.readers import records

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)

READERS = (Path(__file__).parents[1] / "unit" / "instance" / "readers.py").read_text()

# Reads channels as the tests name them ("channel epoch reader"), and tells what it has read of each.
READ = (
    READERS
    + """
import base64, json, sys
root = "/opt/ml/input/data/"
print("first", sorted(os.listdir(root)))
for order in json.loads(open("/opt/ml/input/config/hyperparameters.json").read())["reads"].split(","):
    channel, epoch, reader = order.split()
    data = globals()[reader](f"{root}{channel}_{epoch}")
    print("read", channel, epoch, base64.b64encode(data).decode())
"""
)


@pytest.fixture(scope="module")
def bucket(request):
    return {}


@pytest.fixture
def data(server, bucket):
    """A bucket of this server with a few objects."""
    if server.home not in bucket:
        name = bucket[server.home] = server.bucket()
        s3 = server.client("s3")
        for n in range(6):
            s3.put_object(Bucket=name, Key=f"lines/{n}", Body=f"{n}\n".encode())
            s3.put_object(Bucket=name, Key=f"packed/{n}.gz", Body=gzip.compress(b"%d" % n * n))
        s3.put_object(Bucket=name, Key="lines/", Body=b"")
        s3.put_object(Bucket=name, Key="large/a", Body=large(1))
        s3.put_object(Bucket=name, Key="large/b", Body=large(2))
    return bucket[server.home]


def large(seed):
    """21 MB that are not all the same."""
    return random.Random(seed).randbytes(21_000_001)


def job(server, bucket, channels, reads=(), *, program=READ, **changes):
    """A request; each channel is (name, key, members of the channel, members of the S3DataSource)."""
    request = server.job(
        new_name("pipe"),
        bucket,
        program=program,
        channels=[(name, f"s3://{bucket}/{key}", source) for name, key, _, source in channels],
        HyperParameters={"reads": ",".join(reads)},
        **changes,
    )
    for made, (_, _, members, _) in zip(request["InputDataConfig"], channels, strict=False):
        made.update({"InputMode": "Pipe"} | members)
    return request


def run(server, *arguments, **changes):
    request = job(server, *arguments, **changes)
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])
    assert end["TrainingJobStatus"] == "Completed", (end, server.lines(end["TrainingJobName"]))
    return end


def read(server, end, host="algo-1"):
    """What the program has read, by channel and epoch; and what it saw in /opt/ml/input/data at first."""
    lines = server.lines(end["TrainingJobName"], host)
    found = [line.split(" ") for line in lines if line.startswith("read ")]
    (first,) = [line.removeprefix("first ") for line in lines if line.startswith("first ")]
    return {(channel, int(epoch)): base64.b64decode(data) for _, channel, epoch, data in found}, first


def test_epochs_of_several_channels_by_every_reader(server, data):
    """In any order of channels; what is there first is the FIFO of each, and no directory of its name."""
    channels = [("a", "lines/", {}, {}), ("b", "lines/1", {}, {})]
    reads = ["a 0 plain", "b 0 without_blocking", "b 1 polled", "a 1 without_blocking", "b 2 plain", "a 2 polled"]
    found, first = read(server, end := run(server, data, channels, reads))

    assert found == {("a", n): b"0\n1\n2\n3\n4\n5\n" for n in range(3)} | {("b", n): b"1\n" for n in range(3)}
    assert first == "['a_0', 'b_0', 'code', 'code-manifest']"
    assert [channel.get("InputMode") for channel in end["InputDataConfig"]] == ["Pipe", "Pipe", None]
    assert end["SecondaryStatusTransitions"][1]["Status"] == "Downloading"


def test_every_epoch_is_shuffled_anew_and_a_seed_says_how(server, data):
    """Two jobs with one seed read the same orders, epoch by epoch."""
    channels = [("a", "lines/", {"ShuffleConfig": {"Seed": 11}}, {})]
    reads = [f"a {n} plain" for n in range(4)]
    one, two = (read(server, run(server, data, channels, reads))[0] for _ in range(2))

    assert one == two
    assert len(set(one.values())) > 1
    assert {"".join(sorted(epoch.decode().split())) for epoch in one.values()} == {"012345"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_two_hosts_share_each_epoch(server, data, shuffled):
    """ShardedByS3Key: together everything, nobody the same."""
    members = {"ShuffleConfig": {"Seed": 1}} if shuffled else {}
    channels = [("a", "lines/", members, {"S3DataDistributionType": "ShardedByS3Key"})]
    request = job(server, data, channels, [f"a {n} plain" for n in range(3)])
    request["ResourceConfig"]["InstanceCount"] = 2
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])
    assert end["TrainingJobStatus"] == "Completed", end
    hosts = [read(server, end, host)[0] for host in ("algo-1", "algo-2")]

    for epoch in range(3):
        shares = [host["a", epoch].decode().split() for host in hosts]
        assert list(map(len, shares)) == [3, 3]
        assert sorted(shares[0] + shares[1]) == list("012345")
        if not shuffled:
            assert shares == [list("024"), list("135")]


def test_packed_objects_records_and_the_configuration_file(server, data):
    """Gzip is unpacked, RecordIO frames each object, both unpack first; inputdataconfig.json is as documented."""
    wrapper = {"RecordWrapperType": "RecordIO"}
    channels = [
        ("zip", "packed/", {"CompressionType": "Gzip"}, {}),
        ("record", "lines/", wrapper | {"ContentType": "text/csv"}, {"S3DataDistributionType": "ShardedByS3Key"}),
        ("both", "packed/", wrapper | {"CompressionType": "Gzip"}, {}),
    ]
    program = READ + "print(open('/opt/ml/input/config/inputdataconfig.json').read())"
    end = run(server, data, channels, ["zip 0 plain", "record 0 plain", "both 0 plain"], program=program)
    found, _ = read(server, end)

    assert found["zip", 0] == b"122333444455555"
    assert records(found["record", 0]) == [b"%d\n" % n for n in range(6)]
    assert records(found["both", 0]) == [b"%d" % n * n for n in range(6)]
    config = server.lines(end["TrainingJobName"])[-1]
    assert config.startswith(
        '{"zip":{"TrainingInputMode":"Pipe","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"},'
        '"record":{"ContentType":"text/csv","TrainingInputMode":"Pipe","S3DistributionType":"ShardedByS3Key",'
        '"RecordWrapperType":"RecordIO"},'
    )


def test_manifests_say_what_is_sent(server, data):
    """A ManifestFile in its order; an augmented one line by line, the attributes in the order of AttributeNames, from
    several buckets.
    """
    s3 = server.client("s3")
    other = server.bucket()
    s3.put_object(Bucket=other, Key="images/x", Body=b"X")
    manifest = [{"prefix": f"s3://{data}/lines/"}, "5", "0", "5"]
    s3.put_object(Bucket=data, Key="m/plain.json", Body=json.dumps(manifest).encode())
    lines = [
        {"source-ref": f"s3://{other}/images/x", "label": 7, "unused": 1},
        {"label": "äh", "source-ref": f"s3://{data}/lines/3"},
    ]
    s3.put_object(Bucket=data, Key="m/augmented.jsonl", Body="\n".join(map(json.dumps, lines)).encode())
    augmented = {"S3DataType": "AugmentedManifestFile", "AttributeNames": ["source-ref", "label"]}
    channels = [
        ("plain", "m/plain.json", {}, {"S3DataType": "ManifestFile"}),
        ("augmented", "m/augmented.jsonl", {"RecordWrapperType": "RecordIO"}, augmented),
        ("bare", "m/augmented.jsonl", {}, augmented),
    ]
    found, _ = read(server, run(server, data, channels, [f"{name} 0 plain" for name, *_ in channels]))

    assert found["plain", 0] == b"5\n0\n5\n"
    assert found["bare", 0] == "X73\näh".encode()
    assert records(found["augmented", 0]) == [b"X", b"7", b"3\n", "äh".encode()]


def test_large_objects_come_through_and_an_early_close_is_no_error(server, data):
    """Byte for byte; a reader that has seen enough goes on with the next epoch."""
    program = """
import hashlib, os, time
def wait(path):
    while not os.path.exists(path): time.sleep(0.01)
    return path
with open("/opt/ml/input/data/big_0", "rb") as file:
    print(len(file.read(1000)))
for epoch in (1, 2):
    with open(wait(f"/opt/ml/input/data/big_{epoch}"), "rb") as file:
        print(hashlib.sha256(file.read()).hexdigest())
"""
    end = run(server, data, [("big", "large/", {}, {})], program=program)

    assert server.lines(end["TrainingJobName"]) == ["1000", *[hashlib.sha256(large(1) + large(2)).hexdigest()] * 2]


def test_a_program_that_ends_while_its_feeder_waits_has_ended(server, data):
    """In the middle of an epoch, and without having read anything at all of another."""
    program = "file = open('/opt/ml/input/data/big_0', 'rb', buffering=0)\nprint(len(file.read(10)))"
    channels = [("big", "large/", {}, {}), ("never", "lines/", {}, {})]
    end = run(server, data, channels, program=program)

    assert server.lines(end["TrainingJobName"]) == ["10"]


def test_a_stop_while_the_program_reads(server, data):
    """SIGTERM reaches a program that waits for its data, here in front of a FIFO that nobody will ever feed."""
    program = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
data = open("/opt/ml/input/data/a_0", "rb").read()
os.mkfifo("/tmp/never")
print("waiting", flush=True)
open("/tmp/never", "rb")
"""
    request = job(server, data, [("a", "lines/", {}, {})], program=program)
    name = request["TrainingJobName"]
    server.client("sagemaker").create_training_job(**request)
    server.reach(name, "Training")
    wait(lambda: server.lines(name), until=lambda lines: lines == ["waiting"], why=server.log_text)
    asked = time.monotonic()
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    end = server.end(name)

    assert end["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - asked < 60  # not the two minutes after which it would be killed


def test_data_reach_a_program_without_network(server, data):
    """EnableNetworkIsolation: pipes are none."""
    found, _ = read(server, run(server, data, [("a", "lines/", {}, {})], ["a 0 plain"], EnableNetworkIsolation=True))

    assert found["a", 0] == b"0\n1\n2\n3\n4\n5\n"


def test_whoever_the_program_runs_as_can_read(server, data):
    """The FIFOs are anybody's to open: also for an image whose user is not root."""
    program = READ + "\nprint(os.getuid())"
    request = job(server, data, [("a", "lines/", {}, {})], ["a 0 plain", "a 1 without_blocking"], program=program)
    if server.runtime is CONTAINERS:
        image = container_images.changed_image(server.runtime.image, ("USER ml",))
        request["AlgorithmSpecification"]["TrainingImage"] = image
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])

    assert end["TrainingJobStatus"] == "Completed", end
    assert set(read(server, end)[0].values()) == {b"0\n1\n2\n3\n4\n5\n"}
    if server.runtime is CONTAINERS:
        assert server.lines(request["TrainingJobName"])[-1] == "1234"


@pytest.mark.parametrize(
    ("key", "members", "source", "reason"),
    [
        ("packed/0.gz", {"CompressionType": "Gzip"}, {"S3DataType": "ManifestFile"}, "the manifest is not UTF-8"),
        ("lines/", {"CompressionType": "Gzip"}, {}, "/lines/0 is not in gzip format"),
    ],
)
def test_data_that_are_no_good_fail_the_job(server, data, key, members, source, reason):
    """With a ClientError, before the program starts or in the middle of it."""
    request = job(server, data, [("a", key, members, source)], ["a 0 plain"])
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])

    assert end["FailureReason"].startswith("ClientError: Data download failed:"), end
    assert reason in end["FailureReason"]
    assert not any(line.startswith("read ") for line in server.lines(request["TrainingJobName"]))


FILE_SYSTEM = {
    "FileSystemId": "fs-00000000000",
    "FileSystemAccessMode": "ro",
    "FileSystemType": "EFS",
    "DirectoryPath": "/d",
}
AUGMENTED = {"S3DataType": "AugmentedManifestFile"}


@pytest.mark.parametrize(
    ("members", "source", "reason"),
    [
        ({"InputMode": "File", "CompressionType": "Gzip"}, {}, "in the input mode Pipe only, not in File"),
        ({"InputMode": "File", "RecordWrapperType": "RecordIO"}, {}, "in the input mode Pipe only, not in File"),
        ({}, AUGMENTED, "AttributeNames must be given"),
        ({}, {"AttributeNames": ["a"]}, "AttributeNames must be given"),
        ({}, AUGMENTED | {"AttributeNames": [f"a{n}" for n in range(17)]}, "less than or equal to 16"),
        ({"DataSource": {"FileSystemDataSource": FILE_SYSTEM}}, {}, "needs the input mode File, not Pipe"),
        ({"ChannelName": "code_0", "InputMode": "File"}, {}, "cannot have this name"),
    ],
)
def test_what_makes_no_sense_is_refused(server, data, members, source, reason):
    """When the job is created, by name."""
    request = job(server, data, [("a", "lines/0", members, source)])
    if members.get("ChannelName"):
        request["InputDataConfig"][1]["InputMode"] = "Pipe"
    with pytest.raises(ClientError) as refused:
        server.client("sagemaker").create_training_job(**request)

    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert reason in refused.value.response["Error"]["Message"]
