"""Whatever happens while a program reads a FastFile channel: it gets exactly the right bytes, an error, or starts anew.

On a real `clary serve`. A program is held between two parts of its data by files that the test puts into its /opt/ml.
"""

import contextlib
import hashlib
import io
import os
import random
import signal
from pathlib import Path

import msgspec
import pytest
from boto3.s3.transfer import TransferConfig

from clary.base.telemetry import get_logger
from clary.instance.fast_file_mount import FastFileMount
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import ProgramEnd
from clary.runtimes import fuse
from clary.runtimes.process import ProcessRuntime
from clary.storage.integrity import Corrupt
from clary.storage.port import Credentials, S3Address
from clary.storage.read_ahead import ReadAhead
from clary.storage.reading import ReadObject
from clary.storage.s3 import S3Storage
from clary.storage.view import Node
from each_runtime import EACH_RUNTIME
from factories import make_channel
from faults.test_instance_crashes import Job
from faults.test_pipe_faults import kill_instance_program, kill_store
from faulty_s3 import FAULTS, misbehaving
from fuse_mounts import mounted
from server import new_name, serving, wait

pytest_plugins = ["weed", "fuse_mounts"]

LARGE = random.Random(5).randbytes(60_000_001)
WHOLE = f"{len(LARGE)} {hashlib.sha256(LARGE).hexdigest()}"

# Reads a part and says so; the rest when it is let.
PROGRAM = """
import hashlib, os, time
digest, size = hashlib.sha256(), 0
with open("/opt/ml/input/data/train/large", "rb", buffering=0) as file:
    while piece := file.read(1 << 20):
        digest.update(piece)
        size += len(piece)
        if size == 4 << 20:
            print("part", flush=True)
            while not os.path.exists("/opt/ml/go"): time.sleep(0.01)
print(size, digest.hexdigest(), open("/opt/ml/input/data/train/small").read(), flush=True)
open("/opt/ml/model/m", "w").write("done")
"""


@pytest.fixture
def own(request, needs_fuse):
    """A server that this test may kill, on a runtime. Nothing stays mounted."""
    with serving(runtime=request.param) as running:
        yield running
        wait(lambda: mounted(running.home), until=lambda left: not left)


def submit(server, program=PROGRAM):
    """A job whose program has read a part; its name."""
    bucket = server.bucket()
    s3 = server.client("s3")
    s3.put_object(Bucket=bucket, Key="in/large", Body=LARGE)
    s3.put_object(Bucket=bucket, Key="in/small", Body=b"small")
    request = server.job(new_name("fast"), bucket, program=program, channels=[("train", f"s3://{bucket}/in/", {})])
    request["InputDataConfig"][0]["InputMode"] = "FastFile"
    server.client("sagemaker").create_training_job(**request)
    name = request["TrainingJobName"]
    wait(
        lambda: printed(server, name),
        until=lambda printed: any("part" in text for text in printed),
        why=server.log_text,
    )
    return name


def instances(server, name):
    return [InstanceFiles(root) for root in (server.home / "instances").glob(f"{name}-*")]


def printed(server, name):
    return [files.output.read_text() for files in instances(server, name) if files.output.exists()]


def kill_file_server(server, name):
    (files,) = instances(server, name)
    os.kill(int(files.fast_file_lock.read_text()), signal.SIGKILL)


def end(server, name):
    """The description of the job at its end, and its steps; no program of it is held from now on."""
    sagemaker = server.client("sagemaker")

    def look():
        for files in instances(server, name):
            with contextlib.suppress(OSError):  # one that is being made or removed
                (files.opt_ml / "go").touch()
        return sagemaker.describe_training_job(TrainingJobName=name)

    found = wait(look, until=lambda d: d["TrainingJobStatus"] != "InProgress", why=server.log_text)
    assert found["TrainingJobStatus"] == "Completed", found
    return [step["Status"] for step in found["SecondaryStatusTransitions"]]


@pytest.mark.parametrize("own", EACH_RUNTIME, indirect=True)
def test_an_instance_program_that_is_killed_is_not_missed(own):
    """The file system has a server of its own; the program has run once."""
    name = submit(own)
    kill_instance_program(own, name)

    assert end(own, name).count("Training") == 1
    assert own.lines(name) == ["part", f"{WHOLE} small"]


@pytest.mark.parametrize("own", EACH_RUNTIME, indirect=True)
@pytest.mark.parametrize("patient", [False, True])
def test_a_file_server_that_is_killed_costs_the_attempt(own, patient):
    """The program sees errors, or may have taken them for something else: the job starts anew, and reads all of it."""
    program = (
        PROGRAM.replace(
            "import hashlib", "import hashlib, sys; sys.excepthook = lambda *_: time.sleep(600)\nimport hashlib"
        )
        if patient
        else PROGRAM
    )
    name = submit(own, program)
    kill_file_server(own, name)

    assert end(own, name).count("Training") == 2
    assert own.lines(name)[-1] == f"{WHOLE} small"
    assert own.lines(name).count(f"{WHOLE} small") == 1


@pytest.mark.parametrize("own", EACH_RUNTIME[:1], indirect=True)
def test_a_server_that_is_killed_is_not_missed(own):
    """The program reads on from the store, which is still there."""
    name = submit(own)
    own.kill()
    (files,) = instances(own, name)
    (files.opt_ml / "go").touch()
    wait(files.output.read_text, until=lambda text: WHOLE in text)
    own.start()

    assert end(own, name).count("Training") == 1
    assert own.lines(name) == ["part", f"{WHOLE} small"]


@pytest.mark.parametrize("own", EACH_RUNTIME[:1], indirect=True)
def test_a_store_that_is_killed_is_waited_for(own):
    """The program gets exactly the right bytes, and knows nothing of it."""
    name = submit(own)
    kill_store(own)

    assert end(own, name).count("Training") == 1
    assert own.lines(name) == ["part", f"{WHOLE} small"]


