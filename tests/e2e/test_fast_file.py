"""FastFile channels through boto3, on each runtime: what a program sees and reads, and how a job ends."""

import hashlib
import json
import random

import pytest
from botocore.exceptions import ClientError

import container_images
from each_runtime import CONTAINERS, EACH_RUNTIME
from fuse_mounts import mounted
from server import new_name, wait

pytest_plugins = ["server", "fuse_mounts"]
pytestmark = [
    pytest.mark.usefixtures("needs_fuse"),
    pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True),
]

SHOW = """
import hashlib, json, os
root, found = "/opt/ml/input/data/", {}
print("first", sorted(os.listdir(root)))
for directory, directories, files in os.walk(root + "in"):
    for name in directories + files:
        path = directory + "/" + name
        data = None if name in directories else hashlib.md5(open(path, "rb").read()).hexdigest()
        found[path[len(root) + 3:]] = [oct(os.stat(path).st_mode & 0o7777), os.stat(path).st_size if data else None, data]
print("found", json.dumps(found))
print("mode", json.load(open("/opt/ml/input/config/inputdataconfig.json"))["in"]["TrainingInputMode"])
for attempt in ("open(root + 'in/new', 'w')", "os.remove(root + 'in/a')", "os.chmod(root + 'in/a', 0)", "open(root + 'in/a', 'a')"):
    try:
        eval(attempt)
        print("done", attempt)
    except OSError as error:
        print("not", error.strerror)
"""


@pytest.fixture(scope="module")
def buckets():
    return {}


@pytest.fixture
def data(server, buckets):
    """A bucket of this server with a few objects."""
    if server.home not in buckets:
        name = buckets[server.home] = server.bucket()
        for key, body in OBJECTS.items():
            server.client("s3").put_object(Bucket=name, Key=key, Body=body)
    return buckets[server.home]


LARGE = random.Random(9).randbytes(21_000_001)
OBJECTS = {
    "in/a": b"aaa",
    "in/empty": b"",
    "in/b/c/d e.txt": b"d",
    "in/b/ä日*'\".csv": b"odd",
    "in/marker/": b"",
    "in/large": LARGE,
    "part-1/x": b"1",
    "part-2/y": b"2",
    "one.csv": b"one",
}


def job(server, bucket, channels, *, program=SHOW, **changes):
    """A request; each channel is (name, key, members of the channel, members of the S3DataSource)."""
    request = server.job(
        new_name("fast"),
        bucket,
        program=program,
        channels=[(name, f"s3://{bucket}/{key}", source) for name, key, _, source in channels],
        **changes,
    )
    for made, (_, _, members, _) in zip(request["InputDataConfig"], channels, strict=False):
        made.update({"InputMode": "FastFile"} | members)
    return request


def run(server, *arguments, **changes):
    request = job(server, *arguments, **changes)
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])
    assert end["TrainingJobStatus"] == "Completed", (end, server.lines(end["TrainingJobName"]))
    return end


def begun(server, name):
    """Wait until the program of a job has said so; the directory of its instance."""
    outputs = wait(
        lambda: [*(server.home / "instances").glob(f"{name}-*/output.raw")],
        until=lambda found: found and "begin" in found[0].read_text(),
        why=server.log_text,
    )
    return outputs[0].parent


def said(server, end, word, host="algo-1"):
    """What the program printed after a word."""
    lines = server.lines(end["TrainingJobName"], host)
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


def files(found):
    return {path: row[2] for path, row in json.loads(found).items() if row[2]}


def digests(prefix):
    return {
        key.removeprefix(prefix): hashlib.md5(body).hexdigest()
        for key, body in OBJECTS.items()
        if key.startswith(prefix) and not key.endswith("/")
    }


