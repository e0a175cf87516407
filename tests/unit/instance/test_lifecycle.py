"""An instance from its first step to its last, with a scripted program: undisturbed, stopped, failed, restarted."""

import json
import tarfile
import threading
from io import BytesIO

import pytest

from clary.instance.journal import Journal
from clary.instance.run_training import RunTraining
from clary.jobs.failure import FailureKind
from clary.jobs.model import CheckpointConfig, DataSource, MetricDefinition, S3DataSource
from clary.jobs.task import ChannelProgress, HostGroup, Phase, ProgramEnd, StopReason
from clary.runtimes.scripted import Script
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.port import AccessDenied, Changed, NoSuchBucket, NoSuchKey, Unreachable
from factories import make_channel

STOP = StopReason.STOP_TRAINING_JOB
DENIED = AccessDenied("AccessDenied (403): Access Denied", code="AccessDenied", status=403)
MODEL = Script(files={"/opt/ml/model/weights": "weights"}, lines=("hello", "", "bye"))


def members(storage, key):
    """The files of a tar.gz object, by name."""
    with tarfile.open(fileobj=BytesIO(bytes(storage.get("models", key)))) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}


def keys(scene):
    return [info.key for info in scene.buckets.list_objects("models", "")]


def test_a_job_that_succeeds(scene):
    """Data in, one program, its log, its artifacts; each moment is reported once, in order."""
    files = {"/opt/ml/model/weights": "weights", "/opt/ml/output/data/eval.txt": "0.9", "/opt/ml/output/other": "x"}
    s = scene(script=Script(run_for=5, files=files, lines=("hello", "", "bye")))
    end = s.go()

    assert end.phase is Phase.FINISHED
    assert end.program_end == ProgramEnd(exit_code=0)
    assert end.s3_model_artifacts == "s3://models/out/job/output/model.tar.gz"
    assert (end.failure, end.lost, end.stopping_at) == (None, False, None)
    assert end.ready_at <= end.staged_at < end.ended_at <= end.finished_at
    assert end.ended_at - end.staged_at >= 5000
    assert s.in_opt_ml("input/data/train/a.csv").read_bytes() == b"1,2\n"
    assert s.in_opt_ml("input/data/train-manifest").read_text() == "train/\ns3://data/train/a.csv\n"
    assert end.log_stream == f"job/algo-1-{end.staged_at // 1000}"
    assert s.lines == ["hello", " ", "bye"]
    assert members(s.buckets, "out/job/output/model.tar.gz") == {"weights": b"weights"}
    assert members(s.buckets, "out/job/output/output.tar.gz") == {"eval.txt": b"0.9"}
    sequences = [snapshot.sequence for snapshot in s.snapshots]
    assert sequences == sorted(set(sequences))
    phases = list(dict.fromkeys(snapshot.phase for snapshot in s.snapshots))
    assert phases == [
        Phase.DOWNLOADING,
        Phase.TRAINING,
        Phase.ENDED,
        Phase.UPLOADING,
        Phase.FINISHED,
    ] or phases == [Phase.DOWNLOADING, Phase.TRAINING, Phase.UPLOADING, Phase.FINISHED]


def test_a_program_that_fails_still_uploads(scene):
    """The exit code and the first 1,024 characters of the failure file are told; the model is kept."""
    files = {"/opt/ml/output/failure": "ü" * 2000, "/opt/ml/model/m": "half"}
    s = scene(script=Script(exit_code=3, files=files))
    end = s.go()

    assert end.program_end == ProgramEnd(exit_code=3, failure_text="ü" * 1024)
    assert end.failure is None
    assert keys(s) == ["out/job/output/model.tar.gz"]


def test_an_empty_model_is_uploaded_after_success_only(scene, tmp_path):
    """A failed program without a model has no model artifact."""
    good = scene(name="good", script=Script())
    bad = scene(name="bad", script=Script(exit_code=1))

    assert good.go().s3_model_artifacts == "s3://models/out/good/output/model.tar.gz"
    assert bad.go().s3_model_artifacts is None
    assert keys(bad) == ["out/good/output/model.tar.gz"]


