"""Types are learned by one thread at a time, whoever is first."""

import re
import subprocess
import sys
from pathlib import Path

import clary

# Each round meets a type that nobody has met, in four threads at once. With msgspec's own functions this ends by SIGSEGV.
ROUNDS = """
import sys, threading, types
import msgspec
from clary.base import typed
sys.setswitchinterval(1e-6)
SOURCE = '''
import msgspec
class Leaf(msgspec.Struct):
    z: "int"
class Branch(msgspec.Struct):
    x: "int"
    y: "tuple[Leaf, ...]"
class Tree(msgspec.Struct):
    a: "Branch"
    b: "int | None" = None
'''
for n in range(300):
    module = sys.modules[f"m{n}"] = types.ModuleType(f"m{n}")
    exec(SOURCE, module.__dict__)
    met = threading.Barrier(4)
    found = []

    def meet(kind=module.Tree):
        met.wait()
        found.append(typed.from_json(b'{"a":{"x":1,"y":[{"z":2}]}}', kind).a.y[0].z)
        found.append(typed.convert({"a": {"x": 1, "y": [{"z": 2}]}}, kind).a.y[0].z)

    threads = [threading.Thread(target=meet) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == [2] * 8, found
"""


def test_threads_that_meet_a_type_at_once_get_their_data():
    """In a process of its own, which would be gone."""
    done = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_goes_round_it():
    """A typed decode of msgspec's own, anywhere, would be such a first meeting."""
    ours = re.compile(r"msgspec\.(json\.decode\([^\n]*type=|msgpack\.decode\(|convert\(|(json|msgpack)\.Decoder\([^)])")
    root = Path(clary.__file__).parent
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.rglob("*.py")
        for line in path.read_text().splitlines()
        if path.name != "typed.py" and ours.search(line)
    ]
    assert found == []
