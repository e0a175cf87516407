"""How fast Pipe mode feeds a program that only counts, against File mode's download of the same objects in the same run.

    PYTHONPATH=src:tests python bench/pipe_mode.py [ROUNDS]

An embedded store is filled with 4 objects of 256 MB and with 2,000 of 500 kB. Each round (default 5) brings each of the two
channels in both modes, one after the other, each in a process of its own that does what an instance program does, from the
listing to the last byte: into files, or through FIFOs to a reader that is another process. Prints one JSON object: the rates
in MB/s, the ratio of the medians, and the peak memory of the process in MB. The bar is a ratio of 0.9.
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
from clary.instance.grants import Grants
from clary.instance.pipe_plan import look_up
from clary.instance.pipes import Pipes, plan_file
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Channel, DataSource, S3DataSource
from clary.jobs.task import InstanceTask, StorageGrant
from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.transfer import download
from factories import make_task
from weed import running_store

BUCKET = "bench"
CHANNELS = {"4 x 256 MB": ("large/", 4, 256_000_000), "2,000 x 500 kB": ("small/", 2000, 500_000)}

_COUNT = """
import os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.001)
fd, buffer, count = os.open(sys.argv[1], os.O_RDONLY), bytearray(1 << 20), 0
while got := os.readv(fd, [buffer]): count += got
print(count)
"""


def bring(mode: str, place: str, prefix: str, endpoint_url: str, key: str, secret: str) -> None:
    """Bring a channel, and print how many bytes it had, the seconds and the peak memory in bytes."""
    storage = S3Storage(
        S3Address(endpoint_url=endpoint_url, region="us-east-1"),
        lambda: Credentials(access_key_id=key, secret_access_key=secret),
    )
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{BUCKET}/{prefix}")
    channel = Channel(channel_name="c", input_mode=mode, data_source=DataSource(s3_data_source=source))
    task = make_task(channels=(channel,))
    files = InstanceFiles(Path(place))
    (files.opt_ml / "input" / "data").mkdir(parents=True)
    files.staging.mkdir()
    began = time.perf_counter()
    if mode == "File":
        plan = plan_channel(source, task, lambda _access, _location: storage)
        directory = files.opt_ml / "input" / "data" / "c"
        count = download(storage, plan.bucket, plan.selection, directory, scratch=files.staging / "c").bytes_done
    else:
        count = _feed(storage, source, task, files)
    took_s = time.perf_counter() - began
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    (peak_kib,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    print(json.dumps([count, took_s, int(peak_kib) * 1024]))


def _feed(storage: S3Storage, source: S3DataSource, task: InstanceTask, files: InstanceFiles) -> int:
    keys: dict[str, Any] = {"access_key_id": "", "secret_access_key": "", "session_token": ""}
    grant = StorageGrant(access="read", bucket=BUCKET, prefix="", expiration=Instant(1 << 50), **keys)
    files.grants.write_bytes(msgspec.json.encode([grant]))
    clock = SystemClock()
    pipes = Pipes(
        task=task,
        files=files,
        storage_for=lambda _access, _location: storage,
        grants=Grants(files.grants, clock),
        clock=clock,
        wake=lambda: None,
        log=get_logger("bench"),
    )
    look_up(source, lambda _access, _location: storage, plan_file(files, "c"))
    pipes.make()
    reader = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _COUNT, files.opt_ml / "input" / "data" / "c_0"], stdout=subprocess.PIPE
    )
    pipes.feed()
    count = int(reader.communicate()[0])
    pipes.stop()
    return count


def fill(store: Any) -> None:
    """Put the objects there."""
    client = store.client()
    client.create_bucket(Bucket=BUCKET)
    body = random.Random(1).randbytes(max(size for _, _, size in CHANNELS.values()))
    with ThreadPoolExecutor(4) as pool:
        for prefix, count, size in CHANNELS.values():
            for done in [
                pool.submit(
                    client.put_object, Bucket=BUCKET, Key=f"{prefix}{n:05}", Body=memoryview(body)[:size].tobytes()
                )
                for n in range(count)
            ]:
                done.result()


def measure(rounds: int, root: Path) -> dict[str, Any]:
    """Everything."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {"File": [], "Pipe": []} for name in CHANNELS}
    with running_store(root / "store") as store:
        fill(store)
        for _ in range(rounds):
            for name, (prefix, count, size) in CHANNELS.items():
                for mode in ("File", "Pipe"):
                    with tempfile.TemporaryDirectory(dir=root) as place:
                        arguments = (
                            mode,
                            place,
                            prefix,
                            store.endpoint_url,
                            store.access_key_id,
                            store.secret_access_key,
                        )
                        said = subprocess.run(
                            [sys.executable, __file__, "bring", *arguments], check=True, stdout=subprocess.PIPE
                        ).stdout
                    bytes_, took_s, peak = json.loads(said)
                    if bytes_ != count * size:
                        raise SystemExit(f"{mode}, {name}: {bytes_} bytes came")
                    found[name][mode].append((bytes_ / took_s / 1e6, peak / 1e6))
    return {name: _summary(modes) for name, modes in found.items()}


def _summary(modes: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    rates = {mode: [rate for rate, _ in runs] for mode, runs in modes.items()}
    return {
        **{f"{mode.lower()}_mb_per_s": [round(rate) for rate in found] for mode, found in rates.items()},
        "ratio_of_medians": round(statistics.median(rates["Pipe"]) / statistics.median(rates["File"]), 2),
        **{f"{mode.lower()}_peak_memory_mb": round(max(peak for _, peak in runs)) for mode, runs in modes.items()},
    }


def main() -> None:
    """In a directory that is gone afterwards."""
    if sys.argv[1:2] == ["bring"]:
        bring(*sys.argv[2:])
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        os._exit(0)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(rounds, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
