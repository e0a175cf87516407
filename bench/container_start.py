"""CreateTrainingJob to the first log line of a container, seconds, beside a bare `docker run` of the same image and program.

    PYTHONPATH=tests .venv/bin/python bench/container_start.py [RUNS]

The two take turns; each begins with nothing running. The bar is a median of less than 0.5 s more. The image is made of this
machine's programs, so that no network is needed. Prints medians and ranges, and the median of what Clary adds.
"""

import contextlib
import statistics
import subprocess
import sys
import time

from container_images import shell_image
from server import new_name, serving

BAR_S = 0.5
PROGRAM = ("sh", "-c", "echo first")
GROUP = "/aws/sagemaker/TrainingJobs"


def bare(image: str) -> float:
    began = time.perf_counter()
    with subprocess.Popen(["docker", "run", "--rm", image, *PROGRAM], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"first\n"
        return time.perf_counter() - began


def through_clary(sagemaker, logs, request) -> float:
    name = request["TrainingJobName"]
    began = time.perf_counter()
    sagemaker.create_training_job(**request)
    took = None
    while took is None:
        with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
            for stream in logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]:
                if logs.get_log_events(logGroupName=GROUP, logStreamName=stream["logStreamName"])["events"]:
                    took = time.perf_counter() - began
        time.sleep(0.01)  # as a client looks who is in a hurry; the server has no call that waits
    while sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress":
        time.sleep(0.05)
    return took


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    image = shell_image()
    pairs = []
    with serving(CLARY_CONTAINER_ENGINE="auto", CLARY_LOG_LEVEL="warning") as server:
        sagemaker, logs, bucket = server.client("sagemaker"), server.client("logs"), server.bucket()
        for _ in range(runs + 1):
            request = server.job(new_name("start"), bucket)
            request["AlgorithmSpecification"] |= {"TrainingImage": image, "ContainerEntrypoint": list(PROGRAM)}
            pairs.append((through_clary(sagemaker, logs, request), bare(image)))
    del pairs[0]  # it warmed the caches
    columns = {"clary": [ours for ours, _ in pairs], "docker run": [bare for _, bare in pairs]}
    columns["added"] = [ours - theirs for ours, theirs in pairs]
    for what, seconds in columns.items():
        print(f"{what:<10} median {statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})")
    if statistics.median(columns["added"]) > BAR_S:
        raise SystemExit(f"more than {BAR_S} s added")


if __name__ == "__main__":
    main()
