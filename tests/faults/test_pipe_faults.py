"""Whatever is killed while a program reads a Pipe mode channel: it has had exactly the right bytes, or starts anew.

On a real `clary serve`; the instance program's own points with a directory for S3. A program is held in the middle of an
epoch, or between two, by files that the test puts into its /opt/ml.
"""

import contextlib
import hashlib
import io
import os
import random
import signal
import time
from pathlib import Path

import msgspec
import pytest
from boto3.s3.transfer import TransferConfig

from clary.base import faults
from clary.instance.fifo import Note
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import Phase, ProgramEnd
from clary.runtimes.process import ProcessRuntime
from clary.storage.epoch import stream
from clary.storage.integrity import Corrupt
from clary.storage.port import Credentials, S3Address
from clary.storage.reading import BLOCK_BYTES, ReadObject
from clary.storage.s3 import S3Storage
from each_runtime import EACH_RUNTIME
from factories import make_channel
from faults.test_instance_crashes import Job
from faulty_s3 import FAULTS, misbehaving
from server import new_name, serving, wait

pytest_plugins = ["weed"]

LARGE = random.Random(5).randbytes(150_000_001)
"""More than is ever read ahead."""

# Reads a part of epoch 0 and says so; the rest and epoch 1 when it is let. Held at "last" it needs no other epoch.
PROGRAM = """
import hashlib, os, time
def held(name):
    print(name, flush=True)
    while not os.path.exists("/opt/ml/" + name): time.sleep(0.01)
def read(file):
    digest, size = hashlib.sha256(), 0
    while piece := file.read(1 << 20):
        digest.update(piece)
        size += len(piece)
        if held_at != "between" and not os.path.exists("/opt/ml/" + held_at): held(held_at)
    print(size, digest.hexdigest(), flush=True)
held_at = open("/opt/ml/input/data/hold/at").read()
file = open("/opt/ml/input/data/train_0", "rb", buffering=0)
read(file)
file.close()
if held_at == "between": held("between")
while held_at != "last" and not os.path.exists("/opt/ml/input/data/train_1"): time.sleep(0.01)
if held_at != "last": read(open("/opt/ml/input/data/train_1", "rb", buffering=0))
open("/opt/ml/model/m", "w").write("done")
"""

WHOLE = f"{len(LARGE)} {hashlib.sha256(LARGE).hexdigest()}"


@pytest.fixture
def own(request):
    """A server that this test may kill, on a runtime."""
    with serving(runtime=request.param) as running:
        yield running


def submit(server, held_at):
    """A job that has come to where it holds; its name."""
    bucket = server.bucket()
    s3 = server.client("s3")
    s3.put_object(Bucket=bucket, Key="in/large", Body=LARGE)
    s3.put_object(Bucket=bucket, Key="at", Body=held_at.encode())
    channels = [("train", f"s3://{bucket}/in/", {}), ("hold", f"s3://{bucket}/at", {})]
    request = server.job(new_name("pipe"), bucket, program=PROGRAM, channels=channels)
    request["InputDataConfig"][0]["InputMode"] = "Pipe"
    server.client("sagemaker").create_training_job(**request)
    name = request["TrainingJobName"]
    said = f"{held_at}\n"
    wait(
        lambda: printed(server, name), until=lambda printed: any(said in text for text in printed), why=server.log_text
    )
    return name


def instances(server, name):
    return [InstanceFiles(root) for root in (server.home / "instances").glob(f"{name}-*")]


def printed(server, name):
    """What the programs of the job have printed so far, by instance."""
    return [files.output.read_text() for files in instances(server, name) if files.output.exists()]


def let_go(server, name, held_at):
    """Whatever instances the job has by now."""
    for files in instances(server, name):
        with contextlib.suppress(OSError):  # one that is being made or removed
            (files.opt_ml / held_at).touch()


def kill_instance_program(server, name):
    (files,) = instances(server, name)
    os.kill(int(files.lock.read_text()), signal.SIGKILL)


def kill_between_two_looks(server, name):
    """Kill the instance program while its note says that no reader has a writer. At each look for a reader it says otherwise
    for a moment, and who dies just then costs the attempt, as he must.
    """
    (files,) = instances(server, name)
    agent = int(files.lock.read_text())
    while True:
        os.kill(agent, signal.SIGSTOP)
        wait(lambda: states(agent), until=lambda found: found == {"T"})
        with contextlib.closing(Note(files.root / "pipe-train.note")) as note:
            if not note.at_it:
                os.kill(agent, signal.SIGKILL)
                return
        os.kill(agent, signal.SIGCONT)
        time.sleep(0.01)  # it needs some time to end its look


