"""Programs in a real sandbox, for the tests beside this file."""

import subprocess
import sys
import time
from pathlib import Path

import clary
from clary.runtimes.port import Mount, ProgramSpec, Running
from clary.runtimes.process import ProcessRuntime
from clary.runtimes.python_paths import python_environment_paths

PATH = "/usr/local/bin:/usr/bin:/bin"


class Sandboxes:
    """Starts programs below one directory and ends them all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runtime = ProcessRuntime()
        self.opt_ml = root / "opt_ml"
        self.opt_ml.mkdir()

    def spec(self, *argv: str, name: str = "program", environment=None, mounts=(), **more) -> ProgramSpec:
        return ProgramSpec(
            argv=argv,
            environment={"PATH": PATH} if environment is None else environment,
            hostname=more.pop("hostname", "algo-1"),
            hosts=more.pop("hosts", {"algo-1": "127.0.0.1"}),
            mounts=(Mount(source=str(self.opt_ml), target="/opt/ml", read_only=False), *mounts),
            directory=str(self.root / name),
            output=str(self.root / f"{name}.out"),
            isolated_network=more.pop("isolated_network", False),
            **more,
        )

    def start(self, *argv: str, **more) -> Path:
        """Start a program; return its directory."""
        spec = self.spec(*argv, **more)
        self.runtime.start(spec)
        return Path(spec.directory)

    def output(self, name: str = "program") -> str:
        return (self.root / f"{name}.out").read_text()

    def run(self, *argv: str, **more):
        """Run a program to its end; return its state and what it printed."""
        directory = self.start(*argv, **more)
        state = self.end(directory)
        return state, self.output(directory.name)

    def shell(self, script: str, **more) -> str:
        """What a shell script prints."""
        return self.run("/bin/sh", "-c", script, **more)[1]

    def python(self, script: str, **more) -> str:
        """What a script prints to this test's own Python, which is mounted for the purpose."""
        paths = [Mount(source=path, target=path) for path in python_environment_paths(Path(sys.prefix))]
        return self.run(f"{sys.prefix}/bin/python", "-I", "-c", script, mounts=paths, **more)[1]

    def end(self, directory: Path):
        until(lambda: not isinstance(self.runtime.state(directory), Running))
        return self.runtime.state(directory)

    def printed(self, text: str, name: str = "program") -> None:
        until(lambda: text in self.output(name))

    def close(self) -> None:
        for directory in self.root.iterdir():
            if directory.is_dir():
                self.runtime.kill(directory)


def until(condition) -> None:
    """Wait for something that can only be looked at, at most 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)  # see above


def supervisors(directory: Path) -> list[int]:
    """The process ids of the bwrap processes of this machine that watch the program of a directory."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if (process / "cmdline").read_bytes().startswith(f"clary-sandbox:{directory}\0".encode()):
                found.append(process)
        except OSError:
            continue
    parents = [int((process / "stat").read_text().rpartition(")")[2].split()[1]) for process in found]
    ids = [int(process.name) for process in found]
    return [pid for pid, parent in zip(ids, parents, strict=True) if parent not in ids]


def python_elsewhere(script: str, *argv: str, environment=None, **more) -> subprocess.Popen:
    """Run a Python script in a process of its own, with this checkout of Clary."""
    source = str(Path(clary.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", script, *argv],
        env={"PATH": PATH, "PYTHONPATH": source, **(environment or {})},
        **more,
    )
