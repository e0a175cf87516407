"""PyTorch for a test image, without being a dependency of the tests. PYTEST_DONT_REWRITE

Some 200 MB to fetch and 800 MB on disk where pip finds builds for the processor alone; elsewhere ten times as much. So it
is fetched when CLARY_REQUIRE names `torch`, and where it names `clients`, as CI does, if there are such builds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from needs import is_required

REQUIREMENT = "torch==2.13.0"
PLACE = Path(__file__).parents[1] / ".clients" / f"{REQUIREMENT.replace('==', '-')}-{sys.implementation.cache_tag}"


def torch_problem():
    """Why the test is to be skipped."""
    if is_required("torch") or PLACE.exists():
        return None
    if not is_required("clients"):
        return f"{REQUIREMENT} is fetched (some 200 MB) only with CLARY_REQUIRE=torch"
    ask = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    said = subprocess.run([*ask, "--ignore-installed", "--report", "-", REQUIREMENT], capture_output=True, text=True)
    if said.returncode != 0:
        return f"{REQUIREMENT} cannot be had: {said.stderr.strip().rpartition(chr(10))[2]}"
    names = [item["metadata"]["name"] for item in json.loads(said.stdout)["install"]]
    if any(name.startswith("nvidia") for name in names):
        return f"of {REQUIREMENT} there is no build for the processor alone"
    return None


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
