"""Checkpoints of one host: restored before the program, followed while it runs, and brought up to date when it has ended."""

import stat
import time

import pytest

from clary.instance import checkpoint_place, opt_ml
from clary.instance.decisions import look_again_s
from clary.jobs.failure import FailureKind
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import CheckpointConfig
from clary.jobs.task import Phase, StopReason
from clary.runtimes.port import Mount, VolumeTrouble
from clary.runtimes.scripted import Script
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.port import AccessDenied, NoSuchBucket, Unreachable
from factories import make_channel
from unit.instance.scenes import make_task

CONFIG = CheckpointConfig(s3_uri="s3://models/ckpt/v2")
ELSEWHERE = CheckpointConfig(s3_uri="s3://models/ckpt/v2", local_path="/data/deep/ckpt/")
DENIED = AccessDenied("AccessDenied (403): Access Denied", code="AccessDenied", status=403)
AWAY = Unreachable("connection refused")


@pytest.fixture
def scene(scene):
    """A scene of a job with checkpoints and without channels."""
    return lambda **changes: scene(**{"checkpoint_config": CONFIG, "channels": ()} | changes)


def faulty(tmp_path, *faults):
    return FaultyStorage(DirectoryStorage(tmp_path / "s3"), faults)


def objects(scene, prefix="ckpt/"):
    """All checkpoints in S3, by key."""
    return {
        info.key: bytes(scene.buckets.get("models", info.key)) for info in scene.buckets.list_objects("models", prefix)
    }


def put(scene, **keys):
    for key, content in keys.items():
        scene.buckets.put("models", f"ckpt/{key}", content)


def running(scene, agent=None):
    """An agent whose program runs."""
    agent = agent or scene.agent()
    scene.go(agent, until=lambda state: state.program_started)
    return agent


def watch(scene, agent, until, turns=2000):
    """Let it work, with the time that it asks for, until that is so. A look takes none of that time, however long it takes."""
    deadline = time.monotonic() + 60
    for _ in range(turns):
        if until():
            return
        pause = agent.turn()
        scene.see()
        while scene.is_working() and not until():
            assert time.monotonic() < deadline, "a look does not end"
            time.sleep(0.002)  # it works in a thread of its own
        if pause:
            scene.clock.advance(pause)
    raise AssertionError("it never came")


