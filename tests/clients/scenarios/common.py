"""What the scenarios share: their arguments, and how they tell what they found."""

import contextlib
import json
import sys
import time
import zipfile
from pathlib import Path

ROLE = "arn:aws:iam::000000000000:role/test"


def told():
    """The arguments of the scenario."""
    return json.loads(sys.argv[1])


def found(**facts):
    """Tell the test: the last line of the output."""
    sys.stdout.flush()
    print("\n" + json.dumps(facts, default=str), flush=True)


def put_wheel(directory):
    """Put a wheel of a package `greeting` there, and a requirements.txt that names it: it stands for an index."""
    wheel = Path(directory, "greeting-1.0-py3-none-any.whl")
    Path(directory, "requirements.txt").write_text(f"./{wheel.name}\n")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("greeting.py", "WORD = 'required'\n")
        archive.writestr("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        wheel_text = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("greeting-1.0.dist-info/WHEEL", wheel_text)
        archive.writestr("greeting-1.0.dist-info/RECORD", "")


def simple_request(arguments, **changes):
    """A CreateTrainingJob request of the test's image that needs nothing but a bucket."""
    return {
        "TrainingJobName": arguments["name"],
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": arguments["image"],
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{arguments['bucket']}/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    } | changes


def reach(sagemaker, name, *statuses):
    """The description of a job once one of its two statuses is among those named."""
    while True:
        description = sagemaker.describe_training_job(TrainingJobName=name)
        if {description["TrainingJobStatus"], description["SecondaryStatus"]} & set(statuses):
            return description
        time.sleep(0.1)  # as a client polls


def see_begin(logs, name):
    """Return when the program of a job has printed something: only then has it a handler for SIGTERM.

    A SIGTERM that comes before is lost on a process 1, and the stop takes two minutes.
    """
    group = "/aws/sagemaker/TrainingJobs"
    while True:
        with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
            found_ = logs.filter_log_events(logGroupName=group, logStreamNamePrefix=f"{name}/", limit=1)
            if found_["events"]:
                return
        time.sleep(0.1)  # as a client polls
