"""A stand-in for the instance program: takes the lock, reports that it is ready, and finishes when told to stop.

With CLARY_FAULT_CRASH=small_agent it dies at once, without a word to the controller.
"""

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

import msgspec

from clary.base import faults
from clary.base.clock import Instant
from clary.base.files import exclusive_lock, write_atomically
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask, Phase, Snapshot, Wishes


def without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_NONBLOCK)


def main() -> None:
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    files = InstanceFiles(Path(options["--directory"]))
    read, write = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    print("a word of the agent", flush=True)
    with (files.root / "starts").open("a") as starts:
        starts.write("x")
    faults.point("small_agent")
    task = msgspec.json.decode(files.task.read_bytes(), type=InstanceTask)
    with exclusive_lock(files.lock) as lock:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        report = Snapshot(sequence=os.getpid(), phase=Phase.DOWNLOADING, ready_at=Instant(1))
        while True:
            write_atomically(files.snapshot, msgspec.json.encode(report), durable=False)
            with contextlib.suppress(OSError), open(options["--hints"], "wb", 0, opener=without_waiting) as hints:
                hints.write(f"{task.instance_name}\n".encode())
            if report.finished_at is not None:
                return
            while msgspec.json.decode(files.wishes.read_bytes(), type=Wishes).stop is None:
                select.select([read], [], [])
                os.read(read, 100)
            report = Snapshot(
                sequence=os.getpid() + 1, phase=Phase.FINISHED, ended_at=Instant(2), finished_at=Instant(2)
            )


main()
