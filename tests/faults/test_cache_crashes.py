"""Processes that use one input cache are killed, at each of its points and in the middle of a download: nobody is misled."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clary
import clary.storage.cache
from clary.base import faults
from clary.storage.cache import InputCache
from clary.storage.cache_eviction import taken
from clary.storage.cache_place import CachePlace
from clary.storage.directory import DirectoryStorage
from clary.storage.selection import select_prefix

BUCKET, ENDPOINT = "b", "http://127.0.0.1:1"
POINTS = sorted(point for point in faults.POINTS if point.startswith("cache."))

# Brings the channel; notes each key that it asks for; waits in the middle, after `after` objects, while the file `hold` is there.
JOB = """
import os, sys, threading, time
from pathlib import Path
from clary.storage.cache import InputCache
from clary.storage.directory import DirectoryStorage
from clary.storage.selection import select_prefix

root, name, prefix, limit, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])

class Storage(DirectoryStorage):
    lock, count = threading.Lock(), 0
    def get(self, bucket, key, **more):
        with self.lock, (root / "gets").open("a") as log:
            log.write(f"{key}\\n")
            Storage.count += 1
        if Storage.count > after:
            (root / f"{name}.held").touch()
            while (root / "hold").exists():
                time.sleep(0.005)
        return super().get(bucket, key, **more)

storage = Storage(root / "s3")
(root / name).touch()
cache = InputCache(root / "cache", limit_bytes=limit, endpoint_url="http://127.0.0.1:1")
tree = cache.bring(storage, "b", select_prefix(prefix, storage.list_objects("b", prefix)), user=root / name)
print(tree, flush=True)
"""


class Jobs:
    """Processes below `root` that use one cache."""

    def __init__(self, root: Path, objects: dict[str, bytes]) -> None:
        self.root = root
        self.storage = DirectoryStorage(root / "s3")
        self.storage.create_bucket(BUCKET)
        for key, data in objects.items():
            self.storage.put(BUCKET, key, data)
        self.objects = objects
        self.processes = []

    def start(self, name, prefix="p/", *, limit=1 << 40, after=1 << 40, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, self.root, name, prefix, str(limit), str(after)],
            env={**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1]), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def tree(self, process, prefix="p/"):
        """What the process brought, after a look at every byte."""
        said = process.communicate(timeout=60)[0].strip()
        assert process.returncode == 0
        found = {str(path.relative_to(said)): path.read_bytes() for path in Path(said).rglob("*") if path.is_file()}
        assert found == {key.removeprefix(prefix): data for key, data in self.objects.items() if key.startswith(prefix)}
        return Path(said)

    def gets(self):
        return (self.root / "gets").read_text().split()

    def until(self, name):
        """The process is in the middle of its download."""
        deadline = time.monotonic() + 30
        while not (self.root / f"{name}.held").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)  # another process works

    def settled(self):
        """After one more use, nothing is left over, and the book is right."""
        cache = InputCache(self.root / "cache", limit_bytes=1 << 40, endpoint_url=ENDPOINT)
        self.storage.put(BUCKET, "last/key", b"x")
        (self.root / "last").touch()
        cache.bring(
            self.storage,
            BUCKET,
            select_prefix("last/", self.storage.list_objects(BUCKET, "last/")),
            user=self.root / "last",
        )
        place = CachePlace(self.root / "cache")
        assert (place.names(place.fills), place.names(place.doomed)) == ([], [])
        assert place.ledger().space_bytes == taken(place)


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path, {f"p/{n % 3}/{n}": os.urandom(3000) for n in range(60)})
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def test_the_points_are_the_ones_that_are_walked():
    """Each effect has its point."""
    assert POINTS == ["cache.adopted", "cache.claimed", "cache.filled", "cache.laid_out"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_point(jobs, point):
    """The next process brings the same tree, and what was whole is not brought again."""
    crashed = jobs.start("first", CLARY_FAULT_CRASH=point)
    assert crashed.wait(60) == -signal.SIGKILL
    brought = len(jobs.gets()) if (jobs.root / "gets").exists() else 0
    jobs.tree(jobs.start("second"))

    assert len(jobs.gets()) == 60
    assert brought == (0 if point == "cache.claimed" else 60)
    jobs.settled()


def test_killed_again_and_again_at_every_point(jobs):
    """One after the other, and still the whole tree in the end."""
    for point in POINTS:
        jobs.start(point, CLARY_FAULT_CRASH=point).wait(60)
    jobs.tree(jobs.start("last-one"))
    jobs.settled()


def test_killed_in_the_middle_of_a_download(jobs):
    """What was whole by then is kept, what was half is not taken for whole; the one that waited goes on by itself."""
    hold = jobs.root / "hold"
    hold.touch()
    first = jobs.start("first", after=20)
    jobs.until("first")
    waiting = [jobs.start(name, prefix) for name, prefix in (("second", "p/"), ("third", "p/1/"))]
    time.sleep(0.5)  # they come to wait; if they are late, they find a dead one instead
    assert all(process.poll() is None for process in waiting)
    asked = len(jobs.gets())
    first.kill()
    first.wait(10)
    hold.unlink()
    jobs.tree(waiting[0])
    jobs.tree(waiting[1], "p/1/")

    gets = jobs.gets()
    assert asked < 60
    again = [key for key in set(gets) if gets.count(key) > 1]
    assert set(gets) == set(jobs.objects)
    assert len(again) <= 20  # those that were under way: 16 connections
    jobs.settled()


def test_many_processes_download_once(jobs):
    """Five at the same moment; each object is asked for by one."""
    started = [jobs.start(f"job-{n}", ("p/", "p/", "p/1/", "p/2/", "p/")[n]) for n in range(5)]
    for process, prefix in zip(started, ("p/", "p/", "p/1/", "p/2/", "p/"), strict=True):
        jobs.tree(process, prefix)

    assert sorted(jobs.gets()) == sorted(jobs.objects)
    jobs.settled()


@pytest.mark.parametrize("point", POINTS)
def test_the_bound_holds_when_processes_die(jobs, point):
    """What was promised to the dead is given to the living."""
    limit = 60 * 4096 + 30 * 1024
    for n in range(4):
        jobs.start(f"dead-{n}", f"p/{n % 3}/", limit=limit, CLARY_FAULT_CRASH=point).wait(60)
        (jobs.root / f"dead-{n}").unlink(missing_ok=True)
        place = CachePlace(jobs.root / "cache")
        assert taken(place) <= limit
    jobs.tree(jobs.start("alive", "p/2/", limit=limit), "p/2/")
    jobs.settled()
