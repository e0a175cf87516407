"""Pipe mode channels in the life of an instance: fed while the program runs, failed without a false end, torn and noticed."""

import contextlib
import gzip
import json
import os
import threading
import time

import pytest

from clary.instance.fifo import Note
from clary.jobs.model import DataSource, S3DataSource, ShuffleConfig
from clary.jobs.task import HostGroup, Phase, ProgramEnd, StopReason
from clary.runtimes.scripted import Script
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.port import AccessDenied, Changed, NoSuchKey, StorageError, Unreachable
from factories import make_channel
from unit.instance.readers import plain

PATIENCE_S = 30
LONG = Script(run_for=1e9, ignores_sigterm=True)
DENIED = AccessDenied("AccessDenied (403): Access Denied", code="AccessDenied", status=403)
AWAY = Unreachable("connection refused")


def pipe(name="train", *, source=None, **changes):
    channel = make_channel(name, input_mode="Pipe", **changes)
    if source is not None:
        uri = source.pop("s3_uri", f"s3://data/{name}/")
        kind = source.pop("s3_data_type", "S3Prefix")
        s3 = S3DataSource(s3_data_type=kind, s3_uri=uri, **source)
        channel = make_channel(name, input_mode="Pipe", data_source=DataSource(s3_data_source=s3), **changes)
    return channel


class Reading:
    """What a reader that stands for the program has got so far, in a thread of its own."""

    def __init__(self, path):
        self.path = path
        self.data = b""
        self.ended = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        deadline = time.monotonic() + PATIENCE_S
        while not self.path.exists():
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)  # the instance is about to make it
        with self.path.open("rb", buffering=0) as file:
            while piece := file.read(1 << 16):
                self.data += piece
        self.ended = True


@pytest.fixture
def running(scene):
    """Bring an instance to where its program runs; whatever its channels are, they are let go at the end."""
    scenes = []

    def start(*, hosts=("algo-1",), objects=None, **what):
        s = scene(script=what.pop("script", LONG), max_runtime_s=1 << 30, hosts=hosts, **what)
        for key, body in (objects or {}).items():
            s.buckets.put("data", key, body)
        s.wish(start=True)
        scenes.append(s)
        s.go(until=lambda state: state.program_started)
        return s

    yield start
    for s in scenes:
        for agent in s.agents:
            next(step for step in agent.steps if step.name == "run training").leave()