def test_a_channel_is_a_read_only_directory_of_all_objects(server, data):
    """By their names, with their bytes; nothing can be changed, and nothing stays mounted."""
    end = run(server, data, [("in", "in/", {}, {})])
    [found] = said(server, end, "found")

    assert files(found) == digests("in/")
    rows = json.loads(found)
    assert {path: rows[path][:2] for path in ("a", "b", "b/c", "marker", "large")} == {
        "a": ["0o444", 3],
        "b": ["0o555", None],
        "b/c": ["0o555", None],
        "marker": ["0o555", None],
        "large": ["0o444", len(LARGE)],
    }
    assert said(server, end, "first") == ["['code', 'code-manifest', 'in', 'in-manifest']"]
    assert said(server, end, "mode") == ["FastFile"]
    assert said(server, end, "not") == ["Read-only file system"] * 4
    assert not said(server, end, "done")
    assert [channel.get("InputMode") for channel in end["InputDataConfig"]] == ["FastFile", None]
    wait(lambda: mounted(server.home), until=lambda left: not left)


def test_all_channels_by_the_mode_of_the_job(server, data):
    """TrainingInputMode FastFile: the program's own code is read so, too. Without any network."""
    request = job(server, data, [("in", "in", {}, {})], EnableNetworkIsolation=True)
    request["AlgorithmSpecification"]["TrainingInputMode"] = "FastFile"
    for channel in request["InputDataConfig"]:
        channel.pop("InputMode", None)
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])

    assert end["TrainingJobStatus"] == "Completed", (end, server.lines(end["TrainingJobName"]))
    assert files(said(server, end, "found")[0]) == digests("in/")


def test_two_hosts_share_the_objects(server, data):
    """ShardedByS3Key: together everything, nobody the same."""
    channels = [("in", "in/", {}, {"S3DataDistributionType": "ShardedByS3Key"})]
    request = job(server, data, channels)
    request["ResourceConfig"]["InstanceCount"] = 2
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])
    assert end["TrainingJobStatus"] == "Completed", end
    hosts = [files(said(server, end, "found", host)[0]) for host in ("algo-1", "algo-2")]

    assert set(hosts[0]).isdisjoint(hosts[1])
    assert hosts[0] | hosts[1] == digests("in/")
    assert abs(len(hosts[0]) - len(hosts[1])) <= 1


def test_one_object_is_a_directory_with_it(server, data):
    """As in File mode."""
    program = "import os; print(os.listdir('/opt/ml/input/data/in'), open('/opt/ml/input/data/in/one.csv').read())"
    end = run(server, data, [("in", "one.csv", {}, {})], program=program)

    assert server.lines(end["TrainingJobName"]) == ["['one.csv'] one"]


READ = """
import hashlib, mmap, os, random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
path = "/opt/ml/input/data/in/large"
size = os.path.getsize(path)
def digest(_):
    return hashlib.md5(open(path, "rb").read()).hexdigest()
def pieces(seed):
    rng, file = random.Random(seed), open(path, "rb", buffering=0)
    return [(start, file.seek(start) and None, file.read(5000).hex()) for start in (rng.randrange(size) for _ in range(40))]
with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    print(hashlib.md5(mapped).hexdigest())
with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
    print(*set(pool.map(digest, range(4))))
    whole = open(path, "rb").read()
    print(all(whole[start:start + 5000].hex() == data for found in pool.map(pieces, range(4)) for start, _, data in found))
"""


def test_whatever_the_way_of_reading(server, data):
    """Mapped into memory, here and there, and by several processes at once."""
    end = run(server, data, [("in", "in/", {}, {})], program=READ)

    assert server.lines(end["TrainingJobName"]) == [hashlib.md5(LARGE).hexdigest()] * 2 + ["True"]


def test_whoever_the_program_runs_as_can_read(server, data):
    """Also an image whose user is not root."""
    request = job(
        server,
        data,
        [("in", "in/", {}, {})],
        program="import os; print(os.getuid(), open('/opt/ml/input/data/in/a').read())",
    )
    if server.runtime is CONTAINERS:
        image = container_images.changed_image(server.runtime.image, ("USER ml",))
        request["AlgorithmSpecification"]["TrainingImage"] = image
    server.client("sagemaker").create_training_job(**request)
    end = server.end(request["TrainingJobName"])

    assert end["TrainingJobStatus"] == "Completed", end
    user = "1234" if server.runtime is CONTAINERS else "0"
    assert server.lines(request["TrainingJobName"]) == [f"{user} aaa"]


