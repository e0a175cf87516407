"""When an instance makes, checks and gets back its volume, and what becomes of the job when it cannot."""

import os

import pytest

from clary.jobs.failure import FailureKind
from clary.jobs.task import Phase
from clary.runtimes import volumes
from clary.runtimes.port import VolumeTrouble
from clary.runtimes.scripted import Script
from factories import make_channel
from unit.instance.scenes import Scene

pytest_plugins = ["loop_volumes"]

GIB = 1 << 30
TROUBLE = VolumeTrouble("there is no loop device")


class RecordingVolumes:
    """Notes what is asked of it, by the names of the instance and of the call; `trouble` is raised by the calls it names."""

    def __init__(self, **trouble):
        self.trouble = trouble
        self.calls = []

    def attach(self, image, mount_point, size_bytes):
        assert image.parent == mount_point.parent
        self._called("attach", mount_point, size_bytes)

    def attach_again(self, image, mount_point):
        assert image.parent == mount_point.parent
        self._called("attach_again", mount_point)

    def settle(self, mount_point):
        self._called("settle", mount_point)

    def _called(self, call, mount_point, *more):
        self.calls.append((mount_point.parent.name, call, *more))
        if call in self.trouble:
            raise self.trouble[call]


@pytest.fixture
def scene(tmp_path):
    def make(trouble=None, **changes):
        s = Scene(tmp_path, **{"volume_size_in_gb": 30, "script": Script(files={"/opt/ml/model/m": "x"}), **changes})
        s.volumes = RecordingVolumes(**(trouble or {}))
        return s

    return make


def run(s):
    agent = s.agent()
    agent.run()
    s.see()
    return s.snapshot


def test_a_volume_is_made_and_checked(scene):
    """Made before anything is written to it; checked when the data are there, and before each artifact is read."""
    s = scene()
    end = s.go()

    name = s.files.root.name
    kinds = [call[1] for call in s.volumes.calls]
    assert s.volumes.calls[0] == (name, "attach", 30 * GIB)
    assert kinds == ["attach", "settle", *["attach_again", "settle"] * 2]
    assert (end.failure, end.program_end.exit_code) == (None, 0)


@pytest.mark.parametrize("changes", [{"volume_size_in_gb": None}, {"instance_type": "ml.g5.xlarge"}])
def test_without_a_limit_there_is_none(scene, changes):
    """Where volumes are off, and on types with an instance store: the disk is the machine's."""
    s = scene(**changes)

    assert s.go().failure is None
    assert "attach" not in {call[1] for call in s.volumes.calls}
    assert s.in_opt_ml("model").is_dir()


def test_a_volume_that_cannot_be_made_fails_the_job(scene):
    """As the platform's fault, with the reason; the program is not started."""
    s = scene({"attach": TROUBLE})
    end = run(s)

    assert end.failure.reason == "InternalServerError: there is no loop device"
    assert (end.phase, s.starts()) == (Phase.FINISHED, 0)


def test_data_that_were_lost_on_the_way_are_no_data(scene):
    """The volume had room for them, the machine's disk none."""
    s = scene({"settle": TROUBLE})

    assert s.go().failure.reason == "ClientError: Data download failed:Insufficient disk space"
    assert s.starts() == 0


def test_artifacts_that_were_lost_fail_the_job(scene):
    """What the program saw written is not there: nothing is uploaded, nothing claimed."""
    s = scene({"settle": TROUBLE}, channels=())
    end = s.go()

    assert end.failure.kind is FailureKind.INTERNAL_SERVER_ERROR
    assert "there is no loop device" in end.failure.reason
    assert end.s3_model_artifacts is None
    assert list(s.buckets.list_objects("models", "")) == []


def test_a_failed_program_keeps_its_own_reason(scene):
    """It helps more than the loss of what it left."""
    s = scene({"settle": TROUBLE}, channels=(), script=Script(exit_code=3))

    assert (s.go().failure, s.snapshot.program_end.exit_code) == (None, 3)


