"""The input mode FastFile where nothing can be mounted, and for ordinary users who mount by fusermount3."""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from each_runtime import EACH_RUNTIME
from fuse_mounts import mounted
from ordinary_user import User, ordinary_user
from server import new_name, serving, wait

pytest_plugins = ["fuse_mounts"]

PROGRAM = """
root = "/opt/ml/input/data/in/"
print(open(root + "a").read(), open(root + "b/c").read())
try:
    open(root + "new", "w")
except OSError as error:
    print(error.strerror)
"""


def request(server, bucket):
    for key in ("a", "b/c"):
        server.client("s3").put_object(Bucket=bucket, Key=f"in/{key}", Body=key.encode())
    made = server.job(new_name("fast"), bucket, program=PROGRAM, channels=[("in", f"s3://{bucket}/in/", {})])
    made["InputDataConfig"][0]["InputMode"] = "FastFile"
    return made


@contextlib.contextmanager
def known(user):
    """The user with a name, which fusermount3 asks for, and with a /dev/fuse that is open to all, as most systems have it."""
    if os.geteuid() != 0:
        yield user
        return
    with tempfile.TemporaryDirectory(prefix="clary-test-") as aside:
        device, names = Path(aside, "fuse"), Path(aside, "passwd")
        names.write_text(Path("/etc/passwd").read_text() + f"somebody:x:{user.id}:{user.id}::/:/bin/sh\n")
        os.mknod(device, 0o666 | stat.S_IFCHR, Path("/dev/fuse").stat().st_rdev)
        device.chmod(0o666)
        script = f'mount --bind {device} /dev/fuse && mount --bind {names} /etc/passwd && exec "$@"'
        around = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        yield User(id=user.id, command=[*around, *user.command])


@pytest.fixture
def no_fuse():
    """Whose /dev/fuse is another device."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("only root can hide /dev/fuse")
    script = 'mount --bind /dev/null /dev/fuse && exec "$@"'
    return User(id=0, command=["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"])


def test_jobs_are_refused_where_nothing_can_be_mounted(no_fuse):
    """With both cures; other jobs are taken."""
    with serving(user=no_fuse) as server:
        bucket = server.bucket()
        made = request(server, bucket)
        with pytest.raises(ClientError) as refused:
            server.client("sagemaker").create_training_job(**made)
        message = refused.value.response["Error"]["Message"]
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        assert "there is no input mode FastFile on this machine: nothing can be mounted" in message
        assert 'or set fast_file = "download"' in message
        assert server.run(new_name(), bucket, program="print(1)")["TrainingJobStatus"] == "Completed"


@pytest.mark.parametrize("runtime", EACH_RUNTIME)
def test_or_all_is_downloaded_before_the_start(no_fuse, runtime):
    """With the setting: the program finds a read-only directory with the same names."""
    # Volumes that are mounted in a namespace of our own are not there for the engine.
    with serving(user=no_fuse, runtime=runtime, CLARY_FAST_FILE="download", CLARY_VOLUMES="off") as server:
        made = request(server, server.bucket())
        server.client("sagemaker").create_training_job(**made)
        end = server.end(made["TrainingJobName"])

        assert end["TrainingJobStatus"] == "Completed", end
        assert server.lines(made["TrainingJobName"]) == ["a b/c", "Read-only file system"]


def test_objects_of_the_input_cache_are_read_from_there(needs_fuse):
    """By a FastFile job, what a File mode job has brought."""
    with serving(CLARY_INPUT_CACHE_BYTES="100000000") as server:
        made = request(server, server.bucket())
        for mode in ("File", "FastFile"):
            made["TrainingJobName"] = new_name("fast")
            made["InputDataConfig"][0]["InputMode"] = mode
            server.client("sagemaker").create_training_job(**made)
            end = server.end(made["TrainingJobName"])
            assert end["TrainingJobStatus"] == "Completed", end
            assert server.lines(made["TrainingJobName"])[0] == "a b/c"


def test_an_ordinary_user_mounts_by_fusermount3(needs_fuse):
    """And nothing stays."""
    if shutil.which("fusermount3") is None:
        pytest.skip("there is no fusermount3")
    with ordinary_user(group_of="/dev/fuse") as nobody, contextlib.ExitStack() as stack:
        user = stack.enter_context(known(nobody))
        server = stack.enter_context(serving(user=user))
        made = request(server, server.bucket())
        server.client("sagemaker").create_training_job(**made)
        end = server.end(made["TrainingJobName"])

        assert end["TrainingJobStatus"] == "Completed", (end, server.log_text())
        assert server.lines(made["TrainingJobName"]) == ["a b/c", "Read-only file system"]
        wait(lambda: [*(server.home / "instances").glob(f"{made['TrainingJobName']}*")], until=lambda left: not left)
        assert not mounted(server.home)
