"""Fixtures of the instance program's own tests."""

import pytest

from unit.instance.scenes import Scene


@pytest.fixture
def scene(tmp_path):
    """Makes a scene in this test's own directory."""
    return lambda **what: Scene(tmp_path, **what)