def test_an_uncompressed_model_is_uploaded_file_by_file(scene):
    """CompressionType NONE: each file is an object below output/model/ or output/data/, and the model is that prefix."""
    files = {"/opt/ml/model/weights": "w", "/opt/ml/model/empty": "", "/opt/ml/output/data/eval.txt": "0.9"}
    s = scene(script=Script(files=files), output_compression_type="NONE")
    end = s.go()

    assert (end.failure, end.s3_model_artifacts) == (None, "s3://models/out/job/output/model/")
    assert {key.removeprefix("out/job/output/"): bytes(s.buckets.get("models", key)) for key in keys(s)} == {
        "data/eval.txt": b"0.9",
        "model/empty": b"",
        "model/weights": b"w",
    }


def test_an_uncompressed_model_may_be_empty(scene):
    """After success the prefix is told even if there is nothing below it; after failure it is not."""
    good = scene(name="good", output_compression_type="NONE")
    bad = scene(name="bad", output_compression_type="NONE", script=Script(exit_code=1))

    assert good.go().s3_model_artifacts == "s3://models/out/good/output/model/"
    assert bad.go().s3_model_artifacts is None
    assert keys(good) == []


def test_an_uncompressed_upload_that_was_interrupted_is_done_again(scene, tmp_path):
    """A store that goes away half-way delays the job; in the end every file is there."""
    faults = [Fault(verb="put", error=Unreachable("connection refused"), on_call=2, times=3)]
    storage = FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults)
    s = scene(
        storage=storage,
        script=Script(files={f"/opt/ml/model/{n}": "x" for n in range(5)}),
        output_compression_type="NONE",
    )

    assert s.go().failure is None
    assert keys(s) == [f"out/job/output/model/{n}" for n in range(5)]


def test_a_job_without_channels_trains_at_once(scene):
    """Nothing to stage: no message of it, and the program runs."""
    assert scene(channels=(), script=MODEL).go().program_end.exit_code == 0


def test_hosts_get_their_shards(scene):
    """ShardedByS3Key deals objects out by their number; the manifest lists those of all hosts."""
    sharded = S3DataSource(s3_data_type="S3Prefix", s3_uri="s3://data/x", s3_data_distribution_type="ShardedByS3Key")
    channel = make_channel("c", data_source=DataSource(s3_data_source=sharded))
    s = scene(hosts=("algo-1", "algo-2"), host="algo-2", channels=(channel,))
    for name in "abc":
        s.buckets.put("data", f"x/{name}", b"")
    s.go(until=lambda state: state.input_ready)

    assert [path.name for path in s.in_opt_ml("input/data/c").iterdir()] == ["b"]
    assert s.in_opt_ml("input/data/c-manifest").read_text() == "x\n" + "".join(f"s3://data/x/{n}\n" for n in "abc")


def test_a_channel_for_some_groups_is_dealt_out_among_their_hosts(scene):
    """The third host is the second of those that get it."""
    groups = (
        HostGroup(instance_group_name="a", instance_type="ml.m5.large", hosts=("algo-1",)),
        HostGroup(instance_group_name="b", instance_type="ml.c5.large", hosts=("algo-2", "algo-3")),
    )
    sharded = S3DataSource(
        s3_data_type="S3Prefix",
        s3_uri="s3://data/x",
        s3_data_distribution_type="ShardedByS3Key",
        instance_group_names=("b",),
    )
    channel = make_channel("c", data_source=DataSource(s3_data_source=sharded))
    s = scene(
        hosts=("algo-1", "algo-2", "algo-3"), host="algo-3", instance_groups=groups, channels=(channel,), script=MODEL
    )
    for name in "abcd":
        s.buckets.put("data", f"x/{name}", b"")
    s.go(until=lambda state: state.input_ready)

    assert sorted(path.name for path in s.in_opt_ml("input/data/c").iterdir()) == ["b", "d"]


