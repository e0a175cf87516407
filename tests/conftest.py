"""What all tests share: the marker `sandbox`, and no AWS environment of the person who runs them.

A test that is marked `sandbox` (or lies in tests/e2e or tests/faults) needs bubblewrap and a kernel that allows user
namespaces. Where they are missing it is skipped, with the reason; with CLARY_REQUIRE=sandbox it fails.
"""

import os
from functools import cache
from pathlib import Path

import pytest

from clary.runtimes.process import ProcessRuntime

HERE = Path(__file__).parent
NEED_SANDBOX = (HERE / "e2e", HERE / "faults")

for name in [name for name in os.environ if name.startswith(("AWS_", "CLARY_")) and name != "CLARY_REQUIRE"]:
    del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


@cache
def sandbox_problem():
    return ProcessRuntime().problem()


def pytest_collection_modifyitems(items):
    for item in items:
        if any(item.path.is_relative_to(place) for place in NEED_SANDBOX):
            item.add_marker(pytest.mark.sandbox)


def pytest_runtest_setup(item):
    if item.get_closest_marker("sandbox") is None:
        return
    problem = sandbox_problem()
    if problem is not None:
        required = "sandbox" in os.environ.get("CLARY_REQUIRE", "").split(",")
        (pytest.fail if required else pytest.skip)(problem)
