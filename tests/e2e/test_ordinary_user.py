"""Clary as an ordinary user who may use Docker, and programs that are root in their containers."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from clary.runtimes.docker.engine import find_engine
from each_runtime import CONTAINERS
from ordinary_user import ordinary_user
from server import new_name, serving, wait

pytestmark = pytest.mark.docker

WRITES_AS_ROOT = """
import os, sys
os.umask(0o077)
print("user", os.getuid())
for place in ("/opt/ml/model/deep", "/opt/ml/output/data/deep", "/tmp/deep", "/opt/ml/input/data/code/deep"):
    os.mkdir(place, 0o700)
    open(f"{place}/file", "w").write("root's")
    os.symlink("/etc/passwd", f"{place}/link")
    os.chmod(f"{place}/file", 0o600)
os.mkdir("/opt/ml/model/closed", 0)
open("/opt/ml/output/failure", "w").write("root says why")
sys.exit(int(os.environ["CODE"]))
"""


@pytest.fixture(scope="module")
def server():
    socket = find_engine("auto", os.environ).removeprefix("unix://")
    with ordinary_user(group_of=socket) as user, serving(runtime=CONTAINERS, user=user) as running:
        yield running


def owners(root):
    """Whose the files below a directory are. The server is at work there: what is gone already is nobody's."""
    found = set()
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            with contextlib.suppress(FileNotFoundError):
                found.add((Path(directory) / name).lstat().st_uid)
    return found


@pytest.mark.parametrize("code", [0, 3])
def test_what_root_wrote_in_the_container_is_uploaded_and_removed(server, code):
    """Files that nobody else may read are in the model and in FailureReason, and nothing of the instance is left."""
    bucket, name = server.bucket(), new_name("root")
    description = server.run(name, bucket, program=WRITES_AS_ROOT, Environment={"CODE": str(code)})

    assert server.lines(name) == ["user 0"]
    assert description.get("FailureReason") == ("AlgorithmError: root says why, exit code: 3" if code else None)
    output = f"s3://{bucket}/out/{name}/output"
    assert server.files(f"{output}/model.tar.gz") == {"deep/file": b"root's"}
    assert server.files(f"{output}/output.tar.gz") == {"deep/file": b"root's"}
    instances = server.home / "instances"
    wait(
        lambda: [str(entry) for pattern in ("*-algo-1", ".trash/*") for entry in instances.glob(pattern)],
        until=lambda left: not left,
        why=server.log_text,
    )
    owner = server.home.stat().st_uid
    assert owner != 0
    assert owners(server.home) == {owner}
    assert not stat.S_IMODE(server.home.stat().st_mode) & 0o077