class TestRestoring:
    def test_everything_below_the_prefix_is_there_before_the_program(self, scene):
        """And nothing beside it, nor what is no checkpoint; files and directories are open to any user."""
        s = scene(script=Script(files={"/opt/ml/checkpoints/new": "n"}))
        for key in ("v2/a", "v2/d/e/b", "v2/empty/", "v20/x", "v2", "v2/a.sagemaker-uploaded", "v2/h.sagemaker-ignore"):
            s.buckets.put("models", f"ckpt/{key}", b"" if key.endswith("/") else key.encode())
        agent = s.agent()
        s.go(agent, until=lambda state: state.checkpoints_restored)
        assert s.starts() == 0

        root = s.in_opt_ml("checkpoints")
        found = {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}
        assert found == {".": 0o777, "a": 0o666, "d": 0o777, "d/e": 0o777, "d/e/b": 0o666, "empty": 0o777}
        assert (root / "d/e/b").read_bytes() == b"v2/d/e/b"
        assert s.in_opt_ml("input/data/checkpoints-manifest").read_text() == (
            "ckpt/v2\ns3://models/ckpt/v2/a\ns3://models/ckpt/v2/d/e/b\n"
        )
        before = objects(s)
        assert s.go(agent).program_end.exit_code == 0
        assert objects(s) == before | {"ckpt/v2/new": b"n"}

    def test_nothing_to_restore_is_fine(self, scene):
        """The manifest has only the first line (observed), and no progress is told of nothing."""
        s = scene()
        assert s.go().failure is None
        assert not any("checkpoints" in (snapshot.message or "") for snapshot in s.snapshots)
        assert list(s.in_opt_ml("checkpoints").iterdir()) == []
        assert s.in_opt_ml("input/data/checkpoints-manifest").read_text() == "ckpt/v2\n"

    def test_the_program_is_told_where_alone(self, scene):
        """LocalPath as it was asked for, and no S3Uri (observed)."""
        s = scene()
        s.go()
        assert s.in_opt_ml("input/config/checkpointconfig.json").read_bytes() == b'{"LocalPath":"/opt/ml/checkpoints"}'
        assert "checkpointconfig.json" not in opt_ml.config_files(make_task(), "lo")

    def test_a_channel_of_that_name_keeps_its_manifest(self, scene):
        """There is one file for the two."""
        s = scene(channels=(make_channel("checkpoints"),))
        s.buckets.put("data", "checkpoints/a", b"x")
        put(s, **{"v2/b": b"y"})
        assert s.go().failure is None
        assert s.in_opt_ml("input/data/checkpoints-manifest").read_text() == ("checkpoints/\ns3://data/checkpoints/a\n")

    def test_how_far_it_is_is_told(self, scene, monkeypatch):
        """In the words of a channel."""
        monkeypatch.setattr("clary.storage.transfer._PROGRESS_EVERY_S", 0)
        s = scene()
        put(s, **{"v2/a": b"12345"})
        s.go()
        assert "Downloading input data: channel checkpoints, 1 of 1 objects, 5 bytes of 5 bytes" in [
            snapshot.message for snapshot in s.snapshots
        ]

    def test_a_store_that_is_away_is_waited_for(self, scene, tmp_path):
        """However long it takes."""
        s = scene(storage=faulty(tmp_path, Fault(verb="list_objects", error=AWAY, times=30)))
        put(s, **{"v2/a": b"x"})
        assert s.go().failure is None
        assert "Downloading input data: the storage cannot be reached, trying again" in {
            snapshot.message for snapshot in s.snapshots
        }
        assert s.in_opt_ml("checkpoints/a").read_bytes() == b"x"

    @pytest.mark.parametrize("error", [DENIED, NoSuchBucket("NoSuchBucket (404): no bucket", code="NoSuchBucket")])
    def test_a_store_that_refuses_fails_the_job(self, scene, tmp_path, error):
        """As for a channel; the program is not started."""
        s = scene(storage=faulty(tmp_path, Fault(verb="list_objects", error=error)))
        assert s.go().failure.reason == f"ClientError: Data download failed:{error}"
        assert s.starts() == 0

    def test_a_refusal_may_be_one_of_old_credentials(self, scene, tmp_path):
        """Then new ones are waited for."""
        s = scene(storage=faulty(tmp_path, Fault(verb="list_objects", error=DENIED)))
        s.grant(expires_in_s=-1)
        agent = s.agent()
        restore = next(step for step in agent.steps if step.name == "restore checkpoints")
        s.go(agent, until=lambda state: "waiting for renewed credentials" in (restore.message or ""))
        assert s.go().failure is None

    def test_a_stop_ends_it(self, scene, tmp_path):
        """At once, whatever the store does; nothing is synchronised."""
        s = scene(storage=faulty(tmp_path, Fault(verb="list_objects", error=AWAY, times=10**6)))
        agent = s.agent()
        s.go(agent, seconds=10)
        s.wish(stop=StopReason.STOP_TRAINING_JOB)
        end = s.go(agent)
        assert (end.phase, end.program_end.exit_code, end.failure) == (Phase.FINISHED, None, None)

    def test_a_key_that_is_no_file_name_fails_the_job(self, scene):
        """It must not be written outside the directory."""
        s = scene()
        put(s, **{"v2/../../../escape": b"x"})
        assert "cannot be a file name" in s.go().failure.reason

    def test_a_job_without_checkpoints_makes_none(self, scene):
        """No directory, no manifest, no request."""
        s = scene(checkpoint_config=None)
        s.go()
        assert not s.in_opt_ml("checkpoints").exists()
        assert not s.in_opt_ml("input/data/checkpoints-manifest").exists()
        assert not s.files.synced.exists()


