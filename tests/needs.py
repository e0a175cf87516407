"""What a test needs of the machine: without it the test is skipped, with the reason; named in CLARY_REQUIRE, it fails. PYTEST_DONT_REWRITE"""

import os

import pytest


def is_required(what):
    """Whether a machine without it has no business to run the tests, as in CI."""
    return what in os.environ.get("CLARY_REQUIRE", "").split(",")


def need(what, problem):
    """Go on if there is no problem."""
    if problem is not None:
        (pytest.fail if is_required(what) else pytest.skip)(problem)