def turns(s, condition):
    """Let the newest agent work until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, s.snapshots[-1:]
        s.agents[-1].turn()
        s.waker.wait(0.002)
    s.see()


def fifo(s, epoch, name="train"):
    return s.in_opt_ml(f"input/data/{name}_{epoch}")


def end_program(s):
    """As if it had ended by itself."""
    progress = s.runtime.progress(s.files.program)
    text = (s.files.program / "scripted.json").read_text()
    assert progress.ended is None
    (s.files.program / "scripted.json").write_text(text.replace('"ended":null', '"ended":0'))


def test_the_first_fifo_is_there_before_the_program(running):
    """Of each Pipe mode channel; there is no directory and no list of it. The other channels are files."""
    s = running(channels=(pipe("a"), make_channel("train"), pipe("b")), objects={"a/1": b"1", "b/1": b"2"})

    assert sorted(path.name for path in s.in_opt_ml("input/data").iterdir()) == [
        "a_0",
        "b_0",
        "train",
        "train-manifest",
    ]
    assert fifo(s, 0, "a").is_fifo()
    config = json.loads(s.in_opt_ml("input/config/inputdataconfig.json").read_text())
    assert config["a"] == {
        "TrainingInputMode": "Pipe",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }


def test_epoch_after_epoch_until_the_program_ends(running):
    """Channels side by side, in any order; then nobody feeds any more, and the job ends as the program did."""
    s = running(
        channels=(pipe("a"), pipe("b", shuffle_config=ShuffleConfig(seed=1))),
        objects={"a/1": b"1", "a/2": b"2", **{f"b/{n:02}": b"%02d" % n for n in range(20)}},
    )
    s.agents[-1].turn()
    assert [plain(fifo(s, epoch, "a")) for epoch in range(3)] == [b"12"] * 3
    shuffled = [plain(fifo(s, epoch, "b")) for epoch in range(3)]
    assert len(set(shuffled)) == 3
    assert all(
        sorted(epoch[n : n + 2] for n in range(0, 40, 2)) == [b"%02d" % n for n in range(20)] for epoch in shuffled
    )
    end_program(s)
    end = s.go(s.agents[-1])

    assert (end.phase, end.program_end, end.failure, end.lost) == (Phase.FINISHED, ProgramEnd(exit_code=0), None, False)


def test_a_program_that_ends_in_the_middle_of_an_epoch_has_ended(running):
    """What it did not want is no loss."""
    s = running(channels=(pipe(),), objects={"train/big": bytes(20 << 20)})
    s.agents[-1].turn()
    with fifo(s, 0).open("rb", buffering=0) as file:
        assert file.read(5)
        end_program(s)
        end = s.go(s.agents[-1])

    assert (end.program_end, end.failure, end.lost) == (ProgramEnd(exit_code=0), None, False)


def test_a_program_that_never_reads_can_be_stopped(running):
    """SIGTERM, and the job ends as any other."""
    s = running(channels=(pipe(),), script=Script(run_for=1e9))
    s.agents[-1].turn()
    s.wish(stop=StopReason.STOP_TRAINING_JOB)
    end = s.go(s.agents[-1])

    assert (end.program_end.exit_code, end.failure, end.lost) == (143, None, False)
    assert end.stop_reason is StopReason.STOP_TRAINING_JOB


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("seed", [None, 7])
def test_hosts_together_are_sent_everything_once_an_epoch(running, tmp_path, sharded, seed):
    """Sharded; else everything each. With ShuffleConfig a host's share is another one in each epoch."""
    distribution = {"s3_data_distribution_type": "ShardedByS3Key"} if sharded else {}
    objects = {f"train/{n:02}": b"%02d" % n for n in range(12)} | {"train/a.csv": b"aa"}
    epochs = {}
    for number in (1, 2, 3):
        channel = pipe(source=dict(distribution), shuffle_config=None if seed is None else ShuffleConfig(seed=seed))
        s = running(
            name=f"job{number}",
            channels=(channel,),
            objects=objects,
            hosts=("algo-1", "algo-2", "algo-3"),
            host=f"algo-{number}",
        )
        s.agents[-1].turn()
        epochs[number] = [plain(fifo(s, epoch)) for epoch in (0, 1, 2)]

    everything = sorted(objects.values())
    for epoch in (0, 1, 2):
        sent = [share[n : n + 2] for share in (epochs[host][epoch] for host in epochs) for n in range(0, len(share), 2)]
        assert sorted(sent) == (everything if sharded else sorted(everything * 3))
    if sharded:
        assert {len(epochs[host][0]) // 2 for host in epochs} == {4, 5}
        assert (
            len(set(map(frozenset, (zip(*[iter(epochs[1][epoch])] * 2, strict=True) for epoch in (0, 1, 2))))) > 1
        ) == (seed is not None)


def test_a_host_without_a_share_reads_nothing(running):
    """Fewer objects than hosts: its FIFO is there, and its epochs are empty."""
    s = running(
        channels=(pipe(source={"s3_data_distribution_type": "ShardedByS3Key"}),),
        hosts=("algo-1", "algo-2"),
        host="algo-2",
    )
    s.agents[-1].turn()

    assert [plain(fifo(s, epoch)) for epoch in (0, 1)] == [b"", b""]


def test_a_channel_for_some_groups_is_dealt_out_among_them(running):
    """The second of the group's hosts has the second object."""
    groups = (
        HostGroup(instance_group_name="a", instance_type="ml.m5.large", hosts=("algo-1",)),
        HostGroup(instance_group_name="b", instance_type="ml.c5.large", hosts=("algo-2", "algo-3")),
    )
    source = {"s3_data_distribution_type": "ShardedByS3Key", "instance_group_names": ("b",)}
    s = running(
        channels=(pipe(source=source),),
        hosts=("algo-1", "algo-2", "algo-3"),
        host="algo-3",
        instance_groups=groups,
        objects={"train/b": b"b", "train/c": b"c"},
    )
    s.agents[-1].turn()

    assert plain(fifo(s, 0)) == b"b"


def test_storage_that_is_away_is_waited_for(running, tmp_path):
    """In the middle of an epoch: its reader waits, and gets exactly the bytes."""
    data = os.urandom(20 << 20)
    faults = [
        Fault(verb="get", error=AWAY, key="train/b", times=2),
        Fault(verb="get", error=AWAY, key="train/c", on_call=2),
    ]
    storage = FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults)
    s = running(channels=(pipe(),), storage=storage, objects={"train/b": b"small", "train/c": data})
    s.agents[-1].turn()
    reading = Reading(fifo(s, 0))
    turns(s, lambda: reading.ended)

    assert reading.data == b"1,2\nsmall" + data
    assert s.snapshot.failure is None