class TestThePlace:
    @pytest.mark.parametrize("path", [None, "/opt/ml/checkpoints", "/opt/ml/checkpoints/", "/opt/ml/my ckpt"])
    def test_right_below_opt_ml_it_is_a_directory_there(self, tmp_path, path):
        """Which the program may remove and rename into."""
        files = InstanceFiles(tmp_path)
        config = CheckpointConfig(s3_uri="s3://b/c", local_path=path)
        assert checkpoint_place.mounts(config, files) == ()
        assert checkpoint_place.directory(config, files).parent == files.opt_ml

    @pytest.mark.parametrize("path", ["/ckpt", "/tmp/ckpt/", "/opt/ml/code/ckpt", "//opt//ml2"])
    def test_anywhere_else_it_is_a_mount_of_its_own(self, tmp_path, path):
        """Whose root cannot be swapped for a link."""
        files = InstanceFiles(tmp_path)
        config = CheckpointConfig(s3_uri="s3://b/c", local_path=path)
        [mount] = checkpoint_place.mounts(config, files)
        target = "/" + "/".join(part for part in path.split("/") if part)
        assert mount == Mount(source=str(files.checkpoints), target=target, read_only=False)
        assert checkpoint_place.directory(config, files) == files.checkpoints

    def test_a_job_without_checkpoints_has_none(self, tmp_path):
        assert checkpoint_place.mounts(None, InstanceFiles(tmp_path)) == ()

    @pytest.mark.parametrize(
        ("uri", "prefix"),
        [
            ("s3://b", ""),
            ("s3://b/", ""),
            ("s3://b/a", "a/"),
            ("s3://b/a/", "a/"),
            ("https://s3.amazonaws.com/b/a", "a/"),
        ],
    )
    def test_objects_lie_below_the_uri(self, uri, prefix):
        """With one slash in between, whether or not the URI has it."""
        assert checkpoint_place.objects(CheckpointConfig(s3_uri=uri)).key == prefix

    def test_another_place_is_synchronised_as_well(self, scene):
        """Restored, written to through its mount, and followed."""
        s = scene(checkpoint_config=ELSEWHERE, script=Script(files={"/data/deep/ckpt/new": "n"}))
        put(s, **{"v2/old": b"o"})
        assert s.go().failure is None
        assert objects(s) == {"ckpt/v2/old": b"o", "ckpt/v2/new": b"n"}
        assert s.in_opt_ml("input/config/checkpointconfig.json").read_bytes() == b'{"LocalPath":"/data/deep/ckpt/"}'


class TestWhileTheProgramRuns:
    def test_new_and_changed_files_come_to_s3_and_deleted_ones_go(self, scene):
        """Within seconds, long before the end."""
        s = scene(script=Script(run_for=10_000, files={"/opt/ml/checkpoints/a": "1"}))
        put(s, **{"v2/old": b"o"})
        agent = running(s)
        began = s.clock.now()
        watch(s, agent, lambda: objects(s) == {"ckpt/v2/a": b"1", "ckpt/v2/old": b"o"})
        s.in_opt_ml("checkpoints/a").write_text("22")
        s.in_opt_ml("checkpoints/old").unlink()
        watch(s, agent, lambda: objects(s) == {"ckpt/v2/a": b"22"})
        assert s.clock.now() - began < 60_000
        assert s.snapshot.phase is Phase.TRAINING

    def test_a_store_that_is_away_disturbs_nothing(self, scene, tmp_path):
        """The program ends when it ends, its log is whole; its checkpoints are waited for."""
        storage = faulty(tmp_path, Fault(verb="put", key="ckpt/v2/a", error=AWAY, times=40))
        s = scene(storage=storage, script=Script(run_for=60, lines=("x",), files={"/opt/ml/checkpoints/a": "1"}))
        end = s.go()
        assert (end.failure, end.program_end.exit_code, s.lines) == (None, 0, ["x"])
        assert end.ended_at - end.staged_at < 62_000
        assert objects(s) == {"ckpt/v2/a": b"1"}

    def test_a_store_that_hangs_disturbs_nothing(self, scene):
        """Nobody waits for a look beside the program, and an instance program that is told to leave leaves."""
        s = scene(script=Script(run_for=30, files={"/opt/ml/checkpoints/a": "1"}))
        s.storage = storage = Gated(s.buckets)
        agent = running(s)
        watch(s, agent, lambda: "ckpt/v2/a" in storage.waiting)
        before = time.monotonic()
        s.go(agent, until=lambda state: state.ended_at is not None)
        agent._leave()
        assert time.monotonic() - before < 30
        storage.open = True

    def test_a_refusal_that_passes_does_no_harm(self, scene, tmp_path):
        """It is tried again until the end."""
        storage = faulty(tmp_path, Fault(verb="put", key="ckpt/v2/a", error=DENIED, times=3))
        s = scene(storage=storage, script=Script(run_for=600, files={"/opt/ml/checkpoints/a": "1"}))
        agent = running(s)
        watch(s, agent, lambda: objects(s) == {"ckpt/v2/a": b"1"})
        assert s.go(agent).failure is None

    def test_another_instance_program_goes_on(self, scene):
        """With what the last one knew: nothing is uploaded again, what was deleted meanwhile is deleted."""
        s = scene(script=Script(run_for=10_000, files={"/opt/ml/checkpoints/a": "1", "/opt/ml/checkpoints/b": "2"}))
        agent = running(s)
        watch(s, agent, lambda: len(objects(s)) == 2 and b"null" not in s.files.synced.read_bytes())
        s.storage = storage = FaultyStorage(s.buckets)
        s.in_opt_ml("checkpoints/a").unlink()
        agent = running(s)
        watch(s, agent, lambda: objects(s) == {"ckpt/v2/b": b"2"})
        assert [verb for verb, _ in storage.calls] == ["delete"]

    def test_looks_never_cost_more_than_a_hundredth(self):
        """A look every second; with more files, as often as that allows, and once a minute at least."""
        assert [look_again_s(cost) for cost in (0, 0.01, 0.05, 0.5, 10)] == [1, 1, 5, 50, 60]