def test_the_program_is_told_the_interface_of_its_runtime(scene):
    """In resourceconfig.json and in its environment alike."""
    s = scene(script=MODEL)
    s.go(until=lambda state: state.program_started)

    config = json.loads(s.in_opt_ml("input/config/resourceconfig.json").read_bytes())
    assert config["network_interface_name"] == s.runtime.network_interface == "eth0"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            Fault(verb="get", error=DENIED),
            "ClientError: Data download failed:AccessDenied (403): Access Denied",
        ),
        (
            Fault(verb="list_objects", error=NoSuchBucket("NoSuchBucket (404): The specified bucket does not exist")),
            "ClientError: Data download failed:NoSuchBucket (404): The specified bucket does not exist",
        ),
        (Fault(verb="get", error=NoSuchKey("NoSuchKey (404): gone")), "ClientError: Data download failed:NoSuchKey"),
        (Fault(verb="get", error=Changed("PreconditionFailed (412)")), "ClientError: Data download failed:Precond"),
        (Fault(verb="get", error=OSError(28, "full")), "ClientError: Data download failed:Insufficient disk space"),
    ],
)
def test_data_that_cannot_be_had_fails_the_job(scene, tmp_path, fault, text):
    """In SageMaker's words where they are known; no program is started, nothing is uploaded."""
    s = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), [fault]), script=MODEL)
    end = s.go()

    assert end.failure.reason.startswith(text)
    assert (end.phase, end.program_end, end.staged_at) == (Phase.FINISHED, ProgramEnd(exit_code=None), None)
    assert end.ended_at is not None
    assert (s.starts(), keys(s)) == (0, [])


def test_data_that_are_gone_fail_the_job(scene):
    """Nothing left under the URI, though something was there when the job was created."""
    s = scene(channels=(make_channel("other"),))

    assert s.go().failure.reason == (
        "ClientError: Data download failed:"
        'No S3 objects found under S3 URL "s3://data/other/" given in input data source.'
    )


def test_storage_that_is_away_is_waited_for(scene, tmp_path):
    """An unreachable store delays a job and does not fail it, before the training and after it."""
    away = Unreachable("connection refused")
    faults = [
        Fault(verb="list_objects", error=away, times=12),
        Fault(verb="open_writer", error=away, times=12),
    ]
    s = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults), script=MODEL)
    end = s.go()

    messages = {snapshot.message for snapshot in s.snapshots}
    assert "Downloading input data: the storage cannot be reached, trying again" in messages
    assert (end.failure, s.starts()) == (None, 1)
    assert keys(s) == ["out/job/output/model.tar.gz"]


class HeldStorage(DirectoryStorage):
    """Gives no object before it is let go."""

    def __init__(self, root):
        super().__init__(root)
        self.go_on = threading.Event()

    def get(self, *args, **kwargs):
        assert self.go_on.wait(60)
        return super().get(*args, **kwargs)


@pytest.mark.parametrize("what", ["train", "checkpoints"])
def test_how_far_a_download_is_stands_in_the_reports_while_it_lasts(scene, tmp_path, what):
    """In numbers, of channels and of checkpoints; not a word of it afterwards."""
    storage = HeldStorage(tmp_path / "s3")
    restored = what == "checkpoints"
    s = scene(
        storage=storage,
        script=MODEL,
        channels=() if restored else (make_channel("train"),),
        checkpoint_config=CheckpointConfig(s3_uri="s3://models/ckpt/") if restored else None,
    )
    s.buckets.put("models", "ckpt/x", b"1,2\n")
    agent = s.agent()
    s.go(agent, until=lambda _state: s.snapshots and s.snapshots[-1].downloading is not None)
    assert s.snapshot.downloading == ChannelProgress(
        channel_name=what,
        objects_done=0,
        objects_total=1,
        bytes_done=0,
        bytes_total=4,
        bytes_per_s=s.snapshot.downloading.bytes_per_s,
    )
    assert f"channel {what}, 0 of 1 objects, 0 bytes of 4 bytes" in s.snapshot.message
    storage.go_on.set()
    end = s.go(agent)
    assert (end.phase, end.downloading, end.failure) == (Phase.FINISHED, None, None)


def test_expired_credentials_are_waited_for(scene, tmp_path):
    """A refusal is no failure while the credentials have ended: the server, when it is back, renews them."""
    faults = [Fault(verb="get", error=DENIED, times=2)]
    s = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults), script=MODEL)
    s.grant(expires_in_s=-1)
    agent = s.agent()
    s.go(agent, until=lambda state: "waiting for renewed credentials" in (agent.steps[2].message or ""))
    s.grant()
    end = s.go(agent)

    assert (end.failure, end.program_end.exit_code) == (None, 0)