def states(process):
    """What the threads of a process are doing, as /proc has it."""
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{process}/task").glob("*/stat")}


def kill_store(server):
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
            if str(server.home) in command and "weed" in command.split("\0")[0]:
                os.kill(int(entry.name), signal.SIGKILL)


def end(server, name, held_at):
    """The description of the job at its end; no program of it is held from now on."""
    sagemaker = server.client("sagemaker")

    def look():
        let_go(server, name, held_at)
        return sagemaker.describe_training_job(TrainingJobName=name)

    found = wait(look, until=lambda d: d["TrainingJobStatus"] != "InProgress", why=server.log_text)
    assert found["TrainingJobStatus"] == "Completed", found
    return found, [step["Status"] for step in found["SecondaryStatusTransitions"]]


@pytest.mark.parametrize("own", EACH_RUNTIME, indirect=True)
@pytest.mark.parametrize("held_at", ["part", "last"])
def test_an_instance_program_killed_in_an_epoch_costs_the_attempt(own, held_at):
    """Its reader has taken a part for all of it: the job starts anew, and reads all of it. Also if the program has ended
    well by the time that somebody looks.
    """
    name = submit(own, held_at)
    (files,) = instances(own, name)
    if held_at == "last":
        own.kill()  # so that nobody starts another one yet
    kill_instance_program(own, name)
    if held_at == "last":
        let_go(own, name, held_at)
        wait((files.opt_ml / "model" / "m").exists, until=bool)
        own.start()
    _, statuses = end(own, name, held_at)

    assert statuses.count("Training") == 2
    wanted = [WHOLE] if held_at == "last" else [WHOLE, WHOLE]
    lines = [line for line in own.lines(name) if line != held_at]
    assert lines[-len(wanted) :] == wanted
    assert all(not line.startswith(str(len(LARGE))) for line in lines[: -len(wanted)])


@pytest.mark.parametrize("own", EACH_RUNTIME, indirect=True)
def test_an_instance_program_killed_between_epochs_is_not_missed(own):
    """Another one feeds the next epoch; the program has run once."""
    name = submit(own, "between")
    kill_between_two_looks(own, name)
    _, statuses = end(own, name, "between")

    assert statuses.count("Training") == 1
    assert own.lines(name) == [WHOLE, "between", WHOLE]


@pytest.mark.parametrize("own", EACH_RUNTIME[:1], indirect=True)
@pytest.mark.parametrize("held_at", ["part", "between"])
def test_a_server_that_is_killed_is_not_missed(own, held_at):
    """The instance goes on feeding from the store, which is still there."""
    name = submit(own, held_at)
    own.kill()
    let_go(own, name, held_at)
    (files,) = instances(own, name)
    wait(files.output.read_text, until=lambda text: text.count(WHOLE) == 2)
    own.start()
    _, statuses = end(own, name, held_at)

    assert statuses.count("Training") == 1
    assert [line for line in own.lines(name) if line != held_at] == [WHOLE, WHOLE]


@pytest.mark.parametrize("own", EACH_RUNTIME[:1], indirect=True)
def test_a_store_that_is_killed_in_an_epoch_is_waited_for(own):
    """The reader gets exactly the right bytes, and knows nothing of it."""
    name = submit(own, "part")
    kill_store(own)
    _, statuses = end(own, name, "part")

    assert statuses.count("Training") == 1
    assert own.lines(name) == ["part", WHOLE, WHOLE]


SIZES = {"empty": 0, "one": 1, "small": 100_000, "whole": BLOCK_BYTES, "zparts": 2 * BLOCK_BYTES + 5}


@pytest.fixture(scope="module", params=["at once", "in parts"])
def objects(weed_store, request):
    """A bucket of objects of all sizes, the large ones uploaded in one way or the other, and their bytes one after the other."""
    bucket = weed_store.bucket()
    rng = random.Random(6)
    found = {name: rng.randbytes(size) for name, size in sorted(SIZES.items())}
    for name, data in found.items():
        if request.param == "in parts" and len(data) > BLOCK_BYTES:
            config = TransferConfig(multipart_threshold=1, multipart_chunksize=7 << 20)
            weed_store.client().upload_fileobj(io.BytesIO(data), bucket, f"in/{name}", Config=config)
        else:
            weed_store.client().put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
    return bucket, b"".join(found.values())


