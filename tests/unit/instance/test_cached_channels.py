"""Channels by way of the input cache, as the instance has them: with overlays, with copies, and when neither is to be had."""

import errno
import os
from pathlib import Path

import pytest

from clary.base.telemetry import get_logger
from clary.instance.cached_channels import CachedChannels
from clary.instance.channel_plan import plan_channel
from clary.jobs.failure import FailureKind
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import S3DataSource
from clary.runtimes import overlays, volumes
from clary.runtimes.port import VolumeTrouble
from clary.runtimes.scripted import Script
from clary.storage.cache import InputCache
from clary.storage.faulty import FaultyStorage
from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.transfer import InsufficientDisk, download
from factories import make_channel
from faulty_s3 import misbehaving
from unit.instance.scenes import Scene, make_task

pytest_plugins = ["weed", "loop_volumes"]


class NoOverlays:
    """A machine on which none can be mounted."""

    def attach(self, lower, own):
        raise PermissionError(errno.EPERM, "only root can mount overlays")

    def attach_again(self, lower, own):
        raise AssertionError("nothing was attached")

    def detach_below(self, directory):
        pass


@pytest.fixture(params=["overlay", "copy"])
def kind(request, tmp_path):
    """How a private copy is made."""
    if request.param == "copy":
        yield NoOverlays()
        return
    if os.geteuid() != 0:
        pytest.skip("only root can mount overlays")
    yield overlays
    overlays.detach_below(tmp_path)


@pytest.fixture
def scene(tmp_path, kind):
    """Instances that share one cache, by their names."""
    made = {}

    def make(name="job", *, limit_bytes=1 << 40, **changes):
        s = Scene(tmp_path, **{"name": name, "script": Script(files={"/opt/ml/model/m": "x"}), **changes})
        s.storage = FaultyStorage(s.buckets)
        cache = InputCache(tmp_path / "cache", limit_bytes=limit_bytes, endpoint_url="http://127.0.0.1:1")
        s.cached = CachedChannels(cache=cache, overlays=kind, files=s.files, log=get_logger("instance"))
        made[name] = s
        return s

    return make


def tree(directory):
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in directory.rglob("*")
    }


def channel_of(s, name="train"):
    """The channel as the program sees it: what is mounted there, else the directory that is there anyway."""
    own = s.in_opt_ml(f"input/data/{name}")
    assert own.is_dir()
    assert own.stat().st_mode & 0o7777 == 0o755
    return next((Path(m.source) for m in s.cached.mounts() if m.target == f"/opt/ml/input/data/{name}"), own)


def seen(s):
    """All that the program sees in /opt/ml/input/data."""
    return tree(s.in_opt_ml("input/data")), tree(channel_of(s))


def gets(s):
    return [key for verb, key in s.storage.calls if verb == "get"]


def test_the_next_job_finds_what_this_one_brought(scene):
    """Whatever this one does to it; and beside the channel stands the same list."""
    first = scene("first")
    first.buckets.put("data", "train/sub/b", b"b")
    first.go(until=lambda state: state.input_ready)
    before = seen(first)
    channel = channel_of(first)
    (channel / "a.csv").write_text("changed")
    (channel / "sub" / "b").unlink()
    (channel / "more").touch()
    second = scene("second")
    assert second.go(until=lambda state: state.input_ready).failure is None

    assert seen(second) == before
    assert (gets(first), gets(second)) == (["train/a.csv", "train/sub/b"], [])


def test_it_is_as_without_the_cache(scene, tmp_path):
    """Names, modes, owner."""
    s = scene()
    for key in ("x/y/z", "x/empty", "..hidden", "é ü", "marker/"):
        s.buckets.put("data", f"train/{key}", b"" if key.endswith(("/", "y")) else key.encode())
    s.go(until=lambda state: state.input_ready)
    plan = plan_channel(s.task.channels[0].s3, s.task, lambda _access, _location: s.buckets)
    download(s.buckets, plan.bucket, plan.selection, tmp_path / "plain")

    channel = channel_of(s)
    assert tree(channel) == tree(tmp_path / "plain")
    assert channel.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert channel.stat().st_uid == os.geteuid()


def test_staged_again_it_is_whole_again(scene):
    """An instance program that died before it could note the channel, and whose channel somebody has changed."""
    s = scene()
    s.go(until=lambda state: state.input_ready)
    (channel_of(s) / "a.csv").write_text("changed")
    s.files.journal.unlink()
    s.go(until=lambda state: state.input_ready)

    assert (channel_of(s) / "a.csv").read_bytes() == b"1,2\n"
    assert len(volumes.mounted_below(s.files.overlays)) <= 1


def test_a_channel_beyond_the_bound_comes_as_without(scene):
    """The job does not notice."""
    s = scene(limit_bytes=1)
    assert s.go().failure is None
    assert gets(s) == ["train/a.csv"]
    assert volumes.mounted_below(s.files.overlays) == []


def test_a_job_that_runs_keeps_its_data(scene, kind, tmp_path):
    """Others fill the cache meanwhile."""
    limit = 200 << 10
    s = scene("first", limit_bytes=limit)
    s.buckets.put("data", "train/big", bytes(100 << 10))
    s.go(until=lambda state: state.input_ready)
    other = scene("second", limit_bytes=limit, channels=(make_channel("test"),))
    other.buckets.put("data", "test/big", os.urandom(150 << 10))
    other.go(until=lambda state: state.input_ready)

    assert (channel_of(s) / "big").read_bytes() == bytes(100 << 10)
    assert (channel_of(other, "test") / "big").stat().st_size == 150 << 10