def test_an_upload_that_is_refused_fails_the_job(scene, tmp_path):
    """The text is SageMaker's; the artifact is not claimed."""
    faults = [Fault(verb="open_writer", error=DENIED)]
    end = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults), script=MODEL).go()

    assert end.failure.reason == ("ClientError: Artifact upload failed:Error 7: AccessDenied (403): Access Denied")
    assert end.s3_model_artifacts is None
    assert end.program_end == ProgramEnd(exit_code=0)


def test_a_failed_program_keeps_its_own_reason(scene, tmp_path):
    """An upload that is refused after a failed program does not hide why the program failed."""
    faults = [Fault(verb="open_writer", error=DENIED, times=5)]
    script = Script(exit_code=1, files={"/opt/ml/model/m": "x"})
    end = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults), script=script).go()

    assert (end.failure, end.program_end.exit_code, end.s3_model_artifacts) == (None, 1, None)


def test_a_stop_ends_the_program_and_keeps_its_model(scene):
    """SIGTERM, and then everything as after any end."""
    s = scene(script=Script(run_for=1000, files={"/opt/ml/model/m": "x"}))
    agent = s.agent()
    s.go(agent, until=lambda state: state.program_started)
    s.wish(stop=STOP)
    end = s.go(agent)

    assert (end.stop_reason, end.program_end.exit_code, end.failure) == (STOP, 143, None)
    assert end.staged_at <= end.stopping_at <= end.ended_at < end.stopping_at + 1000
    assert members(s.buckets, "out/job/output/model.tar.gz") == {"m": b"x"}


def test_a_program_that_ignores_the_stop_is_killed_after_the_grace(scene):
    """120 seconds from the stop, though two instance programs die in between."""
    s = scene(script=Script(run_for=10_000, ignores_sigterm=True))
    agent = s.agent()
    s.go(agent, until=lambda state: state.program_started)
    s.wish(stop=STOP)
    s.go(agent, until=lambda state: state.terminated)
    for _ in range(2):
        s.go(seconds=50)
    end = s.go()

    assert end.program_end.exit_code == 137
    assert 120_000 <= end.ended_at - end.stopping_at < 121_000
    progress = s.runtime.progress(s.files.program)
    assert progress.signals == (15, 9)


def test_a_stop_while_data_come_in_starts_no_program(scene, tmp_path):
    """The download is left, nothing is uploaded, and the instance is finished within the second."""
    faults = [Fault(verb="list_objects", error=Unreachable("away"), times=10**6)]
    s = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults), script=MODEL)
    agent = s.agent()
    s.go(agent, seconds=5)
    s.wish(stop=STOP)
    asked_at = s.clock.now()
    end = s.go(agent)

    assert (end.stop_reason, end.program_end, end.failure) == (STOP, ProgramEnd(exit_code=None), None)
    assert end.finished_at - asked_at < 1000
    assert (s.starts(), keys(s), end.staged_at) == (0, [], None)


def test_the_time_limit_holds_without_the_server(scene):
    """MaxRuntimeInSeconds counts from ready_at."""
    s = scene(script=Script(run_for=1000), max_runtime_s=60)
    end = s.go()

    assert (end.stop_reason, end.program_end.exit_code) == (StopReason.MAX_RUNTIME_EXCEEDED, 143)
    assert 60_000 <= end.stopping_at - end.ready_at < 61_000


def test_the_time_limit_holds_while_data_come_in(scene, tmp_path):
    """A download that takes all the time of the job ends it."""
    faults = [Fault(verb="list_objects", error=Unreachable("away"), times=10**6)]
    s = scene(storage=FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults), max_runtime_s=60)
    end = s.go()

    assert (end.stop_reason, end.program_end) == (StopReason.MAX_RUNTIME_EXCEEDED, ProgramEnd(exit_code=None))
    assert 60_000 <= end.stopping_at - end.ready_at < 61_000


def test_a_program_that_ended_before_its_limit_is_not_stopped_by_it(scene):
    """Though nobody was there to see it end, and the limit has passed since."""
    s = scene(script=Script(run_for=10), max_runtime_s=60)
    s.go(until=lambda state: state.program_started)
    s.clock.advance(1000)
    end = s.go()

    assert (end.stopping_at, end.program_end.exit_code) == (None, 0)