def test_a_manifests_object_is_waited_for(running, tmp_path):
    """While it is looked up, too."""
    storage = FaultyStorage(
        DirectoryStorage(tmp_path / "s3"), [Fault(verb="head", error=AWAY, key="train/a.csv", times=1)]
    )
    manifest = json.dumps([{"prefix": "s3://data/train/"}, "a.csv", "a.csv"]).encode()
    source = {"s3_data_type": "ManifestFile", "s3_uri": "s3://data/m"}
    s = running(channels=(pipe(source=source),), storage=storage, objects={"m": manifest})
    s.agents[-1].turn()
    reading = Reading(fifo(s, 0))
    turns(s, lambda: reading.ended)

    assert reading.data == b"1,2\n1,2\n"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DENIED, "AccessDenied (403)"),
        (NoSuchKey("NoSuchKey (404): gone", code="NoSuchKey", status=404), "NoSuchKey (404)"),
        (Changed("PreconditionFailed (412): changed", code="PreconditionFailed", status=412), "PreconditionFailed"),
        (StorageError("InvalidArgument (400): what", code="InvalidArgument", status=400), "InvalidArgument"),
    ],
)
def test_trouble_with_the_data_ends_the_job_and_no_reader_sees_an_end(running, tmp_path, error, reason):
    """The program is killed first; the data before the trouble have been read."""
    storage = FaultyStorage(
        DirectoryStorage(tmp_path / "s3"), [Fault(verb="get", error=error, key="train/b", times=99)]
    )
    s = running(channels=(pipe(),), storage=storage, objects={"train/b": b"b", "train/c": b"c"})
    s.agents[-1].turn()
    reading = Reading(fifo(s, 0))
    ended_while_running = []
    turns(s, lambda: ended_while_running.append(reading.ended) or s.runtime.progress(s.files.program).ended is not None)
    assert not any(ended_while_running)
    end = s.go(s.agents[-1])

    assert s.runtime.progress(s.files.program).ended == 137
    assert end.failure.reason.startswith("ClientError: Data download failed:"), end
    assert reason in end.failure.reason
    reading.thread.join(PATIENCE_S)
    assert reading.data == b"1,2\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"plain text", "train/b is not in gzip format"), (gzip.compress(b"x" * 999)[:-9], "ends in the middle")],
    ids=["plain", "cut"],
)
def test_what_is_no_gzip_ends_the_job(running, body, reason):
    """And the reader has seen no end."""
    objects = {"train/a.csv": gzip.compress(b"one"), "train/b": body}
    s = running(channels=(pipe(compression_type="Gzip"),), objects=objects)
    s.agents[-1].turn()
    reading = Reading(fifo(s, 0))
    end = s.go(s.agents[-1])

    assert reason in end.failure.reason
    assert end.failure.reason.startswith("ClientError: Data download failed:")
    reading.thread.join(PATIENCE_S)
    assert reading.data.startswith(b"one")


def test_data_that_change_after_the_listing_end_the_job(running):
    """A channel is what was listed; its objects are read as they were then."""
    s = running(channels=(pipe(),))
    s.agents[-1].turn()
    assert plain(fifo(s, 0)) == b"1,2\n"
    s.buckets.put("data", "train/a.csv", b"other")
    Reading(fifo(s, 1))

    assert "has changed" in s.go(s.agents[-1]).failure.reason


