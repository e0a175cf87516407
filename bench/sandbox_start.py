"""What the sandbox adds to the start of a program: start to end of /bin/true, against subprocess.run of the same.

python bench/sandbox_start.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clary.runtimes.port import Mount, ProgramSpec, Running
from clary.runtimes.process import ProcessRuntime


def sandboxed(runtime: ProcessRuntime, root: Path) -> tuple[float, float]:
    """Seconds until `start` returns, and until the exit code is known."""
    (root / "opt_ml").mkdir(parents=True)
    spec = ProgramSpec(
        argv=("/bin/true",),
        environment={"PATH": "/usr/bin:/bin"},
        hostname="algo-1",
        hosts={"algo-1": "127.0.0.1"},
        mounts=(Mount(source=str(root / "opt_ml"), target="/opt/ml", read_only=False),),
        directory=str(root / "program"),
        output=str(root / "output"),
        isolated_network=False,
    )
    begin = time.perf_counter()
    runtime.start(spec)
    started = time.perf_counter() - begin
    while isinstance(runtime.state(Path(spec.directory)), Running):
        time.sleep(0.0005)  # the port has no call that waits
    return started, time.perf_counter() - begin


def plain() -> float:
    begin = time.perf_counter()
    subprocess.run(["/bin/true"], check=True)
    return time.perf_counter() - begin


def main(rounds: int) -> None:
    runtime = ProcessRuntime()
    with tempfile.TemporaryDirectory() as root:
        measured = [(*sandboxed(runtime, Path(root, str(n))), plain()) for n in range(rounds)]
    start, whole, bare = (statistics.median(column) for column in zip(*measured, strict=True))
    print(f"start {start * 1000:.1f} ms, start to exit code {whole * 1000:.1f} ms, subprocess.run {bare * 1000:.1f} ms")
    print(f"ratio {whole / bare:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