def test_a_copy_that_finds_no_room_becomes_a_download(scene, monkeypatch):
    """The cache gives way, and is no reason to fail."""
    s = scene()
    s.cached._overlays = NoOverlays()

    def full(*_arguments, **_options):
        raise InsufficientDisk("no space left")

    monkeypatch.setattr("clary.instance.cached_channels.copy_tree", full)
    assert s.go().failure is None
    assert gets(s) == ["train/a.csv"] * 2


class TestWithOverlays:
    """What copies have no part in."""

    @pytest.fixture
    def kind(self, tmp_path):
        if os.geteuid() != 0:
            pytest.skip("only root can mount overlays")
        yield overlays
        overlays.detach_below(tmp_path)

    def test_after_a_reboot_it_goes_on(self, scene):
        """Before the program was started: the mounts are made again. Afterwards nobody needs them."""
        s = scene(script=Script(run_for=100))
        s.go(until=lambda state: state.input_ready)
        overlays.detach_below(s.files.overlays)
        s.go(until=lambda state: state.program_started)
        assert (channel_of(s) / "a.csv").read_bytes() == b"1,2\n"
        overlays.detach_below(s.files.overlays)
        agent = s.agent()
        agent.begin()
        assert volumes.mounted_below(s.files.overlays) == []

    def test_what_a_reboot_has_made_doubtful_ends_the_job(self, scene, tmp_path):
        """Rather than train on zeros."""
        s = scene()
        s.go(until=lambda state: state.input_ready)
        overlays.detach_below(s.files.overlays)
        (tmp_path / "cache" / "boot").write_text("another one")
        s.cached._cache._ready = False
        agent = s.agent()
        agent.run()
        s.see()

        assert s.snapshot.failure.kind is FailureKind.INTERNAL_SERVER_ERROR
        assert "channel train was lost when the machine went down" in s.snapshot.failure.reason
        assert s.starts() == 0

    def test_killed_between_the_note_and_the_mount(self, scene):
        """The next instance program stages the channel as if nothing had been."""
        s = scene()

        class Killed(BaseException):
            pass

        def die(*_arguments):
            raise Killed

        s.cached._overlays = type("Dying", (NoOverlays,), {"attach": staticmethod(die)})()
        with pytest.raises(Killed):
            s.go()
        s.cached._overlays = overlays
        assert s.go(until=lambda state: state.input_ready).failure is None
        assert (channel_of(s) / "a.csv").read_bytes() == b"1,2\n"

    @pytest.mark.usefixtures("needs_volumes")
    def test_a_volume_bounds_the_channels_all_the_same(self, scene):
        """What does not fit on the instance's disk does not come, cached or not; all channels count."""
        sources = ("small", "large")
        s = scene("fits", volume_size_in_gb=1, channels=tuple(map(make_channel, sources)))
        for name, size in zip(sources, (100 << 20, 950 << 20), strict=True):
            s.buckets.put("data", f"{name}/file", b"")
            stored = next(
                p for p in s.buckets._bucket("data").iterdir() if f"{name}/file".encode() in p.read_bytes()[:99]
            )
            os.truncate(stored, size)
        s.storage.seal = lambda _bucket, _key, _etag, **_: None
        end = s.go()

        assert end.failure.reason == "ClientError: Data download failed:Insufficient disk space"
        assert len(volumes.mounted_below(s.files.overlays)) == 1
        assert s.starts() == 0
        overlays.detach_below(s.files.overlays)


def test_attaching_again_tells_what_is_wrong(scene):
    """An overlay that cannot be mounted again ends the job."""
    s = scene()
    s.go(until=lambda state: state.input_ready)
    if isinstance(s.cached._overlays, NoOverlays):
        s.cached.attach_again({"train"})
        return

    class Refusing(NoOverlays):
        def attach_again(self, lower, own):
            raise OSError(errno.ENODEV, "No such device")

    s.cached._overlays = Refusing()
    with pytest.raises(VolumeTrouble, match="No such device"):
        s.cached.attach_again({"train"})
    s.cached.attach_again(())


def test_a_cached_start_asks_a_real_store_for_no_object(weed_store, weed_bucket, tmp_path, kind):
    """A listing and one HEAD, whatever the number of objects."""
    client = weed_store.client()
    for n in range(30):
        client.put_object(Bucket=weed_bucket, Key=f"train/{n % 3}/{n}", Body=os.urandom(1000))
    keys = Credentials(access_key_id=weed_store.access_key_id, secret_access_key=weed_store.secret_access_key)
    asked = []
    with misbehaving(weed_store.endpoint_url, {}, before=asked.append) as s3:
        storage = S3Storage(S3Address(endpoint_url=s3.endpoint_url, region="us-east-1"), lambda: keys)
        found = []
        for name in ("first", "second"):
            files = InstanceFiles(tmp_path / name)
            (files.opt_ml / "input" / "data").mkdir(parents=True)
            files.task.touch()
            cache = InputCache(tmp_path / "cache", limit_bytes=1 << 40, endpoint_url=weed_store.endpoint_url)
            cached = CachedChannels(cache=cache, overlays=kind, files=files, log=get_logger("instance"))
            source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{weed_bucket}/train/")
            asked.clear()
            plan = plan_channel(source, make_task(), lambda _access, _location: storage)
            assert cached.bring(plan, "c", room_bytes=None, on_progress=lambda _progress: None, cancelled=lambda: False)
            where = [Path(mount.source) for mount in cached.mounts()] or [files.opt_ml / "input" / "data" / "c"]
            found.append((tree(where[0]), len(asked)))

    assert len(found[0][0]) == 33
    assert found[1][0] == found[0][0]
    assert found[0][1] > 30
    assert found[1][1] <= 2
    assert all(Path(path).parts[1] == weed_bucket for path in asked)
