"""Fixtures of the runtimes' own tests."""

import pytest

from unit.runtimes.sandboxes import Sandboxes


@pytest.fixture
def sandboxes(tmp_path):
    sandboxes = Sandboxes(tmp_path)
    yield sandboxes
    sandboxes.close()
