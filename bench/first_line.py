"""CreateTrainingJob to the first log line of user code, seconds, on the process runtime with a channel of 1 MB.

    .venv/bin/python bench/first_line.py [RUNS]

The peer in the same run is the bare minimum that anyone could do: starting the same Python program as a child and reading
its first line. Prints the median of each, and the part that is Clary's.
"""

import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import boto3

from clary.runtimes import volumes

CLARY = [sys.executable, "-m", "clary.cli.main"]
PROGRAM = "print('first', flush=True)"


def bare():
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        return time.perf_counter() - began


def through_clary(clients, run):
    sagemaker, logs = clients
    name = f"first-line-{run}"
    began = time.perf_counter()
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn="arn:aws:iam::000000000000:role/bench",
        AlgorithmSpecification={
            "TrainingImage": "clary/python",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "-c", PROGRAM],
        },
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bench/in/"}},
            }
        ],
        OutputDataConfig={"S3OutputPath": "s3://bench/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )
    group = "/aws/sagemaker/TrainingJobs"
    while True:
        try:
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
            if streams:
                page = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"])
                if page["events"]:
                    took = time.perf_counter() - began
                    break
        except logs.exceptions.ResourceNotFoundException:
            pass
        time.sleep(0.01)
    while sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
        time.sleep(0.05)
    return took


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as root:
        home = root + "/home"
        server = subprocess.Popen(
            [*CLARY, "serve", "--home", home, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            env=os.environ | {"CLARY_LOG_LEVEL": "warning"},
        )
        try:
            url = server.stdout.readline().decode().split()[-1]
            said = subprocess.run([*CLARY, "env", "--home", home], check=True, capture_output=True, text=True).stdout
            exports = dict(line.removeprefix("export ").split("=", 1) for line in said.splitlines() if "export" in line)
            session = boto3.Session(
                aws_access_key_id=shlex.split(exports["AWS_ACCESS_KEY_ID"])[0],
                aws_secret_access_key=shlex.split(exports["AWS_SECRET_ACCESS_KEY"])[0],
                region_name="us-east-1",
            )
            s3 = session.client("s3", endpoint_url=url)
            s3.create_bucket(Bucket="bench")
            s3.put_object(Bucket="bench", Key="in/data", Body=os.urandom(1_000_000))
            clients = session.client("sagemaker", endpoint_url=url), session.client("logs", endpoint_url=url)
            pairs = [(through_clary(clients, run), bare()) for run in range(runs + 1)][1:]  # the first warms caches
        finally:
            server.terminate()
            server.wait(60)
            for mount_point in volumes.mounted_below(pathlib.Path(root)):  # of a job that was not yet released
                volumes.detach(mount_point)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    low, high = min(pair[0] for pair in pairs), max(pair[0] for pair in pairs)
    print(f"create to first log line: median {ours:.3f} s of {runs} runs ({low:.3f} to {high:.3f})")
    print(f"bare child process:       median {theirs:.3f} s; Clary adds {ours - theirs:.3f} s")


if __name__ == "__main__":
    main()
