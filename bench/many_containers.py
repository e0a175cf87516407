"""Many small jobs at once on the container engine, beside as many `docker run`s at once, on this machine in this run.

    PYTHONPATH=tests .venv/bin/python bench/many_containers.py [JOBS]

All jobs are created as fast as the API takes them, with room for all of them at the same time. The bar: none fails. Prints
the seconds until the last one has ended and until nothing is left of any; the server's peak memory and its processor time;
the most memory that all instance programs together had at a time (what they share is counted once each); and the failures.
"""

import collections
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from botocore.config import Config

from container_images import shell_image
from server import TERMINAL, new_name, serving

PROGRAM = ("sh", "-c", "echo hello; sleep 1; echo model > /opt/ml/model/m")
BARE = ("sh", "-c", "echo hello; sleep 1; mkdir -p /opt/ml/model; echo model > /opt/ml/model/m")
_MB = 1 << 20


class Watch(threading.Thread):
    """Looks at processes of a home again and again."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._home = os.fsencode(home)
        self._enough = threading.Event()
        self.programs = self.resident = 0

    def run(self) -> None:
        while not self._enough.wait(0.25):
            found = [_resident(pid) for pid in self._instance_programs()]
            self.programs = max(self.programs, len(found))
            self.resident = max(self.resident, sum(found))

    def close(self) -> None:
        self._enough.set()
        self.join()

    def _instance_programs(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes()
                    if b"clary.instance" in command and self._home in command:
                        found.append(int(entry.name))
        return found


def _resident(pid: int) -> int:
    """Bytes, shared pages in proportion; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare(image: str, count: int) -> tuple[float, int]:
    """Seconds until all have ended, and how many failed."""
    began = time.perf_counter()
    started = [
        subprocess.Popen(["docker", "run", "--rm", image, *BARE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    failed = sum(process.wait() != 0 for process in started)
    return time.perf_counter() - began, failed


def jobs(image: str, count: int) -> collections.Counter:
    """How the jobs ended: the failures by reason."""
    with serving(CLARY_CONTAINER_ENGINE="auto", CLARY_INSTANCES=str(count), CLARY_LOG_LEVEL="warning") as server:
        sagemaker, bucket = server.client("sagemaker", config=Config(retries={"max_attempts": 0})), server.bucket()
        prefix = new_name("many")
        watch = Watch(server.home)
        watch.start()
        began = time.perf_counter()
        for n in range(count):
            request = server.job(f"{prefix}-{n}", bucket)
            request["AlgorithmSpecification"] |= {"TrainingImage": image, "ContainerEntrypoint": list(PROGRAM)}
            sagemaker.create_training_job(**request)
        created = time.perf_counter() - began
        waiting, reasons = {f"{prefix}-{n}" for n in range(count)}, collections.Counter()
        while waiting:
            time.sleep(0.2)
            for name in sorted(waiting):
                description = sagemaker.describe_training_job(TrainingJobName=name)
                if description["TrainingJobStatus"] in TERMINAL:
                    waiting.discard(name)
                    if description["TrainingJobStatus"] != "Completed":
                        reasons[description.get("FailureReason", "stopped").replace(name, "NAME")] += 1
                else:
                    break  # about in order: one look tells enough
        ended = time.perf_counter() - began
        while any((server.home / "instances").glob(f"{prefix}-*")):
            time.sleep(0.1)
        released = time.perf_counter() - began
        watch.close()
        pid = server.process.pid
        print(f"clary       all created {created:.1f} s, ended {ended:.1f} s, released {released:.1f} s")
        print(f"server      peak {_peak(pid) / _MB:.0f} MiB, {_cpu_s(pid):.1f} s of processor time")
        print(f"instances   {watch.programs} programs at once with {watch.resident / _MB:.0f} MiB together")
        for line in server.log_text().splitlines():
            if '"error"' in line:
                print(f"server says {line[:300]}")
        return reasons


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    image = shell_image()
    print(f"{count} jobs on {os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}")
    reasons = jobs(image, count)
    took, failed = bare(image, count)
    print(f"docker run  {took:.1f} s, {failed} failed")
    for reason, times in reasons.items():
        print(f"failed      {times} of {count}: {reason}")
    if reasons:
        raise SystemExit("not one may fail")
    print("failed      0")


if __name__ == "__main__":
    main()
