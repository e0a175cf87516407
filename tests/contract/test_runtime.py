"""What every runtime promises. What only the sandbox can promise: tests/unit/runtimes/."""

import os
import shlex
import signal
import time
import uuid
from pathlib import Path

import msgspec
import pytest

from clary.base.clock import Instant, SystemClock, later
from clary.runtimes.docker.engine import find_engine
from clary.runtimes.docker.runtime import DockerRuntime
from clary.runtimes.port import Container, Exited, Lost, Mount, ProgramSpec, Running, Runtime
from clary.runtimes.process import ProcessRuntime
from clary.runtimes.scripted import SCRIPT, ScriptedRuntime
from container_images import shell_image

HELD_S = 10_000
WAITS = "while [ ! -e /opt/ml/go ]; do sleep 0.02; done"


class Ahead:
    """The clock of scripted programs: this machine's, until they are let go."""

    def __init__(self) -> None:
        self.by_s = 0

    def now(self) -> Instant:
        return later(SystemClock().now(), self.by_s)


class Programs:
    """Makes programs that behave the same on each runtime: as a script of numbers, and as a shell script."""

    def __init__(self, root: Path, clock: Ahead, image: str | None = None) -> None:
        self.root = root
        self.clock = clock
        self.image = image
        (root / "opt_ml").mkdir()

    def let_go(self) -> None:
        """Let programs end that are `held`, and those hear that are `deaf`."""
        (self.root / "opt_ml" / "go").touch()
        self.clock.by_s = HELD_S

    def __call__(
        self, *, name="program", run_for=0.0, held=False, exit_code=0, lines=(), ignores_sigterm=False, deaf=False
    ) -> ProgramSpec:
        seconds = HELD_S * (held + deaf) + run_for
        script = {"run_for": seconds, "exit_code": exit_code, "lines": lines, "ignores_sigterm": ignores_sigterm}
        script["deaf_for"] = HELD_S * deaf
        steps = [
            *([WAITS] if deaf else []),
            "trap '' TERM" if ignores_sigterm else "trap 'exit 143' TERM",
            "echo x >>/opt/ml/starts",
            *(f"echo {shlex.quote(line)}" for line in lines),
            *([WAITS] if held else []),
            *([f"sleep {run_for} & wait $!"] if run_for else []),
            f"exit {exit_code}",
        ]
        argv = ("/usr/bin/sh" if self.image else "/bin/sh", "-c", "\n".join(steps))
        return ProgramSpec(
            argv=argv,
            environment={"PATH": "/usr/bin:/bin", SCRIPT: msgspec.json.encode(script).decode()},
            hostname="algo-1",
            hosts={"algo-1": "127.0.0.1"},
            mounts=(Mount(source=str(self.root / "opt_ml"), target="/opt/ml", read_only=False),),
            directory=str(self.root / name),
            output=str(self.root / f"{name}.out"),
            isolated_network=False,
            container=self.image and self.container(name, argv),
        )

    def container(self, name: str, argv: tuple[str, ...]) -> Container:
        own = f"{name}-{uuid.uuid4().hex[:8]}"
        return Container(name=own, image=self.image, network=own, entrypoint=argv[:1], arguments=argv[1:])

    def starts(self, directory: Path) -> int:
        """How often a program was really started."""
        if (directory / "scripted.json").exists():
            return ScriptedRuntime(self.clock).progress(directory).starts
        return (self.root / "opt_ml" / "starts").read_text().count("x")


@pytest.fixture
def clock():
    return Ahead()


@pytest.fixture(
    params=[
        pytest.param("process", marks=pytest.mark.sandbox),
        pytest.param("docker", marks=pytest.mark.docker),
        "scripted",
    ]
)
def make(request, clock):
    """Makes a runtime; a second one knows nothing of the first but what lies on disk."""
    return {
        "process": ProcessRuntime,
        "docker": lambda: DockerRuntime(find_engine("auto", os.environ)),
        "scripted": lambda: ScriptedRuntime(clock),
    }[request.param]


@pytest.fixture
def programs(tmp_path, make, clock, request):
    root = tmp_path / "instances"
    root.mkdir()
    programs = Programs(root, clock, shell_image() if request.node.get_closest_marker("docker") else None)
    yield programs
    for directory in root.iterdir():
        if directory.is_dir():
            make().release(directory)


def until_ended(runtime: Runtime, directory: Path):
    """Wait for the end, at most 60 seconds."""
    deadline = time.monotonic() + 60
    while isinstance(state := runtime.state(directory), Running):
        assert time.monotonic() < deadline, "the program does not end"
        time.sleep(0.002)  # the port has no call that waits
    return state


