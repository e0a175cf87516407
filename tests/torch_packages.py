"""PyTorch for a test image, without being a dependency of the tests. PYTEST_DONT_REWRITE

Some 200 MB to fetch and 800 MB on disk where pip finds builds for the processor alone; elsewhere ten times as much. So it
is fetched only when CLARY_REQUIRE names `torch`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = "torch==2.13.0"
PLACE = Path(__file__).parents[1] / ".clients" / f"{REQUIREMENT.replace('==', '-')}-{sys.implementation.cache_tag}"


def torch_problem():
    """Why the test is to be skipped."""
    if "torch" in os.environ.get("CLARY_REQUIRE", "").split(","):
        return None
    return f"{REQUIREMENT} is fetched (some 200 MB) only with CLARY_REQUIRE=torch"


def torch_packages():
    """The directory with PyTorch and what it needs, and the names of what is in it. Fetches them the first time."""
    if not PLACE.exists():
        PLACE.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=PLACE.parent) as half_made:
            target = Path(half_made) / "packages"
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
            subprocess.run([*install, "--target", target, REQUIREMENT], check=True)
            target.rename(PLACE)
    names = {entry.name.removesuffix(".py") for entry in PLACE.iterdir() if entry.suffix != ".dist-info"}
    return PLACE, sorted(names - {"bin", "setuptools", "_distutils_hack", "distutils-precedence.pth"})
