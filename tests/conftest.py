"""What all tests share: the markers for what a machine must have, and no AWS environment of the person who runs them.

`sandbox` (and everything in tests/e2e and tests/faults): bubblewrap and a kernel that allows user namespaces; `docker`: a
Docker engine. Where it is missing the test is skipped, with the reason; named in CLARY_REQUIRE, it fails.
"""

import os
from functools import cache
from pathlib import Path

import pytest

from clary.runtimes.docker.engine import engine_problem, find_engine
from clary.runtimes.process import ProcessRuntime
from needs import need

HERE = Path(__file__).parent
NEED_SANDBOX = (HERE / "e2e", HERE / "faults")

for name in [name for name in os.environ if name.startswith(("AWS_", "CLARY_")) and name != "CLARY_REQUIRE"]:
    del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


@cache
def sandbox_problem():
    return ProcessRuntime().problem()


@cache
def docker_problem():
    return engine_problem(find_engine("auto", os.environ))


PROBLEMS = {"sandbox": sandbox_problem, "docker": docker_problem}


def pytest_collection_modifyitems(items):
    for item in items:
        if any(item.path.is_relative_to(place) for place in NEED_SANDBOX):
            item.add_marker(pytest.mark.sandbox)


def pytest_runtest_setup(item):
    for marker, problem_of in PROBLEMS.items():
        if item.get_closest_marker(marker) is not None:
            need(marker, problem_of())
