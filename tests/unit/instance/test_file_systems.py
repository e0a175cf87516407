"""Channels that are directories of a shared file system, from staging to the program's mounts."""

import pytest

from clary.instance.limits import program_limits
from clary.instance.run_training import program_spec
from clary.jobs.model import Channel, DataSource, FileSystemDataSource
from clary.runtimes.port import Mount
from clary.runtimes.scripted import Script

EFS = "fs-01234567"


def channel(path="/data", mode="ro"):
    source = FileSystemDataSource(
        file_system_id=EFS, file_system_access_mode=mode, file_system_type="EFS", directory_path=path
    )
    return Channel(channel_name="efs", data_source=DataSource(file_system_data_source=source))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "efs" / "data").mkdir(parents=True)
    (tmp_path / "efs" / "data" / "file").write_text("shared")
    return tmp_path / "efs"


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_an_empty_directory_waits_for_the_mount(scene, root, mode):
    """Nothing is copied, nothing is listed beside it; where the program sees the file system is told to the runtime."""
    s = scene(channels=(channel(mode=mode),), file_systems={EFS: str(root)}, script=Script())
    assert s.go().failure is None
    assert list(s.in_opt_ml("input/data/efs").iterdir()) == []
    assert [path.name for path in s.in_opt_ml("input/data").iterdir()] == ["efs"]

    limits = program_limits(s.task, cpus=1, memory_bytes=1 << 30)
    [mount] = [each for each in program_spec(s.task, s.files, "lo", limits).mounts if each.within]
    assert mount == Mount(
        source=str(root / "data"), target="/opt/ml/input/data/efs", read_only=mode == "ro", within=str(root)
    )


@pytest.mark.parametrize(
    ("path", "known", "why"),
    [
        ("/data", False, "No directory of this machine stands for it (setting file_systems)."),
        ("/gone", True, "No such file or directory"),
        ("/data/file", True, "Not a directory"),
        ("/out", True, "the path leads out of the file system"),
    ],
)
def test_one_that_cannot_be_mounted_fails_the_job(scene, root, tmp_path, path, known, why):
    """What was there when the job was created may be gone by now; the program does not start."""
    (root / "out").symlink_to(tmp_path)
    s = scene(channels=(channel(path),), file_systems={EFS: str(root)} if known else {})
    end = s.go()
    assert end.failure.reason == f"ClientError: Unable to mount file system: {EFS} directory path: {path}. {why}"
    assert end.program_end.exit_code is None
