"""Volumes for tests that need a machine on which they can be made. PYTEST_DONT_REWRITE

    pytest_plugins = ["loop_volumes"]
    pytestmark = pytest.mark.usefixtures("needs_volumes")

Where they cannot be made, such tests are skipped with the reason; with CLARY_REQUIRE=volumes they fail.
"""

import tempfile
import time
from functools import cache
from pathlib import Path

import pytest

from clary.runtimes import fuse, volumes
from needs import need


@cache
def volumes_problem():
    with tempfile.TemporaryDirectory(prefix="clary-test-") as directory:
        return volumes.problem(Path(directory))


def loop_devices(below):
    """The backing files of all loop devices that lie below a directory."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = path.read_text().strip()
        except OSError:  # freed just now
            continue
        if backing.startswith(f"{below.resolve()}/"):
            found.append(backing)
    return found


def no_loop_devices(below, patience_s=10):
    """Whether none is left; the kernel frees them in the background."""
    until = time.monotonic() + patience_s
    while loop_devices(below):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)  # there is nothing else to wait on
    return True


def detach_all(below):
    """Unmount whatever a test has left, so that its directory can be deleted."""
    for mount_point in volumes.mounted_below(below):
        volumes.detach(mount_point)
        fuse.detach(mount_point)  # whatever else it was


@pytest.fixture
def needs_volumes(tmp_path):
    """Volumes can be made, and none is left at the end."""
    need("volumes", volumes_problem())
    yield
    detach_all(tmp_path)
    assert no_loop_devices(tmp_path), loop_devices(tmp_path)