def test_a_lost_program_is_reported_as_lost(scene):
    """No exit code, no upload, and what it printed is kept."""
    s = scene(script=Script(run_for=1, vanishes=True, lines=("last words",)))
    end = s.go()

    assert (end.lost, end.program_end, end.failure) == (True, ProgramEnd(exit_code=None), None)
    assert end.phase is Phase.FINISHED
    assert (keys(s), s.lines) == ([], ["last words"])


def test_a_program_that_cannot_be_started_is_the_platforms_fault(scene):
    """The runtime's text says why."""
    end = scene(script=Script(cannot_start="no sandbox here")).go()

    assert (end.failure.kind, end.failure.message) == (FailureKind.INTERNAL_SERVER_ERROR, "no sandbox here")
    assert (end.phase, end.staged_at) == (Phase.FINISHED, None)


def test_metrics_are_found_in_the_log_and_survive_a_restart(scene):
    """The last value of each, in the order of the definitions."""
    definitions = tuple(MetricDefinition(name=name, regex=f"{name}=([0-9.]+)") for name in ("loss", "never", "acc"))
    script = Script(run_for=100, lines=("acc=0.5", "loss=2 acc=0.25", "loss=1.5"))
    s = scene(script=script, metric_definitions=definitions)
    s.go(until=lambda state: state.program_started)
    s.go(seconds=10)
    before = s.snapshot
    end = s.go()

    assert [(m.metric_name, m.value) for m in end.metrics] == [("loss", 1.5), ("acc", 0.25)]
    assert end.metrics == before.metrics
    assert len(s.lines) == 3


def test_a_host_awaits_the_data_of_its_peers(scene):
    """Its program starts when the controller says so, and not with a new instance program either."""
    s = scene(hosts=("algo-1", "algo-2"), host="algo-2")
    s.go(seconds=30)
    assert (s.snapshot.phase, s.snapshot.staged_at, s.starts()) == (Phase.DOWNLOADING, None, 0)
    standing_by_at = s.snapshot.standing_by_at
    agent = s.agent()
    s.go(agent, seconds=30)
    assert (s.starts(), s.snapshot.standing_by_at) == (0, standing_by_at)
    s.wish(start=True)
    end = s.go(agent)

    assert (s.starts(), end.program_end.exit_code, end.standing_by_at) == (1, 0, standing_by_at)
    assert end.staged_at >= standing_by_at + 50_000


@pytest.mark.parametrize("why", [STOP, StopReason.PEER_ENDED])
def test_a_host_that_awaits_its_peers_can_be_stopped(scene, why):
    """Its program never starts."""
    s = scene(hosts=("algo-1", "algo-2"), script=MODEL)
    agent = s.agent()
    s.go(agent, seconds=5)
    s.wish(stop=why)
    end = s.go(agent)

    assert (end.stop_reason, end.program_end, end.failure) == (why, ProgramEnd(exit_code=None), None)
    assert (s.starts(), keys(s), end.staged_at) == (0, [], None)


def test_a_leader_waits_for_its_peers_and_merges_them(scene, tmp_path):
    """It uploads when the controller says so; the later host wins where two wrote the same file."""
    hosts = ("algo-1", "algo-2")
    both = {"/opt/ml/model/same": "1", "/opt/ml/model/one": "1"}
    leader = scene(hosts=hosts, script=Script(files=both))
    leader.wish(start=True)
    agent = leader.agent()
    leader.go(agent, seconds=30)
    assert leader.snapshot.phase is Phase.ENDED
    follower = scene(
        hosts=hosts, host="algo-2", script=Script(files={"/opt/ml/model/same": "2", "/opt/ml/output/data/o": "2"})
    )
    follower.wish(start=True)
    assert follower.go().phase is Phase.FINISHED
    assert follower.snapshot.s3_model_artifacts is None
    assert keys(leader) == []
    leader.wish(start=True, upload=True)
    leader.go(agent)

    assert members(leader.buckets, "out/job/output/model.tar.gz") == {"same": b"2", "one": b"1"}
    assert members(leader.buckets, "out/job/output/output.tar.gz") == {"o": b"2"}