def streamed(store, endpoint_url, bucket):
    """What an epoch gives, block by block, through a storage at that address."""
    keys = Credentials(access_key_id=store.access_key_id, secret_access_key=store.secret_access_key)
    storage = S3Storage(S3Address(endpoint_url=endpoint_url, region="us-east-1"), lambda: keys)
    entries = [
        ReadObject(bucket=bucket, key=info.key, size_bytes=info.size_bytes, etag=info.etag)
        for info in storage.list_objects(bucket, "in/")
    ]
    return stream(lambda _entry: storage, entries, gunzip=False, recordio=False)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_trouble_that_passes_is_got_over(weed_store, objects, fault):
    """Whatever happens to the first two answers about each object, exactly what was stored goes into the FIFO."""
    bucket, whole = objects
    names = [name for name in SIZES if not (fault == "flip" and name == "zparts")]
    with misbehaving(weed_store.endpoint_url, {f"/{bucket}/in/{name}": [fault] * 2 for name in names}) as s3:
        assert b"".join(map(bytes, streamed(weed_store, s3.endpoint_url, bucket))) == whole
        assert fault in s3.seen


def test_a_wrong_byte_of_a_large_object_is_noticed_before_its_end(weed_store, objects):
    """Its first blocks have gone out: the job fails, and nobody takes what came for all."""
    bucket, whole = objects
    given = 0
    with misbehaving(weed_store.endpoint_url, {f"/{bucket}/in/zparts": ["flip"]}) as s3, pytest.raises(Corrupt):
        for block in streamed(weed_store, s3.endpoint_url, bucket):
            given += len(block)
    assert given < len(whole)


EPOCHS = """
import os, time
open("/opt/ml/model/starts", "a").write("x")
for epoch in range(3):
    path = f"/opt/ml/input/data/train_{epoch}"
    while not os.path.exists(path): time.sleep(0.01)
    print(epoch, open(path).read(), end="", flush=True)
"""


@pytest.fixture
def instance(tmp_path):
    """An instance with a directory for S3, whose channel `train` is a pipe: the only one. Another that was just looking
    for its reader when its instance program was killed would cost the attempt, too.
    """
    made = Job(tmp_path, EPOCHS)
    channels = (make_channel("train", input_mode="Pipe"), make_channel("test"))
    made.files.task.write_bytes(msgspec.json.encode(msgspec.structs.replace(made.task, channels=channels)))
    yield made
    ProcessRuntime().kill(made.files.program)


def test_the_points_are_the_ones_that_are_killed_at():
    """While a reader may be reading, when it has had all, and after its end."""
    assert sorted(point for point in faults.POINTS if point.startswith("pipe.")) == [
        "pipe.closed",
        "pipe.noted",
        "pipe.opened",
    ]


@pytest.mark.sandbox
@pytest.mark.parametrize("point", ["pipe.noted", "pipe.closed"])
def test_killed_at_the_end_of_an_epoch(instance, point):
    """After each epoch: its reader had all of it, and the program runs on, once."""
    for _ in range(3):
        instance.crash(point)
    assert instance.run() == 0

    assert (instance.snapshot.program_end, instance.snapshot.lost) == (ProgramEnd(exit_code=0), False)
    assert instance.lines() == ["0 1,2", "1 1,2", "2 1,2"]
    assert instance.artifact("model.tar.gz") == {"starts": b"x"}


@pytest.mark.sandbox
def test_killed_when_a_reader_has_come(instance):
    """It has had no data and seen an end: the attempt is lost, and nothing is uploaded."""
    instance.crash("pipe.opened")
    assert instance.run() == 0

    end = instance.snapshot
    assert (end.phase, end.lost, end.failure) == (Phase.FINISHED, True, None)
    assert list(instance.buckets.list_objects("models", "out/")) == []


@pytest.mark.sandbox
@pytest.mark.parametrize("point", ["instance.downloading", "instance.staged", "instance.training"])
def test_killed_before_anybody_reads(instance, point):
    """Twice each: the listing is kept or made again, the FIFOs are there, the program runs once."""
    instance.crash(point)
    assert instance.run() == 0

    assert (instance.snapshot.program_end, instance.snapshot.lost) == (ProgramEnd(exit_code=0), False)
    assert instance.lines() == ["0 1,2", "1 1,2", "2 1,2"]
    assert instance.artifact("model.tar.gz") == {"starts": b"x"}
