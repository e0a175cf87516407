"""CreateTrainingJob and DescribeTrainingJob, requests a second against moto's server, on this machine in this run.

    .venv/bin/python bench/api.py [SECONDS]

Both servers get the same signed requests over the same 8 connections from the same load generator (a process of its own).
Clary verifies each signature and commits each job durably; moto does neither. Signing is done beforehand. Prints requests
a second, the latency's 50th and 99th percentile in milliseconds, and Clary's rate over moto's.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import pathlib
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from clary.runtimes.process import ProcessRuntime

CONNECTIONS = 8
BUCKET = "bench"
CLARY = [sys.executable, "-m", "clary.cli.main"]


def request(name):
    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::000000000000:role/bench",
        "AlgorithmSpecification": {
            "TrainingImage": "clary/python",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["sleep", "600"],
        },
        "HyperParameters": {"epochs": "5", "rate": "0.1"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def signed(url, operation, params, key, secret):
    """The bytes of a signed HTTP request."""
    body = json.dumps(params).encode()
    made = AWSRequest(
        method="POST",
        url=url + "/",
        data=body,
        headers={"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"},
    )
    SigV4Auth(Credentials(key, secret), "sagemaker", "us-east-1").add_auth(made)
    host = url.removeprefix("http://")
    head = [b"POST / HTTP/1.1", b"Host: " + host.encode(), b"Content-Length: %d" % len(body)]
    head += [f"{name}: {value}".encode() for name, value in made.headers.items()]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def _connection(host, port, requests, until, latencies, failures):
    reader, writer = await asyncio.open_connection(host, port)
    for made in requests:
        if time.perf_counter() > until:
            break
        began = time.perf_counter()
        writer.write(made)
        head = await reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        latencies.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200"):
            failures.append(body[:300])
        if b"connection: close" in lowered:
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
    writer.close()


def _load(url, lists, seconds, answer):
    async def run():
        host, _, port = url.removeprefix("http://").partition(":")
        latencies, failures = [], []
        began = time.perf_counter()
        await asyncio.gather(
            *(_connection(host, int(port), each, began + seconds, latencies, failures) for each in lists)
        )
        return time.perf_counter() - began, latencies, failures

    answer.put(asyncio.run(run()))


def measure(url, lists, seconds):
    """Requests a second, p50 and p99 in milliseconds; the load comes from another process."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_load, args=(url, lists, seconds, answer))
    process.start()
    took, latencies, failures = answer.get()
    process.join()
    if failures:
        raise SystemExit(f"{len(failures)} of {len(latencies)} requests failed, the first: {failures[0]!r}")
    cuts = statistics.quantiles(latencies, n=100)
    return len(latencies) / took, cuts[49] * 1000, cuts[98] * 1000


@contextlib.contextmanager
def clary(home):
    environment = os.environ | {"CLARY_INSTANCES": "1", "CLARY_LOG_LEVEL": "warning", "CLARY_VOLUMES": "off"}
    server = subprocess.Popen(
        [*CLARY, "serve", "--home", home, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, env=environment
    )
    try:
        url = server.stdout.readline().decode().split()[-1]
        said = subprocess.run([*CLARY, "env", "--home", home], check=True, capture_output=True, text=True).stdout
        exports = dict(line.removeprefix("export ").split("=", 1) for line in said.splitlines() if "export" in line)
        key, secret = (shlex.split(exports[name])[0] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        yield url, key, secret
    finally:
        server.terminate()
        server.wait(60)
        end_instances(pathlib.Path(home))


def end_instances(home):
    """Stopping the server leaves jobs running: end their instance programs and what those started."""
    for directory in (home / "instances").glob("*-a*-algo-*"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((directory / "agent.lock").read_text()), signal.SIGKILL)
        ProcessRuntime().kill(directory / "program")


@contextlib.contextmanager
def moto():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url + "/moto-api/", timeout=1).close()
                break
            time.sleep(0.1)
        yield url, "key", "secret"
    finally:
        server.terminate()
        server.wait(60)


def bench(name, url, key, secret, seconds, prepared):
    s3 = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
    )
    s3.create_bucket(Bucket=BUCKET)
    first = signed(url, "CreateTrainingJob", request("first"), key, secret)
    measure(url, [[first, signed(url, "CreateTrainingJob", request("second"), key, secret)]], 30)
    describe = signed(url, "DescribeTrainingJob", {"TrainingJobName": "first"}, key, secret)
    rates = {}
    rates["Describe"] = measure(url, [[describe] * 100_000] * CONNECTIONS, seconds)
    creates = [
        [signed(url, "CreateTrainingJob", request(f"j-{c}-{n}"), key, secret) for n in range(prepared)]
        for c in range(CONNECTIONS)
    ]
    rates["Create"] = measure(url, creates, seconds)
    for operation, (rate, p50, p99) in rates.items():
        print(f"{name:<6} {operation:<9} {rate:9.0f} requests/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")
    return rates


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with tempfile.TemporaryDirectory() as home, clary(home + "/home") as (url, key, secret):
        ours = bench("clary", url, key, secret, seconds, prepared=int(seconds * 700))
    with moto() as (url, key, secret):
        theirs = bench("moto", url, key, secret, seconds, prepared=int(seconds * 200))
    for operation in ours:
        print(f"{operation}: Clary / moto = {ours[operation][0] / theirs[operation][0]:.1f}")


if __name__ == "__main__":
    main()