def test_trouble_that_a_program_did_not_wait_for_is_none(running, tmp_path):
    """It ended well with the data that it had."""
    storage = FaultyStorage(
        DirectoryStorage(tmp_path / "s3"), [Fault(verb="get", error=DENIED, key="train/b", times=99)]
    )
    s = running(channels=(pipe(),), storage=storage, objects={"train/b": b"b"})
    s.agents[-1].turn()
    run_training = next(step for step in s.agents[-1].steps if step.name == "run training")
    reading = Reading(fifo(s, 0))
    deadline = time.monotonic() + PATIENCE_S
    while run_training._pipes.failure is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)  # the feeder works
    end_program(s)
    end = s.go(s.agents[-1])

    assert (end.program_end, end.failure) == (ProgramEnd(exit_code=0), None)
    reading.thread.join(PATIENCE_S)


def test_renewed_credentials_are_waited_for(running, tmp_path):
    """A refusal while credentials have ended is none; with new ones the epoch goes on."""
    storage = FaultyStorage(
        DirectoryStorage(tmp_path / "s3"), [Fault(verb="get", error=DENIED, key="train/b", times=1)]
    )
    s = running(channels=(pipe(),), storage=storage, objects={"train/b": b"b"})
    s.grant(expires_in_s=-1)
    s.agents[-1].turn()
    reading = Reading(fifo(s, 0))
    turns(s, lambda: ("get", "train/b") in storage.calls)
    s.grant()
    turns(s, lambda: reading.ended)

    assert reading.data == b"1,2\nb"


def test_one_storage_serves_all_that_a_grant_opens(running):
    """Its connections are kept from one object to the next."""
    s = running(channels=(pipe(),), objects={f"train/{n}": b"x" for n in range(50)})
    run_training = next(step for step in s.agents[-1].steps if step.name == "run training")
    s.agents[-1].turn()
    plain(fifo(s, 0))

    assert len(run_training._pipes._patience._storages) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_an_epoch_that_an_instance_program_died_in_is_lost(running, ended):
    """Also if the program has ended well by then: it may have taken a part of its data for all of them."""
    s = running(channels=(pipe(),))
    Note(s.files.root / "pipe-train.note").write(3, at_it=True)
    if ended:
        end_program(s)
    end = s.go()  # another instance program

    assert (end.lost, end.program_end.exit_code, end.failure) == (True, None, None)


def test_between_epochs_another_instance_program_goes_on(running):
    """With the epoch that is next."""
    s = running(channels=(pipe(),), objects={"train/b": b"b"})
    with contextlib.closing(Note(s.files.root / "pipe-train.note")) as note:
        note.write(3, at_it=False)
    s.agent().begin()
    s.agents[-1].turn()

    assert plain(fifo(s, 3)) == b"1,2\nb"
    end_program(s)
    assert s.go(s.agents[-1]).program_end == ProgramEnd(exit_code=0)


def test_a_program_that_removes_its_input_is_let_go_on(running):
    """It has no more data then, which is its own doing."""
    s = running(channels=(pipe(),))
    fifo(s, 0).unlink()
    s.in_opt_ml("input/data").rmdir()
    s.agents[-1].turn()
    time.sleep(0.1)  # some looks of the feeder
    s.agents[-1].turn()
    end_program(s)
    end = s.go(s.agents[-1])

    assert (end.program_end, end.failure, end.lost) == (ProgramEnd(exit_code=0), None, False)


@pytest.mark.parametrize(
    ("channel", "objects", "reason"),
    [
        (pipe("none"), {}, "No S3 objects found"),
        (pipe(source={"s3_data_type": "ManifestFile", "s3_uri": "s3://data/m"}), {"m": b"no JSON"}, "no JSON"),
    ],
)
def test_a_channel_without_data_fails_before_the_program_starts(scene, channel, objects, reason):
    """With the words of File mode."""
    s = scene(channels=(channel,))
    for key, body in objects.items():
        s.buckets.put("data", key, body)
    end = s.go()

    assert reason in end.failure.reason
    assert s.starts() == 0