def until_printed(spec: ProgramSpec, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in (Path(spec.output).read_text() if Path(spec.output).exists() else ""):
        assert time.monotonic() < deadline, f"{text} is not printed"
        time.sleep(0.002)  # a file cannot be waited for


class TestRuntime:
    def test_a_machine_that_works_has_no_problem(self, make):
        """`problem` is None where programs can be started."""
        assert make().problem() is None

    def test_the_exit_code_is_reported(self, make, programs):
        """The program's exit code is what `Exited` says."""
        spec = programs(exit_code=7)
        runtime = make()
        runtime.start(spec)
        assert until_ended(runtime, Path(spec.directory)) == Exited(exit_code=7)

    def test_all_output_is_there_once_the_program_has_ended(self, make, programs):
        """`Exited` comes after the last line has reached the output file."""
        lines = tuple(f"line {n}" for n in range(500))
        spec = programs(lines=lines)
        runtime = make()
        runtime.start(spec)
        until_ended(runtime, Path(spec.directory))
        assert tuple(Path(spec.output).read_text().splitlines()) == lines

    def test_output_is_appended(self, make, programs):
        """What stands in the output file already stays."""
        spec = programs(lines=("new",))
        Path(spec.output).write_text("old\n")
        runtime = make()
        runtime.start(spec)
        until_ended(runtime, Path(spec.directory))
        assert Path(spec.output).read_text() == "old\nnew\n"

    def test_a_program_that_was_never_started_is_lost(self, make, programs):
        """Nothing is known of it, and ending it does nothing."""
        runtime = make()
        runtime.prepare(programs.root / "never")
        assert runtime.state(programs.root / "never") == Lost()
        runtime.signal(programs.root / "never", signal.SIGTERM)
        runtime.kill(programs.root / "never")
        assert runtime.state(programs.root / "never") == Lost()

    def test_what_a_running_program_uses_can_be_asked(self, make, programs):
        """Processor time that only rises and memory within its limit; nothing before the start and after the end."""
        spec = programs(run_for=30, lines=("here",))
        runtime = make()
        assert runtime.usage(programs.root / "program") is None
        runtime.start(spec)
        until_printed(spec, "here")
        first, second = runtime.usage(Path(spec.directory)), make().usage(Path(spec.directory))
        assert 0 <= first.cpu_s <= second.cpu_s
        assert 0 <= second.memory_bytes <= second.memory_limit_bytes
        runtime.kill(Path(spec.directory))
        assert runtime.usage(Path(spec.directory)) is None

    def test_starting_twice_starts_once(self, make, programs):
        """The second call finds the program of the first, while it runs and after it has ended."""
        spec = programs(held=True, lines=("up",))
        directory = Path(spec.directory)
        runtime = make()
        runtime.start(spec)
        runtime.start(spec)
        until_printed(spec, "up")
        programs.let_go()
        assert until_ended(runtime, directory) == Exited(exit_code=0)
        runtime.start(spec)
        assert runtime.state(directory) == Exited(exit_code=0)
        assert programs.starts(directory) == 1

    def test_a_second_runtime_goes_on_watching(self, make, programs):
        """Restore: another runtime on the same disk finds the program, started once, and learns its exit code."""
        spec = programs(held=True, exit_code=5, lines=("up",))
        directory = Path(spec.directory)
        make().start(spec)
        until_printed(spec, "up")
        second = make()
        assert second.state(directory) == Running()
        second.start(spec)
        programs.let_go()
        assert until_ended(second, directory) == Exited(exit_code=5)
        assert programs.starts(directory) == 1

    def test_sigterm_reaches_a_program_that_handles_it(self, make, programs):
        """The handler runs, and decides the exit code."""
        spec = programs(run_for=60, lines=("up",))
        directory = Path(spec.directory)
        runtime = make()
        runtime.start(spec)
        until_printed(spec, "up")
        runtime.signal(directory, signal.SIGTERM)
        assert until_ended(runtime, directory) == Exited(exit_code=143)

    def test_sigterm_is_not_lost_on_a_program_that_does_not_handle_it_yet(self, make, programs):
        """It is not sent: the caller asks again, and the handler runs."""
        spec = programs(run_for=60, deaf=True)
        directory = Path(spec.directory)
        runtime = make()
        runtime.start(spec)
        assert runtime.signal(directory, signal.SIGTERM) is False
        assert runtime.state(directory) == Running()
        programs.let_go()
        while not runtime.signal(directory, signal.SIGTERM):
            time.sleep(0.01)  # as the instance program does, turn by turn
        assert until_ended(runtime, directory) == Exited(exit_code=143)

    def test_a_program_may_ignore_sigterm_but_not_sigkill(self, make, programs):
        """SIGTERM leaves it running; SIGKILL ends it with 137."""
        spec = programs(run_for=60, lines=("up",), ignores_sigterm=True)
        directory = Path(spec.directory)
        runtime = make()
        runtime.start(spec)
        until_printed(spec, "up")
        runtime.signal(directory, signal.SIGTERM)
        assert runtime.state(directory) == Running()
        runtime.signal(directory, signal.SIGKILL)
        assert until_ended(runtime, directory) == Exited(exit_code=137)

    def test_a_signal_after_the_end_does_nothing(self, make, programs):
        """The exit code stays."""
        spec = programs(exit_code=3)
        directory = Path(spec.directory)
        runtime = make()
        runtime.start(spec)
        until_ended(runtime, directory)
        runtime.signal(directory, signal.SIGKILL)
        runtime.kill(directory)
        assert runtime.state(directory) == Exited(exit_code=3)

    def test_kill_returns_when_nothing_is_left(self, make, programs):
        """Directly after it the program has ended, by SIGKILL."""
        spec = programs(run_for=60, lines=("up",))
        directory = Path(spec.directory)
        runtime = make()
        runtime.start(spec)
        until_printed(spec, "up")
        runtime.kill(directory)
        assert runtime.state(directory) == Exited(exit_code=137)

    def test_kill_works_on_a_renamed_directory_from_elsewhere(self, make, programs):
        """Whoever deletes an instance may move it aside first."""
        spec = programs(run_for=60, lines=("up",))
        make().start(spec)
        until_printed(spec, "up")
        moved = Path(spec.directory).rename(programs.root / "moved")
        second = make()
        second.kill(moved)
        assert second.state(moved) == Exited(exit_code=137)
