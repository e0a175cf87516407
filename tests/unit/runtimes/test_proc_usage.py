"""What a tree of processes uses, as /proc tells it."""

import os
import subprocess
import sys
import time

import pytest

from clary.runtimes.proc_usage import usage_of

TREE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "x = bytearray(64 << 20)\\nwhile True: pass"])
print("here", flush=True)
sys.stdin.read()
child.kill()
child.wait()
print("reaped", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tree():
    """A process that waits and a child of his that does not. His input is closed step by step."""
    process = subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    yield process
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


def test_descendants_count(tree):
    """Their processor time and memory; the time still does once they have ended."""
    deadline = time.monotonic() + 20
    while (usage := usage_of(tree.pid)).cpu_s < 0.2 or usage.memory_bytes < 64 << 20:
        assert time.monotonic() < deadline, usage
        time.sleep(0.01)  # the child needs time to use some
    assert usage.memory_bytes < usage.memory_limit_bytes
    tree.stdin.close()
    assert tree.stdout.readline() == "reaped\n"
    tree.wait(20)
    assert usage_of(tree.pid) is None


def test_nobody_uses_nothing():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert usage_of(process.pid) is None
    assert usage_of(os.getpid()).memory_bytes > 0