def test_job_code_cannot_make_the_leader_read_elsewhere(scene, tmp_path):
    """An output directory, or a failure file, that has become a link is not followed."""
    secret = tmp_path / "secret"
    (secret / "data").mkdir(parents=True)
    (secret / "data" / "key").write_text("key")
    (secret / "failure").write_text("key")
    s = scene(script=Script(run_for=10, exit_code=1))
    agent = s.agent()
    s.go(agent, until=lambda state: state.program_started)
    s.in_opt_ml("output").rename(tmp_path / "away")
    s.in_opt_ml("output").symlink_to(secret)
    s.in_opt_ml("model").rmdir()
    s.in_opt_ml("model").symlink_to(secret)
    end = s.go(agent)

    assert (end.program_end.failure_text, keys(s)) == ("", [])


def test_leaving_is_no_stop(scene):
    """An instance program that is told to go leaves the training alone; the next one goes on."""
    s = scene(script=Script(run_for=100, files={"/opt/ml/model/m": "x"}))
    s.go(until=lambda state: state.program_started)
    agent = s.agent()
    s.waker.leave()
    agent.run()

    assert agent.state.exit_code is None
    assert s.runtime.progress(s.files.program).signals == ()
    assert s.go().program_end.exit_code == 0
    assert s.starts() == 1


def test_an_unexpected_error_ends_the_job(scene, monkeypatch):
    """The program is killed, and the job fails as the platform's fault rather than hang."""
    s = scene(script=Script(run_for=1000))
    s.go(until=lambda state: state.program_started)
    monkeypatch.setattr(RunTraining, "turn", lambda _self: 1 / 0)
    agent = s.agent()
    agent.run()
    s.see()

    assert s.snapshot.failure.kind is FailureKind.INTERNAL_SERVER_ERROR
    assert s.snapshot.phase is Phase.FINISHED
    assert s.runtime.progress(s.files.program).ended == 137


def test_an_instance_program_that_dies_again_and_again_ends_the_job(scene):
    """Five starts in vain are borne, the sixth is the last."""
    s = scene(script=MODEL)
    for _ in range(5):
        s.agent().begin()
    agent = s.agent()
    agent.run()
    s.see()

    assert s.snapshot.failure.kind is FailureKind.INTERNAL_SERVER_ERROR
    assert (s.snapshot.phase, s.starts()) == (Phase.FINISHED, 0)


def test_a_finished_instance_only_says_so_again(scene):
    """Started once more, the instance program changes nothing but the sequence number at most."""
    s = scene(script=MODEL)
    end = s.go()
    s.files.snapshot.unlink()
    agent = s.agent()
    agent.run()
    s.see()

    assert (s.snapshot.finished_at, s.snapshot.s3_model_artifacts) == (end.finished_at, end.s3_model_artifacts)
    assert s.starts() == 1


def test_a_disk_that_the_program_has_filled_is_waited_for(scene, monkeypatch):
    """Nothing can be noted or told for a while; then the job goes on to its proper end."""
    s = scene(script=Script(run_for=10, files={"/opt/ml/model/m": "x"}))
    agent = s.agent()
    s.go(agent, until=lambda state: state.program_started)
    refusals = [OSError(28, "No space left on device")] * 5
    note = Journal.note

    def refusing(journal, entry):
        if refusals:
            raise refusals.pop()
        note(journal, entry)

    monkeypatch.setattr(agent, "begin", lambda: None)
    monkeypatch.setattr(Journal, "note", refusing)
    end = s.go(agent)

    assert (refusals, end.failure, end.program_end.exit_code, s.starts()) == ([], None, 0, 1)
    assert keys(s) == ["out/job/output/model.tar.gz"]


def test_an_attempt_that_begins_where_another_one_was_has_a_log_stream_of_its_own(scene):
    """Stored lines of that one, up to an offset, are not taken for its own."""
    s = scene(script=MODEL)
    begun = s.clock.now() // 1000
    there = [f"job/algo-1-{second}" for second in range(begun, begun + 50)]
    for name in there:
        writer = s.logs.writer(s.task.log_group, name)
        writer.append([b"of another attempt"], timestamp=s.clock.now(), source_offset=1000)
        writer.close()

    end = s.go()

    assert end.log_stream == f"job/algo-1-{begun + 50}"
    assert s.lines == ["hello", " ", "bye"]