def test_each_instance_program_sees_to_the_volume(scene):
    """A reboot has unmounted it; before it was first made there is nothing to see to."""
    s = scene(script=Script(run_for=100))
    s.go(until=lambda state: state.program_started)
    assert ("attach_again",) not in {call[1:] for call in s.volumes.calls}
    s.volumes.calls.clear()
    agent = s.agent()
    agent.begin()

    assert s.volumes.calls == [(s.files.root.name, "attach_again")]


def test_a_volume_that_does_not_come_back_ends_the_job(scene):
    """With the reason."""
    s = scene(script=Script(run_for=100))
    s.go(until=lambda state: state.program_started)
    s.volumes.trouble["attach_again"] = VolumeTrouble("the volume was damaged")

    assert run(s).failure.reason == "InternalServerError: the volume was damaged"
    assert s.runtime.progress(s.files.program).ended == 137


def test_the_leader_sees_to_the_volumes_of_all_hosts(scene):
    """Theirs have finished: after a reboot nobody else would mount them, and their models would be missing."""
    hosts = ("algo-1", "algo-2")
    follower = scene(hosts=hosts, host="algo-2")
    follower.wish(start=True)
    follower.go()
    leader = scene(hosts=hosts)
    leader.wish(start=True, upload=True)
    leader.go()

    name = follower.files.root.name
    assert [call for call in leader.volumes.calls if call[0] == name] == [(name, "attach_again"), (name, "settle")] * 2


def test_more_data_than_the_machine_can_hold_are_refused_at_once(scene, monkeypatch):
    """Even if the volume promises the room."""
    s = scene()
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: Full() if path == s.files.root else real(path))

    assert s.go().failure.reason == "ClientError: Data download failed:Insufficient disk space"


class Full:
    f_bavail, f_frsize = 0, 4096


@pytest.mark.usefixtures("needs_volumes")
class TestOnARealVolume:
    """With the real disk of an instance; the rest is as above."""

    def scene(self, tmp_path, **changes):
        return Scene(tmp_path, **{"volume_size_in_gb": 1, **changes})

    def test_a_channel_that_is_larger_fails_the_job(self, tmp_path):
        """In AWS's words, before a byte of it is there; the machine has room enough."""
        s = self.scene(tmp_path, channels=(make_channel("large"),))
        s.buckets.put("data", "large/file", b"")
        stored = next(p for p in (tmp_path / "s3" / "data").iterdir() if b"large/file" in p.read_bytes())
        os.truncate(stored, GIB + 100)

        assert s.go().failure.reason == "ClientError: Data download failed:Insufficient disk space"
        assert os.path.ismount(s.files.volume)
        assert s.starts() == 0

    def test_what_is_ours_lies_elsewhere(self, tmp_path):
        """A program that fills its volume keeps nobody from noting, logging and uploading."""
        s = self.scene(
            tmp_path, channels=(), script=Script(run_for=10, lines=("a", "b"), files={"/opt/ml/model/m": "x"})
        )
        agent = s.agent()
        s.go(agent, until=lambda state: state.program_started)
        with pytest.raises(OSError, match="No space left"), s.in_opt_ml("big").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        end = s.go(agent)

        assert (end.failure, end.program_end.exit_code, s.lines) == (None, 0, ["a", "b"])
        assert end.s3_model_artifacts is not None

    def test_after_a_reboot_it_goes_on(self, tmp_path):
        """What was staged is still there when the next instance program begins."""
        s = self.scene(tmp_path)
        s.go(until=lambda state: state.input_ready)
        volumes.detach(s.files.volume)
        assert not s.in_opt_ml("input").exists()

        assert s.go().program_end.exit_code == 0
        assert s.in_opt_ml("input/data/train/a.csv").read_bytes() == b"1,2\n"
