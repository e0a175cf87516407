"""Jobs with checkpoints, for the end-to-end tests: a program that goes on where an earlier one ended, and what is in S3."""

import contextlib

# Goes on from its last step, keeps the newest six, and is told how far it shall get: "+4" is four steps more than it finds,
# and without end if it finds none. Killed at any moment, it has told of every step that can be found; told to end, it ends
# between two.
TRAINING = """
import json, os, pathlib, signal, sys, time
place = pathlib.Path(json.load(open("/opt/ml/input/config/checkpointconfig.json"))["LocalPath"])
wanted = json.load(open("/opt/ml/input/config/hyperparameters.json"))["steps"]
steps = sorted(int(p.name.removeprefix("step-")) for p in place.glob("step-*") if p.name[5:].isdigit())
print("restored", steps, flush=True)
first = steps[-1] + 1 if steps else 0
target = int(wanted) if wanted[0] != "+" else first + int(wanted) if steps else 1_000_000
def save(step):
    half = place / f"step-{step}.sagemaker-ignore"
    half.write_text(str(step))
    print("step", step, flush=True)
    half.rename(place / f"step-{step}")
    for old in place.glob("step-*"):
        if old.name[5:].isdigit() and int(old.name[5:]) <= step - 6: old.unlink()
def stop(*_):
    (place / "deep").mkdir(exist_ok=True)
    (place / "deep" / "stopped").write_text("in the window")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
for step in range(first, target):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    save(step)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    time.sleep(0.5)
pathlib.Path("/opt/ml/model/steps").write_text(str(target))
"""


def training(server, bucket, name, prefix, steps, program=TRAINING, **changes):
    """Create a job of that program, which is to get so far; its checkpoints are below the prefix."""
    config = {"S3Uri": f"s3://{bucket}/{prefix}"} | changes.pop("CheckpointConfig", {})
    request = server.job(
        name, bucket, program=program, HyperParameters={"steps": str(steps)}, CheckpointConfig=config, **changes
    )
    server.client("sagemaker").create_training_job(**request)


def objects(server, bucket, prefix):
    """What is below a prefix, by path; a job at work may delete what was listed."""
    s3 = server.client("s3")
    found = {}
    for each in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", []):
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            body = s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            found[each["Key"].removeprefix(f"{prefix}/")] = body
    return found


def steps_of(found):
    """The numbers of the steps among what was found."""
    return sorted(int(name.removeprefix("step-")) for name in found if name.startswith("step-"))
