"""FileSystemDataSource channels on each runtime: mounted, not copied; never left, and never deleted."""

import os
import signal

import pytest
from botocore.exceptions import ClientError

from each_runtime import EACH_RUNTIME
from server import left_of, new_name, serving, wait

EFS, LUSTRE = "fs-0123abcd", "fs-89abcdef"

SHOW = """
import json, os
root = "/opt/ml/input/data"
print(sorted(os.listdir(root)), open(root + "/ro/file").read())
print(json.load(open("/opt/ml/input/config/inputdataconfig.json"))["ro"])
for channel in ("ro", "rw"):
    try:
        open(f"{root}/{channel}/written", "w").write("by the job")
        print(channel, "written")
    except OSError as error:
        print(channel, error.strerror)
"""
WAIT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
open("/opt/ml/input/data/rw/here", "w").close()
print("begin", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The directories that stand for the file systems, one with a space in its name."""
    efs = tmp_path_factory.mktemp("efs") / "with space"
    lustre = tmp_path_factory.mktemp("lustre")
    for directory in (efs / "data", efs / "other", lustre / "fsx" / "set"):
        directory.mkdir(parents=True)
        (directory / "file").write_text(directory.name)
    (efs / "inside").symlink_to("data")
    (efs / "absolute").symlink_to(efs / "data")
    (efs / "outside").symlink_to(lustre / "fsx")
    (efs / "above").symlink_to("../..")
    return {EFS: efs, LUSTRE: lustre}


@pytest.fixture(scope="module", params=EACH_RUNTIME)
def server(request, places):
    mapped = "\n".join(f"{name}={path}" for name, path in places.items())
    with serving(runtime=request.param, CLARY_FILE_SYSTEMS=mapped) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


def channel(name, path, *, mode="ro", system=EFS, **more):
    source = {
        "FileSystemId": system,
        "FileSystemType": "EFS" if system == EFS else "FSxLustre",
        "FileSystemAccessMode": mode,
        "DirectoryPath": path,
    }
    return {"ChannelName": name, "DataSource": {"FileSystemDataSource": source}, **more}


def create(server, bucket, *channels, program=SHOW, **changes):
    job = server.job(new_name("fs"), bucket, program=program, **changes)
    job["InputDataConfig"] += channels
    server.client("sagemaker").create_training_job(**job)
    return job["TrainingJobName"]


def test_directories_are_mounted(server, bucket, places):
    """Each as the request says: read-only or not; written files are there at once and stay; nothing is copied."""
    name = create(server, bucket, channel("ro", "/data"), channel("rw", "/fsx/set", mode="rw", system=LUSTRE))
    end = server.end(name)

    assert end["TrainingJobStatus"] == "Completed", end
    assert server.lines(name) == [
        "['code', 'code-manifest', 'ro', 'rw'] data",
        "{'TrainingInputMode': 'File', 'S3DistributionType': 'FullyReplicated', 'RecordWrapperType': 'None'}",
        "ro Read-only file system",
        "rw written",
    ]
    assert (places[LUSTRE] / "fsx" / "set" / "written").read_text() == "by the job"
    assert not (places[EFS] / "data" / "written").exists()
    [shown] = [each for each in end["InputDataConfig"] if each["ChannelName"] == "ro"]
    assert shown["DataSource"] == channel("ro", "/data")["DataSource"]


@pytest.mark.parametrize("path", ["/data", "data/", "", "/inside", "/absolute", "//data/."])
def test_paths_are_taken_below_the_file_system(server, bucket, places, path):
    """With and without slashes, through links that stay inside."""
    program = 'import os; print(sorted(os.listdir("/opt/ml/input/data/ro")))'
    name = create(server, bucket, channel("ro", path), program=program)
    assert server.end(name)["TrainingJobStatus"] == "Completed"
    expected = places[EFS] if path == "" else places[EFS] / "data"
    assert server.lines(name) == [str(sorted(path.name for path in expected.iterdir()))]


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        (
            channel("c", "/data", system="fs-00000000"),
            r"Name its directory in the setting file_systems: fs-00000000=/dir",
        ),
        (channel("c", "/missing"), "No such file or directory"),
        (channel("c", "/data/file"), "Not a directory"),
        (channel("c", "/outside"), "the path leads out of the file system"),
        (channel("c", "/above"), "the path leads out of the file system"),
        (channel("c", "/data/../../x"), r"no part '\.\.'"),
        (channel("c", "/data", InputMode="Pipe"), "a FileSystemDataSource needs the input mode File, not Pipe"),
        (channel("c", "/data", ContentType="x", CompressionType="Gzip"), "CompressionType Gzip"),
    ],
)
def test_what_cannot_be_mounted_is_refused(server, bucket, wrong, refusal):
    """At once, with the cure."""
    with pytest.raises(ClientError, match=refusal) as caught:
        create(server, bucket, wrong)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_channel_has_one_source(server, bucket):
    """Not both, not none."""
    both = channel("c", "/data")
    both["DataSource"] |= {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/code"}}
    for wrong, refusal in (
        (both, "must not have both"),
        ({"ChannelName": "c", "DataSource": {}}, "must have an S3Data"),
    ):
        with pytest.raises(ClientError, match=refusal):
            create(server, bucket, wrong)


def test_a_directory_that_goes_away_before_the_start_fails_the_job(server, bucket, places, tmp_path):
    """With a ClientError that names file system and directory. Nothing else than what was checked is mounted."""
    gone = places[EFS] / new_name("gone")
    gone.mkdir()
    held = tmp_path / "held"
    held.touch()
    with serving(
        runtime=server.runtime, CLARY_FILE_SYSTEMS=f"{EFS}={places[EFS]}", CLARY_FAULT_HOLD=f"instance.prepare:{held}"
    ) as other:
        name = create(other, other.bucket(), channel("ro", f"/{gone.name}"))
        wait(lambda: list((other.home / "instances").glob(f"{name}*/volume")), until=bool)
        gone.rmdir()
        gone.symlink_to(places[LUSTRE])
        held.unlink()
        reason = other.end(name)["FailureReason"]
    gone.unlink()
    assert reason.startswith(f"ClientError: Unable to mount file system: {EFS} directory path: /{gone.name}. ")


@pytest.mark.parametrize("how", ["the server", "everything"])
def test_what_is_mounted_outlives_a_job_that_is_cut_short(server, bucket, places, how):
    """A crash while the program has the file system mounted, then the release of its instance: every file is still there."""
    before = set(places[EFS].rglob("*"))
    with serving(runtime=server.runtime, CLARY_FILE_SYSTEMS=f"{EFS}={places[EFS]}") as other:
        name = create(other, other.bucket(), channel("rw", "/", mode="rw"), program=WAIT)
        wait((places[EFS] / "here").exists, until=bool)
        other.kill()
        if how == "everything":
            end_all(other, name)
        other.start()
        other.client("sagemaker").stop_training_job(TrainingJobName=name)
        other.end(name)
        wait(
            lambda: [e.name for e in (other.home / "instances").iterdir()],
            until=lambda n: not any(name in x for x in n),
        )
    assert set(places[EFS].rglob("*")) - {places[EFS] / "here"} == before
    assert (places[EFS] / "data" / "file").read_text() == "data"
    (places[EFS] / "here").unlink()


def end_all(server, name):
    """Kill the instance program too, as the kernel does with a cgroup."""
    for line in left_of(server.home):
        if "clary.instance" in line and name in line:
            os.kill(int(line.partition(":")[0]), signal.SIGKILL)
