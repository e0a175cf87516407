"""How much of a File mode channel's time is left when its objects are in the input cache, in one run.

    PYTHONPATH=src:tests python bench/cached_channel.py [ROUNDS [SMALL_OBJECTS [LARGE_OBJECTS [LARGE_MB]]]]

An embedded store is filled with SMALL_OBJECTS (default 20,000) of 50 kB and with LARGE_OBJECTS (4) of LARGE_MB (1000). Each round
(default 3) brings each of the two channels without a cache, with an empty one (the first time) and again (cached), each in a process
of its own that does what an instance program does, from the listing to a directory that the program may read and write.
Prints one JSON object: seconds, the ratio of the medians of cached and first, and the peak memory of the processes in MB. The bar is a
ratio below 0.1. Needs root for overlays, else copies are measured; below ROOT (the environment's TMPDIR) there must be room for
the objects three times.
"""

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
from typing import Any

from clary.base.telemetry import get_logger
from clary.instance.cached_channels import CachedChannels
from clary.instance.channel_plan import plan_channel
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import S3DataSource
from clary.runtimes import overlays
from clary.storage.cache import InputCache
from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.transfer import download
from factories import make_task
from weed import running_store

BUCKET = "bench"
KINDS = ("without", "first", "cached")


def bring(kind: str, place: str, prefix: str, endpoint_url: str, key: str, secret: str) -> None:
    """Bring a channel, and print how many bytes are there, the seconds and the peak memory in bytes."""
    storage = S3Storage(
        S3Address(endpoint_url=endpoint_url, region="us-east-1"),
        lambda: Credentials(access_key_id=key, secret_access_key=secret),
    )
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{BUCKET}/{prefix}")
    files = InstanceFiles(Path(place) / kind)
    data = files.opt_ml / "input" / "data"
    data.mkdir(parents=True)
    files.task.touch()
    cache = InputCache(Path(place) / "cache", limit_bytes=1 << 50, endpoint_url=endpoint_url)
    cached = CachedChannels(cache=cache, overlays=overlays, files=files, log=get_logger("bench"))
    began = time.perf_counter()
    plan = plan_channel(source, make_task(), lambda _access, _location: storage)
    if kind == "without":
        download(storage, plan.bucket, plan.selection, data / "c", scratch=files.root / "scratch")
    elif not cached.bring(plan, "c", room_bytes=None, on_progress=lambda _progress: None, cancelled=lambda: False):
        raise SystemExit("the cache was of no help")
    took_s = time.perf_counter() - began
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    (peak_kib,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    seen = [mount.source for mount in cached.mounts()] or [data / "c"]
    count = sum((Path(top) / name).stat().st_size for top, _, names in os.walk(seen[0]) for name in names)
    overlays.detach_below(files.overlays)
    print(json.dumps([count, took_s, int(peak_kib) * 1024]))


def fill(store: Any, channels: dict[str, tuple[str, int, int]]) -> None:
    """Put the objects there."""
    store.client().create_bucket(Bucket=BUCKET)
    storage = S3Storage(
        S3Address(endpoint_url=store.endpoint_url, region="us-east-1"),
        lambda: Credentials(access_key_id=store.access_key_id, secret_access_key=store.secret_access_key),
    )
    block = memoryview(random.Random(1).randbytes(8_000_000))

    def put(key: str, size: int) -> None:
        if size <= len(block):
            storage.put(BUCKET, key, block[:size].tobytes())
            return
        with storage.open_writer(BUCKET, key) as writer:
            for start in range(0, size, len(block)):
                writer.write(block[: min(len(block), size - start)])

    with ThreadPoolExecutor(8) as pool:
        for prefix, count, size in channels.values():
            for done in [pool.submit(put, f"{prefix}{n % 10}/{n:05}", size) for n in range(count)]:
                done.result()


def measure(rounds: int, channels: dict[str, tuple[str, int, int]], root: Path) -> dict[str, Any]:
    """Everything."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {k: [] for k in KINDS} for name in channels}
    with running_store(root / "store") as store:
        fill(store, channels)
        for _ in range(rounds):
            for name, (prefix, count, size) in channels.items():
                with tempfile.TemporaryDirectory(dir=root) as place:
                    for kind in KINDS:
                        keys = (store.endpoint_url, store.access_key_id, store.secret_access_key)
                        said = subprocess.run(
                            [sys.executable, __file__, "bring", kind, place, prefix, *keys],
                            check=True,
                            stdout=subprocess.PIPE,
                        ).stdout
                        bytes_, took_s, peak = json.loads(said)
                        if bytes_ != count * size:
                            raise SystemExit(f"{kind}, {name}: {bytes_} bytes are there")
                        found[name][kind].append((took_s, peak / 1e6))
                        if kind == "without":
                            shutil.rmtree(Path(place) / kind)
    return {name: _summary(kinds) for name, kinds in found.items()}


def _summary(kinds: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    medians = {kind: statistics.median(took_s for took_s, _ in runs) for kind, runs in kinds.items()}
    return {
        **{f"{kind}_s": [round(took_s, 3) for took_s, _ in runs] for kind, runs in kinds.items()},
        "cached_over_first": round(medians["cached"] / medians["first"], 4),
        "first_over_without": round(medians["first"] / medians["without"], 2),
        **{f"{kind}_peak_memory_mb": round(max(peak for _, peak in runs)) for kind, runs in kinds.items()},
    }


def main() -> None:
    """In a directory that is gone afterwards."""
    if sys.argv[1:2] == ["bring"]:
        bring(*sys.argv[2:])
        sys.stdout.flush()
        os._exit(0)  # as the instance program does: what goes to the disk in the background is not waited for
    rounds, small, large, large_mb = [int(text) for text in sys.argv[1:]] + [3, 20_000, 4, 1000][len(sys.argv) - 1 :]
    channels = {
        f"{small} x 50 kB": ("small/", small, 50_000),
        f"{large} x {large_mb} MB": ("large/", large, large_mb * 1_000_000),
    }
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(rounds, channels, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