def test_an_object_that_has_changed_is_an_error_for_its_reader(server, data):
    """Neither its new bytes nor a part of the old ones; the other objects can be read."""
    program = """
import os, time
print("begin", flush=True)
while not os.path.exists("/opt/ml/go"): time.sleep(0.01)
for name in ("changed", "gone", "kept"):
    try:
        print(name, open("/opt/ml/input/data/in/" + name).read())
    except OSError as error:
        print(name, error.strerror)
"""
    s3 = server.client("s3")
    for name in ("changed", "gone", "kept"):
        s3.put_object(Bucket=data, Key=f"fickle/{name}", Body=b"old")
    request = job(server, data, [("in", "fickle/", {}, {})], program=program)
    name = request["TrainingJobName"]
    server.client("sagemaker").create_training_job(**request)
    instance = begun(server, name)
    s3.put_object(Bucket=data, Key="fickle/changed", Body=b"new")
    s3.delete_object(Bucket=data, Key="fickle/gone")
    (instance / "volume" / "opt_ml" / "go").touch()
    assert server.end(name)["TrainingJobStatus"] == "Completed"

    assert server.lines(name)[1:] == ["changed Input/output error", "gone Input/output error", "kept old"]


def test_a_program_that_fails_for_it_names_the_object(server, data):
    """In FailureReason, unless the program has written a better one."""
    s3 = server.client("s3")
    s3.put_object(Bucket=data, Key="gone/x", Body=b"old")
    program = """
import os, time
print("begin", flush=True)
while not os.path.exists("/opt/ml/go"): time.sleep(0.01)
open("/opt/ml/input/data/in/x").read()
"""
    request = job(server, data, [("in", "gone/", {}, {})], program=program)
    name = request["TrainingJobName"]
    server.client("sagemaker").create_training_job(**request)
    instance = begun(server, name)
    s3.delete_object(Bucket=data, Key="gone/x")
    (instance / "volume" / "opt_ml" / "go").touch()
    reason = server.end(name)["FailureReason"]

    assert reason.startswith(f"AlgorithmError: s3://{data}/gone/x cannot be read: NoSuchKey (404)"), reason
    assert reason.endswith("exit code: 1")


def test_a_stop_while_the_program_reads(server, data):
    """It hears SIGTERM, ends, and nothing stays mounted."""
    program = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
file = open("/opt/ml/input/data/in/large", "rb", buffering=0)
print("begin", flush=True)
while True: file.seek(0); file.read(1 << 20)
"""
    request = job(server, data, [("in", "in/", {}, {})], program=program)
    name = request["TrainingJobName"]
    server.client("sagemaker").create_training_job(**request)
    begun(server, name)
    server.client("sagemaker").stop_training_job(TrainingJobName=name)

    assert server.end(name)["TrainingJobStatus"] == "Stopped"
    wait(lambda: mounted(server.home), until=lambda left: not left)


@pytest.mark.parametrize(
    ("key", "members", "source", "reason"),
    [
        ("in", {"CompressionType": "Gzip"}, {}, "in the input mode Pipe only, not in FastFile"),
        ("in", {"RecordWrapperType": "RecordIO"}, {}, "in the input mode Pipe only, not in FastFile"),
        ("in", {}, {"S3DataType": "ManifestFile"}, "supports the S3DataType S3Prefix only"),
        ("part", {}, {}, "must name a folder, not a part of a name"),
        ("in/b/c/d", {}, {}, "must name a folder, not a part of a name"),
        ("nothing/", {}, {}, "No S3 objects found under S3 URL"),
    ],
)
def test_what_makes_no_sense_is_refused(server, data, key, members, source, reason):
    """When the job is created."""
    with pytest.raises(ClientError) as refused:
        server.client("sagemaker").create_training_job(**job(server, data, [("in", key, members, source)]))

    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert reason in refused.value.response["Error"]["Message"]
