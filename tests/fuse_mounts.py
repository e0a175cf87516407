"""FUSE for tests that need a machine on which it can be mounted. PYTEST_DONT_REWRITE

    pytest_plugins = ["fuse_mounts"]
    pytestmark = pytest.mark.usefixtures("needs_fuse")

Where nothing can be mounted, such tests are skipped with the reason; with CLARY_REQUIRE=fuse they fail.
"""

import tempfile
from functools import cache
from pathlib import Path

import pytest

from clary.runtimes import fuse
from needs import need


@cache
def fuse_problem():
    with tempfile.TemporaryDirectory(prefix="clary-test-") as directory:
        return fuse.problem(Path(directory))


@pytest.fixture(scope="session")
def needs_fuse():
    """Something can be mounted."""
    need("fuse", fuse_problem())


def mounted(home):
    """The lines of /proc/mounts about file systems of FUSE below a directory."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if line.split()[2].startswith("fuse") and str(home) in line.split()[1]]
