"""VolumeSizeInGB as a limit: a full volume is the trouble of one job. Through unmodified boto3."""

import os
import signal

import pytest

from clary.runtimes import volumes
from each_runtime import EACH_RUNTIME
from loop_volumes import no_loop_devices
from server import new_name, wait

pytest_plugins = ["server", "loop_volumes"]
pytestmark = pytest.mark.usefixtures("needs_volumes")

# Fills its disk, from /tmp too, and says what it saw. The failure file was there before the disk was full, as careful
# programs have it: nothing else could be written.
GREEDY = """
import os, sys
os.mkdir("/tmp/mine")
failure = open("/opt/ml/output/failure", "w")
failure.write(" " * 100)
failure.flush()
open("/opt/ml/model/m", "w").write("x" * 1000)
disk = os.statvfs("/opt/ml")
print("same disk" if os.stat("/tmp").st_dev == os.stat("/opt/ml/model").st_dev else "two disks")
print("GiB", round(disk.f_blocks * disk.f_frsize / 2**30, 1))
block = b"x" * (1 << 20)
try:
    with open("/tmp/mine/big", "wb", buffering=0) as file:
        while True:
            file.write(block)
except OSError as error:
    print(error.strerror)
    failure.seek(0)
    failure.write(f"my disk is full: {error.strerror}")
    failure.truncate()
    failure.close()
    for n in range(100):
        print("still talking", n)
    sys.exit(9)
"""

MODEST = """
import time
open("/opt/ml/model/m", "w").write("x" * 1000)
time.sleep(2)
open("/opt/ml/output/data/o", "w").write("y" * 1000)
"""

HELD = f"""
import os, time
while not os.path.exists("/opt/ml/go"):
    time.sleep(0.05)
{MODEST}
"""


def mounted(server):
    return volumes.mounted_below(server.home)


def released(server):
    """Wait until nothing is left of any instance, and see that nothing of it is mounted."""
    instances = server.home / "instances"
    wait(
        lambda: [entry.name for entry in instances.iterdir() if not entry.name.startswith(".")],
        until=lambda names: not names,
    )
    assert mounted(server) == []
    assert no_loop_devices(server.home)


@pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)
def test_a_full_volume_fails_its_own_job_alone(server):
    """By the program's own words; its log and its model are there, and the job beside it completes."""
    bucket = server.bucket()
    greedy, modest = new_name("greedy"), new_name("modest")
    sagemaker = server.client("sagemaker")
    for name, program in ((greedy, GREEDY), (modest, MODEST)):
        sagemaker.create_training_job(**server.job(name, bucket, program=program))

    ended = server.end(greedy)
    lines = server.lines(greedy)
    assert ended["FailureReason"] == "AlgorithmError: my disk is full: No space left on device, exit code: 9"
    assert lines[:2] == ["same disk", "GiB 1.0"]
    assert lines[-1] == "still talking 99"
    head = server.client("s3").head_object(Bucket=bucket, Key=f"out/{greedy}/output/model.tar.gz")
    assert head["ContentLength"] > 0
    assert server.end(modest)["TrainingJobStatus"] == "Completed"
    released(server)


@pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)
def test_types_with_an_instance_store_ignore_it(server):
    """Their disk is this machine's."""
    bucket, name = server.bucket(), new_name("nvme")
    request = server.job(name, bucket, program="import os; print(os.statvfs('/opt/ml').f_blocks)")
    request["ResourceConfig"]["InstanceType"] = "ml.g5.xlarge"
    server.client("sagemaker").create_training_job(**request)

    assert server.end(name)["TrainingJobStatus"] == "Completed"
    assert int(server.lines(name)[0]) == os.statvfs(server.home).f_blocks
    released(server)


SLOW = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: exit(0))
open("/opt/ml/model/m", "w").write("x")
print("begin", flush=True)
while True:
    time.sleep(0.1)
"""


def test_stopped_killed_and_started_again(own_server):
    """kill -9 of the server and of the instance's program: the volume stays until the job has ended, then it goes."""
    server = own_server
    bucket, name = server.bucket(), new_name("slow")
    server.client("sagemaker").create_training_job(**server.job(name, bucket, program=SLOW))
    server.reach(name, "Training")
    (mount,) = mounted(server)
    server.kill()
    os.kill(int((mount.parent / "agent.lock").read_text()), signal.SIGKILL)
    server.start()
    assert mounted(server) == [mount]
    server.client("sagemaker").stop_training_job(TrainingJobName=name)

    assert server.end(name)["TrainingJobStatus"] == "Stopped"
    assert server.client("s3").head_object(Bucket=bucket, Key=f"out/{name}/output/model.tar.gz")["ContentLength"] > 0
    released(server)


def test_a_server_that_was_killed_while_it_released(own_server):
    """What is still mounted goes when the next server starts, and the name can be used again."""
    server = own_server
    bucket, name = server.bucket(), new_name("again")
    server.client("sagemaker").create_training_job(**server.job(name, bucket, program=HELD))
    server.reach(name, "Training")
    server.kill()
    server.start(CLARY_FAULT_CRASH="app.program_released")
    server.let_go(name)
    server.process.wait(60)
    server.kill()
    server.start()
    assert server.end(name)["TrainingJobStatus"] == "Completed"
    released(server)
    sagemaker = server.client("sagemaker")
    sagemaker.delete_training_job(TrainingJobName=name)
    sagemaker.create_training_job(**server.job(name, bucket, program=MODEST))

    assert server.end(name)["TrainingJobStatus"] == "Completed"
    released(server)
