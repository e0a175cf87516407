"""How long a program has between SIGTERM and SIGKILL, in the instance program as `compute` starts it."""

import os
import subprocess
import sys
from pathlib import Path

import clary
from clary.instance.decisions import GRACE_S
from unit.instance.scenes import Scene

# The instance program, but for its work.
SAYS_ITS_GRACE = """
import sys
from clary.instance import __main__ as program

class Lifecycle:
    def __init__(self, around):
        print(around.grace_s)
    def run(self):
        pass

program.Lifecycle = Lifecycle
program.leave_with(program.main(sys.argv[1:]))
"""


def test_the_grace_is_sagemakers():
    """120 seconds. Source: API reference, StopTrainingJob."""
    assert GRACE_S == 120


def test_the_instance_program_gives_it(tmp_path):
    """Unless it is told otherwise, which only tests do."""
    scene = Scene(tmp_path)
    options = ("--directory", scene.files.root, "--logs", tmp_path / "logs")
    environment = {**os.environ, "PYTHONPATH": str(Path(clary.__file__).parents[1])}
    said = subprocess.run(
        [sys.executable, "-c", SAYS_ITS_GRACE, *options], env=environment, check=True, capture_output=True, text=True
    )
    assert float(said.stdout) == 120
