"""The upload of a model as tar.gz against Python's own way (tarfile's gzip into a file, then boto3), in one run.

    PYTHONPATH=src:tests python bench/artifact_upload.py [GIGABYTES [ROUNDS]]

The model is a directory of files of 250 MB, 4 GB in all unless told otherwise: 32-bit floats drawn from a normal distribution,
as weights are, of which gzip takes off some 7 %. Each uploads in a process of its own, in turn, ROUNDS times (default 1: the
peer needs minutes), to each of two stores: the embedded one, which shares the processors with its client and computes three
MD5 of every byte, and one that takes bytes and keeps nothing, as if the store were another machine's. Needs three times the
size on disk. Prints one JSON object: for each store seconds, the ratio (the bar is 8), the sizes of the archives, and the
peak memory of both processes in MB.
"""

import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.upload import upload_archive
from sink_s3 import sink
from weed import running_store, s3_client

BUCKET = "bench"
FILE_BYTES = 250_000_000


def ours(model, endpoint_url, key, secret):
    """As an instance does it."""
    storage = S3Storage(
        S3Address(endpoint_url=endpoint_url, region="us-east-1"),
        lambda: Credentials(access_key_id=key, secret_access_key=secret),
    )
    upload_archive(storage, BUCKET, "ours", [Path(model)])


def theirs(model, endpoint_url, key, secret):
    """As scripts and the SageMaker SDK's local mode do it."""
    with tempfile.TemporaryDirectory(dir=Path(model).parent) as directory:
        archive = Path(directory, "model.tar.gz")
        with tarfile.open(archive, "w:gz") as tar:
            for path in sorted(Path(model).iterdir()):
                tar.add(path, arcname=path.name)
        s3_client(endpoint_url, key, secret).upload_file(str(archive), BUCKET, "theirs")


WAYS = {"ours": ours, "theirs": theirs}


def work(way, *arguments):
    """Do it once; print seconds and peak memory in bytes."""
    began = time.perf_counter()
    WAYS[way](*arguments)
    took_s = time.perf_counter() - began
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    (peak_kib,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    print(json.dumps([took_s, int(peak_kib) * 1024]))


def fill(model, size_bytes):
    """Make the files."""
    model.mkdir()
    rng = np.random.default_rng(1)
    for n, start in enumerate(range(0, size_bytes, FILE_BYTES)):
        count = min(FILE_BYTES, size_bytes - start) // 4
        (rng.standard_normal(count, dtype=np.float32) * np.float32(0.02)).tofile(model / f"weights-{n:02}.bin")


def same_content(store, model):
    """Raise SystemExit unless both archives hold the model; the size of each in bytes."""
    expected = sorted((path.name, path.stat().st_size) for path in model.iterdir())
    sizes = {}
    for key in WAYS:
        found = store.client().get_object(Bucket=BUCKET, Key=key)
        with tarfile.open(fileobj=found["Body"], mode="r|gz") as tar:
            if [(entry.name, entry.size) for entry in tar] != expected:
                raise SystemExit(f"{key}: another content")
        sizes[key] = found["ContentLength"]
    return sizes


def measure(size_bytes, rounds, root):
    """Everything."""
    model = root / "model"
    fill(model, size_bytes)
    with running_store(root / "store") as store:
        store.client().create_bucket(Bucket=BUCKET)
        found = run(rounds, model, store.endpoint_url, store.access_key_id, store.secret_access_key)
        embedded = told(found, same_content(store, model))
    with sink() as endpoint_url:
        found = run(rounds, model, endpoint_url, "any", "any")
        client = s3_client(endpoint_url, "any", "any")
        sizes = {way: client.head_object(Bucket=BUCKET, Key=way)["ContentLength"] // rounds for way in WAYS}
    return {"model_mb": round(size_bytes / 1e6), "embedded_store": embedded, "keeps_nothing": told(found, sizes)}


def run(rounds, model, *store):
    """Seconds and peak memory of each run, by way."""
    found = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            os.sync()
            command = [sys.executable, __file__, way, model, *store]
            found[way].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    return found


def told(found, sizes):
    """What is printed of a store."""
    times = {way: [took_s for took_s, _ in runs] for way, runs in found.items()}
    ratios = [slow / fast for fast, slow in zip(times["ours"], times["theirs"], strict=True)]
    return {
        **{f"{way}_s": [round(took_s, 1) for took_s in took] for way, took in times.items()},
        "ratio": {name: round(each(ratios), 1) for name, each in {"min": min, "median": statistics.median}.items()},
        **{f"{way}_archive_mb": round(size / 1e6) for way, size in sizes.items()},
        **{f"{way}_peak_memory_mb": round(max(peak for _, peak in runs) / 1e6) for way, runs in found.items()},
    }


def main():
    """In a directory that is gone afterwards."""
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        work(*sys.argv[1:])
        return
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(int(gigabytes * 1e9), rounds, Path(directory)), indent=2))


if __name__ == "__main__":
    main()
