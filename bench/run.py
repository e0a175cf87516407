"""All benches, one after the other: `make bench`. Each can be run alone; its docstring says what it measures."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ARGUMENTS = {"search.py": ["100000"]}
"""A million jobs, which it makes by itself, would take longer than all others together, and 6 GB of disk."""


def main():
    benches = sorted(path for path in HERE.glob("*.py") if path.name != "run.py")
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parent / "tests")
    }  # some make their jobs with the tests' factories
    failed = []
    for path in benches:
        print(f"\n== {path.name}", flush=True)
        if (
            subprocess.run(
                [sys.executable, path, *ARGUMENTS.get(path.name, [])], env=environment, check=False
            ).returncode
            != 0
        ):
            failed.append(path.name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
