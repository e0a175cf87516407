"""What a container's root left behind becomes ours, and readable."""

import stat

import pytest

from clary.runtimes.docker.engine import connect, describe_engine
from clary.runtimes.docker.ownership import needs_reclaiming, reclaim
from clary.runtimes.port import Exited, Mount
from container_images import shell_image
from unit.runtimes.containers import URL, Containers

pytestmark = pytest.mark.docker


@pytest.fixture
def containers(tmp_path):
    containers = Containers(tmp_path)
    yield containers
    containers.close()


def test_everything_that_was_written_is_ours_and_nothing_else(containers, tmp_path):
    """Closed files and directories are readable then; what links lead to stays as it was."""
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0)
    spec = containers.spec(
        "cd /opt/ml; mkdir shut; echo x >shut/file; ln -s /outside link; chmod 0 shut/file shut; chown -R 1234:1234 shut",
        mounts=(Mount(source=str(outside), target="/outside"),),
    )
    containers.runtime.start(spec)
    assert containers.end(spec) == Exited(exit_code=0)
    written = containers.instances / "job-algo-1" / "opt_ml"
    (written / "link2").symlink_to(outside)

    assert needs_reclaiming(spec.mounts, 4321)
    with connect(URL) as client:
        engine = describe_engine(client, URL)
        reclaim(client, shell_image(), spec.mounts, engine=engine, name=f"{containers.name(spec)}-chown")

    mine = outside.stat().st_uid
    assert {entry.lstat().st_uid for entry in written.rglob("*")} == {mine}
    assert stat.S_IMODE((written / "shut").stat().st_mode) == 0o500
    assert stat.S_IMODE((written / "shut" / "file").stat().st_mode) == 0o400
    assert stat.S_IMODE(outside.stat().st_mode) == 0
    assert not needs_reclaiming(spec.mounts, mine)