class Gated:
    """A store whose uploads hang until it is opened, or for a minute."""

    def __init__(self, inner):
        self._inner = inner
        self.waiting = []
        self.open = False

    def __getattr__(self, verb):
        return getattr(self._inner, verb)

    def put(self, bucket, key, data):
        self.waiting.append(key)
        until = time.monotonic() + 60
        while not self.open and time.monotonic() < until:
            time.sleep(0.01)  # it stands for a store that does not answer


class TestAtTheEnd:
    @pytest.mark.parametrize("exit_code", [0, 3])
    def test_what_the_program_has_left_is_there_before_the_job_ends(self, scene, exit_code):
        """Also after a failure (inferred), and before artifacts are uploaded."""
        files = {"/opt/ml/checkpoints/a": "1", "/opt/ml/model/m": "m", "/opt/ml/checkpoints/b.sagemaker-ignore": "half"}
        s = scene(script=Script(files=files, exit_code=exit_code))
        agent = s.agent()
        s.go(agent, until=lambda state: state.upload_begun)
        assert objects(s) == {"ckpt/v2/a": b"1"}
        assert s.go(agent).program_end.exit_code == exit_code

    def test_what_is_written_in_the_stop_window_is_there(self, scene):
        """Until the program is gone."""
        s = scene(script=Script(run_for=10_000, ignores_sigterm=True))
        agent = running(s)
        s.wish(stop=StopReason.STOP_TRAINING_JOB)
        s.go(agent, until=lambda state: state.terminated)
        s.in_opt_ml("checkpoints/last").write_text("saved")
        s.go(agent, until=lambda state: state.killing)
        s.in_opt_ml("checkpoints/later").write_text("too")
        end = s.go(agent)
        assert end.stop_reason is StopReason.STOP_TRAINING_JOB
        assert objects(s) == {"ckpt/v2/last": b"saved", "ckpt/v2/later": b"too"}

    @pytest.mark.parametrize("verb", ["put", "delete"])
    def test_a_refusal_fails_the_job(self, scene, tmp_path, verb):
        """In words like those of artifacts, which are uploaded all the same."""
        storage = faulty(
            tmp_path, *(Fault(verb=verb, key=f"ckpt/v2/{k}", error=DENIED, times=10**6) for k in ("a", "b"))
        )
        s = scene(storage=storage, script=Script(files={"/opt/ml/checkpoints/a": "1", "/opt/ml/model/m": "m"}))
        put(s, **{"v2/b": b"x"})
        agent = s.agent()
        s.go(agent, until=lambda state: state.checkpoints_restored)
        if verb == "delete":
            s.in_opt_ml("checkpoints/b").unlink()
        end = s.go(agent)
        assert end.failure.reason == (
            "ClientError: Checkpoint upload failed:Error 7: AccessDenied (403): Access Denied"
        )
        assert end.s3_model_artifacts is not None

    def test_a_failed_program_keeps_its_own_reason(self, scene, tmp_path):
        """It helps more."""
        storage = faulty(tmp_path, Fault(verb="put", key="ckpt/v2/a", error=DENIED, times=10**6))
        s = scene(storage=storage, script=Script(exit_code=3, files={"/opt/ml/checkpoints/a": "1"}))
        end = s.go()
        assert (end.failure, end.program_end.exit_code) == (None, 3)

    def test_old_credentials_are_no_reason(self, scene, tmp_path):
        """New ones are waited for."""
        storage = faulty(tmp_path, Fault(verb="put", key="ckpt/v2/a", error=DENIED))
        s = scene(storage=storage, script=Script(files={"/opt/ml/checkpoints/a": "1"}))
        agent = s.agent()
        s.go(agent, until=lambda state: state.checkpoints_restored)
        s.grant(expires_in_s=-1)
        assert s.go(agent).failure is None
        assert objects(s) == {"ckpt/v2/a": b"1"}

    def test_a_directory_put_aside_fails_the_job_and_deletes_nothing(self, scene):
        """A link would lead out of what the program may see."""
        s = scene(script=Script(run_for=100))
        put(s, **{"v2/a": b"x"})
        agent = running(s)
        s.in_opt_ml("checkpoints").rename(s.in_opt_ml("aside"))
        s.in_opt_ml("checkpoints").symlink_to("aside")
        assert s.go(agent).failure.reason == (
            "ClientError: Checkpoint upload failed:LocalPath is no directory any more"
        )
        assert objects(s) == {"ckpt/v2/a": b"x"}

    def test_a_lost_program_leaves_what_was_at_rest(self, scene):
        """After a reboot its files may be damaged, and the next attempt must find good ones."""
        s = scene(script=Script(run_for=20, vanishes=True))
        agent = running(s)
        s.in_opt_ml("checkpoints/good").write_text("1")
        watch(s, agent, lambda: objects(s) == {"ckpt/v2/good": b"1"})
        s.go(agent, until=lambda state: s.clock.now() >= state.program_start_at + 19_990)
        s.in_opt_ml("checkpoints/good").write_text("")
        end = s.go(agent)
        assert end.lost
        assert objects(s) == {"ckpt/v2/good": b"1"}

    def test_a_volume_that_lost_what_was_written_keeps_the_last_good_ones(self, scene):
        """Neither checkpoints nor artifacts are made of it."""
        s = scene(script=Script(files={"/opt/ml/checkpoints/a": "damaged", "/opt/ml/model/m": "m"}))
        put(s, **{"v2/a": b"good"})
        s.volumes = Settling(after=1)
        end = s.go()
        assert end.failure.kind is FailureKind.INTERNAL_SERVER_ERROR
        assert objects(s, "") == {"ckpt/v2/a": b"good"}

    def test_each_host_keeps_its_own_directory(self, scene):
        """All hosts get all; what one writes the others do not see, and files of one name overwrite each other."""
        hosts = ("algo-1", "algo-2")
        scenes = []
        for host in hosts:
            files = {f"/opt/ml/checkpoints/{host}": host, "/opt/ml/checkpoints/same": host}
            s = scene(hosts=hosts, host=host, script=Script(files=files))
            s.wish(start=True, upload=True)
            put(s, **{"v2/old": b"o"})
            scenes.append(s)
        for s in scenes:
            assert s.go().failure is None
        assert objects(scenes[0]) == {
            "ckpt/v2/algo-1": b"algo-1",
            "ckpt/v2/algo-2": b"algo-2",
            "ckpt/v2/old": b"o",
            "ckpt/v2/same": b"algo-2",
        }


class Settling:
    """Volumes that have lost something once they have settled that often."""

    def __init__(self, after):
        self.left = after

    def attach_again(self, _image, _mount_point):
        pass

    def settle(self, _mount_point):
        self.left -= 1
        if self.left < 0:
            raise VolumeTrouble("lost")
