"""How fast a program reads a FastFile channel from its mount, against File mode's download of the same objects in one run.

    PYTHONPATH=src:tests python bench/fast_file.py [ROUNDS] [large|small …]

An embedded store is filled with 4 objects of 256 MB and with 2,000 of 500 kB. Each round (default 5) takes each channel in
both modes, one after the other. File mode: a process that does what an instance program does, from the listing to the last
byte in its file. FastFile: the channel is listed and mounted by its own server, then one reader, another process, reads file
after file in the order of the directory, and counts. Prints one JSON object: the rates in MB/s, the ratio of the medians,
seconds to list and mount, milliseconds from open to the first byte of a file that nobody has read (the median and the
worst of 20), and the peak memory in MB of the process that downloads and of the server. The bars: 0.7 and 100 ms.
"""

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from clary.base.clock import Instant, SystemClock
from clary.base.telemetry import get_logger
from clary.instance.channel_plan import plan_channel
from clary.instance.fast_file_mount import FastFileMount, keep_view
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Channel, DataSource, S3DataSource
from clary.jobs.task import StorageGrant
from clary.runtimes import fuse
from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.transfer import download
from factories import make_task
from weed import running_store

BUCKET = "bench"
CHANNELS = {
    "large": ("4 x 256 MB", 4, 256_000_000),
    "small": ("2,000 x 500 kB", 2000, 500_000),
}

_COUNT = """
import os, sys
buffer, count = bytearray(1 << 20), 0
for name in sorted(os.listdir(sys.argv[1])):
    fd = os.open(sys.argv[1] + "/" + name, os.O_RDONLY)
    while got := os.readv(fd, [buffer]): count += got
    os.close(fd)
print(count)
"""


def _instance(place: str, prefix: str, endpoint_url: str, key: str, secret: str) -> Any:
    storage = S3Storage(
        S3Address(endpoint_url=endpoint_url, region="us-east-1"),
        lambda: Credentials(access_key_id=key, secret_access_key=secret),
    )
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{BUCKET}/{prefix}")
    channel = Channel(channel_name="c", input_mode="FastFile", data_source=DataSource(s3_data_source=source))
    task = make_task(channels=(channel,), s3_endpoint_url=endpoint_url)
    files = InstanceFiles(Path(place))
    (files.opt_ml / "input" / "data").mkdir(parents=True)
    files.staging.mkdir()
    return storage, source, task, files


def bring(*arguments: str) -> None:
    """Download a channel; prints bytes, seconds and peak memory in bytes."""
    storage, source, task, files = _instance(*arguments)
    began = time.perf_counter()
    plan = plan_channel(source, task, lambda _access, _location: storage)
    directory = files.opt_ml / "input" / "data" / "c"
    count = download(storage, plan.bucket, plan.selection, directory, scratch=files.staging / "c").bytes_done
    print(json.dumps([count, time.perf_counter() - began, _peak(os.getpid())]))


def mount(*arguments: str) -> None:
    """Mount a channel and have it read; prints bytes, seconds, peak memory in bytes, seconds to mount, first bytes in ms."""
    storage, source, task, files = _instance(*arguments)
    *_, key, secret = arguments
    keys: dict[str, Any] = {"access_key_id": key, "secret_access_key": secret, "session_token": ""}
    grant = StorageGrant(access="read", bucket=BUCKET, prefix="", expiration=Instant(1 << 50), **keys)
    files.grants.write_bytes(msgspec.json.encode([grant]))
    files.task.write_bytes(msgspec.json.encode(task))
    began = time.perf_counter()
    plan = plan_channel(source, task, lambda _access, _location: storage)
    keep_view(files, "c", plan, now=SystemClock().now())
    server = FastFileMount(task, files, fuse, get_logger("bench"))
    server.start()
    mounted_s = time.perf_counter() - began
    directory = files.fast_file / "c"
    began = time.perf_counter()
    reader = subprocess.run([sys.executable, "-I", "-S", "-c", _COUNT, directory], stdout=subprocess.PIPE, check=True)
    took_s = time.perf_counter() - began
    peak = _peak(int(files.fast_file_lock.read_text()))
    server.stop()
    server = FastFileMount(task, files, fuse, get_logger("bench"))
    server.start()  # anew, so that the kernel has no page of it
    firsts = [_first_byte_s(path) * 1000 for path in random.Random(1).choices(sorted(directory.iterdir()), k=20)]
    server.stop()
    print(json.dumps([int(reader.stdout), took_s, peak, mounted_s, firsts]))


def _first_byte_s(path: Path) -> float:
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        file.read(1)
    return time.perf_counter() - began


def _peak(process: int) -> int:
    """Not ru_maxrss, which a process inherits from the one that started it."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    (peak_kib,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    return int(peak_kib) * 1024


def fill(store: Any, names: list[str]) -> None:
    """Put the objects there."""
    client = store.client()
    client.create_bucket(Bucket=BUCKET)
    body = random.Random(1).randbytes(max(CHANNELS[name][2] for name in names))
    with ThreadPoolExecutor(4) as pool:
        for name in names:
            _, count, size = CHANNELS[name]
            data = memoryview(body)[:size].tobytes()
            for done in [
                pool.submit(client.put_object, Bucket=BUCKET, Key=f"{name}/{n:05}", Body=data) for n in range(count)
            ]:
                done.result()


def measure(rounds: int, names: list[str], root: Path) -> dict[str, Any]:
    """Everything."""
    found: dict[str, dict[str, list[list[Any]]]] = {name: {"bring": [], "mount": []} for name in names}
    with running_store(root / "store") as store:
        fill(store, names)
        for _ in range(rounds):
            for name in names:
                for mode in ("bring", "mount"):
                    with tempfile.TemporaryDirectory(dir=root) as place:
                        where = (place, f"{name}/", store.endpoint_url, store.access_key_id, store.secret_access_key)
                        said = subprocess.run(
                            [sys.executable, __file__, mode, *where], check=True, stdout=subprocess.PIPE
                        ).stdout
                    run = json.loads(said)
                    if run[0] != CHANNELS[name][1] * CHANNELS[name][2]:
                        raise SystemExit(f"{mode}, {name}: {run[0]} bytes came")
                    found[name][mode].append(run)
    return {CHANNELS[name][0]: _summary(**modes) for name, modes in found.items()}


def _summary(bring: list[list[Any]], mount: list[list[Any]]) -> dict[str, Any]:
    rates = [[run[0] / run[1] / 1e6 for run in runs] for runs in (bring, mount)]
    firsts = [first for run in mount for first in run[4]]
    return {
        "file_mb_per_s": [round(rate) for rate in rates[0]],
        "fast_file_mb_per_s": [round(rate) for rate in rates[1]],
        "ratio_of_medians": round(statistics.median(rates[1]) / statistics.median(rates[0]), 2),
        "list_and_mount_s": round(statistics.median(run[3] for run in mount), 2),
        "first_byte_ms": [round(statistics.median(firsts), 1), round(max(firsts), 1)],
        "file_peak_memory_mb": round(max(run[2] for run in bring) / 1e6),
        "fast_file_peak_memory_mb": round(max(run[2] for run in mount) / 1e6),
    }


def main() -> None:
    """In a directory that is gone afterwards."""
    if sys.argv[1:2] in (["bring"], ["mount"]):
        {"bring": bring, "mount": mount}[sys.argv[1]](*sys.argv[2:])
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        os._exit(0)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(rounds, sys.argv[2:] or list(CHANNELS), Path(directory)), indent=2))


if __name__ == "__main__":
    main()