@pytest.mark.parametrize("own", EACH_RUNTIME, indirect=True)
def test_a_job_that_is_stopped_and_whose_file_server_is_dead_leaves_nothing(own):
    """A dead file system is taken away like a living one."""
    name = submit(own)
    own.client("sagemaker").stop_training_job(TrainingJobName=name)
    kill_file_server(own, name)

    assert own.end(name)["TrainingJobStatus"] == "Stopped"
    wait(lambda: mounted(own.home), until=lambda left: not left)
    wait(lambda: instances(own, name), until=lambda left: not left)


@pytest.mark.parametrize("own", EACH_RUNTIME[:1], indirect=True)
def test_everything_killed_at_once_is_cleared_away_by_the_next_server(own):
    """Server, instance program and file server."""
    name = submit(own)
    own.kill()
    kill_instance_program(own, name)
    kill_file_server(own, name)
    assert mounted(own.home)
    own.start()

    assert end(own, name).count("Training") == 2
    assert own.lines(name)[-1] == f"{WHOLE} small"


NAMES = """
import os
open("/opt/ml/model/starts", "a").write("x")
print(sorted(os.listdir("/opt/ml/input/data/train")), os.stat("/opt/ml/input/data/train/a.csv").st_size)
"""


@pytest.mark.parametrize("point", ["instance.downloading", "fast_file.mounted", "instance.training", "instance.ended"])
def test_killed_at_each_point(tmp_path, needs_fuse, point):
    """Twice: the listing is kept or made again, the program runs once, and nothing stays mounted."""
    instance = Job(tmp_path, NAMES)
    channels = (make_channel("train", input_mode="FastFile"),)
    instance.files.task.write_bytes(msgspec.json.encode(msgspec.structs.replace(instance.task, channels=channels)))
    try:
        for _ in range(2 if point == "instance.downloading" else 1):
            instance.crash(point)
        assert instance.run() == 0
    finally:
        ProcessRuntime().kill(instance.files.program)
        FastFileMount(instance.task, instance.files, fuse, get_logger("test")).stop()

    assert (instance.snapshot.program_end, instance.snapshot.lost) == (ProgramEnd(exit_code=0), False)
    assert instance.lines() == ["['a.csv'] 4"]
    assert instance.artifact("model.tar.gz") == {"starts": b"x"}
    assert not mounted(tmp_path)


SIZES = {"empty": 0, "one": 1, "small": 100_000, "zparts": 12_000_001}


@pytest.fixture(scope="module", params=["at once", "in parts"])
def objects(weed_store, request):
    """A bucket of objects of all sizes, the large one uploaded in one way or the other, and their bytes."""
    bucket = weed_store.bucket()
    rng = random.Random(6)
    found = {name: rng.randbytes(size) for name, size in SIZES.items()}
    for name, data in found.items():
        if request.param == "in parts" and name == "zparts":
            config = TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20)
            weed_store.client().upload_fileobj(io.BytesIO(data), bucket, f"in/{name}", Config=config)
        else:
            weed_store.client().put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
    return bucket, found


def nodes(storage, bucket):
    return {
        info.key.removeprefix("in/"): Node(
            number=number, entry=ReadObject(bucket=bucket, key=info.key, size_bytes=info.size_bytes, etag=info.etag)
        )
        for number, info in enumerate(storage.list_objects(bucket, "in/"), start=16)
    }


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "flip"])
def test_every_trouble_that_passes_is_got_over(weed_store, objects, fault):
    """Whatever happens to the first two answers about each object, its reader gets exactly what was stored."""
    bucket, whole = objects
    keys = Credentials(access_key_id=weed_store.access_key_id, secret_access_key=weed_store.secret_access_key)
    with misbehaving(weed_store.endpoint_url, {f"/{bucket}/in/{name}": [fault] * 2 for name in SIZES}) as s3:
        storage = S3Storage(S3Address(endpoint_url=s3.endpoint_url, region="us-east-1"), lambda: keys)
        ahead = ReadAhead(lambda _entry: storage)
        with contextlib.closing(ahead):
            for name, node in nodes(storage, bucket).items():
                file, found = ahead.open(node), b""
                while piece := file.read(len(found), 128 * 1024):
                    found += piece
                assert found == whole[name]
        assert fault in s3.seen


def test_a_wrong_byte_is_noticed_before_the_end_of_who_reads_through(weed_store, objects):
    """Whichever block it came in, if something is told of the bytes."""
    bucket, _ = objects
    keys = Credentials(access_key_id=weed_store.access_key_id, secret_access_key=weed_store.secret_access_key)
    with misbehaving(weed_store.endpoint_url, {f"/{bucket}/in/zparts": [None, "flip"]}) as s3:
        storage = S3Storage(S3Address(endpoint_url=s3.endpoint_url, region="us-east-1"), lambda: keys)
        with contextlib.closing(ReadAhead(lambda _entry: storage)) as ahead:
            file, count = ahead.open(nodes(storage, bucket)["zparts"]), 0
            with pytest.raises(Corrupt):
                while piece := file.read(count, 128 * 1024):
                    count += len(piece)
        assert s3.seen == [None, "flip"]


def test_the_name_of_a_mount_says_whose_it_is(own_mount):
    """`df` and `mount` show what it is."""
    assert own_mount.startswith("clary ")


@pytest.fixture
def own_mount(needs_fuse):
    """A line of /proc/mounts."""
    with serving() as server:
        name = submit(server)
        [line] = mounted(server.home)
        end(server, name)
    assert not Path(line.split()[1]).exists()
    return line
