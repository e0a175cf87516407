"""A runtime that starts nothing: the program is a script of numbers, so that tests need no kernel and no second.

Used by tests of the instance program. What happened is kept in the program's directory, as the real runtime does, so
that a second runtime on the same directory finds the program again. Nothing runs in the background: the state is worked
out from the clock whenever somebody asks.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.clock import Clock, Instant, SystemClock, later
from clary.base.files import write_atomically
from clary.runtimes.port import CannotStart, Exited, Lost, ProgramSpec, Running, Say, State, Usage

_MEMORY_BYTES = 1 << 30

SCRIPT = "SCRIPT"
"""The environment variable of the program that holds its `Script` as JSON."""


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the program does.

    `run_for`: seconds until it ends by itself with `exit_code`. `lines`: what it prints, at once. `files`: text by the
    path at which the program writes it, below one of its mounts, at once. `ignores_sigterm`: it goes on; otherwise it
    ends with 143. `deaf_for`: seconds before it handles SIGTERM. `cannot_start`: why the runtime refuses it. `vanishes`: it ends by being lost. `cores`: how many it
    keeps busy; `memory`: which part of all memory it uses.
    """

    run_for: float = 0.0
    exit_code: int = 0
    lines: tuple[str, ...] = ()
    files: dict[str, str] = {}
    ignores_sigterm: bool = False
    deaf_for: float = 0.0
    cannot_start: str | None = None
    vanishes: bool = False
    cores: float = 0.0
    memory: float = 0.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of it. `starts` counts how often it was really started: once, if all is well."""

    script: Script
    started_at: Instant
    starts: int = 1
    signals: tuple[int, ...] = ()
    ended: int | None = None


class ScriptedRuntime:
    """A `Runtime`. `broken` is what `problem` answers."""

    network_interface = "eth0"

    def __init__(self, clock: Clock | None = None, *, broken: str | None = None) -> None:
        self._clock = clock or SystemClock()
        self._broken = broken

    def problem(self) -> str | None:
        """What it was told to answer."""
        return self._broken

    def provide_image(self, image: str, say: Say, cancelled: Callable[[], bool]) -> None:
        """None: there are no images."""

    def prepare(self, directory: Path) -> None:
        """Make the program's own directory."""
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, spec: ProgramSpec) -> None:
        """Begin the script that stands in the program's environment; no script runs for no time and ends with 0."""
        directory = Path(spec.directory)
        self.prepare(directory)
        if self.progress(directory) is not None:
            return
        script = typed.from_json(spec.environment.get(SCRIPT, "{}"), Script)
        if script.cannot_start is not None:
            raise CannotStart(script.cannot_start)
        _save(directory, Progress(script=script, started_at=self._clock.now()))
        with Path(spec.output).open("a") as output:
            output.writelines(f"{line}\n" for line in script.lines)
        for path, text in script.files.items():
            _inside(spec, path).write_text(text)

    def state(self, directory: Path) -> State:
        """How the program is by now."""
        progress = self.progress(directory)
        if progress is None:
            return Lost()
        if progress.ended is not None:
            return Exited(exit_code=progress.ended)
        if self._clock.now() < later(progress.started_at, progress.script.run_for):
            return Running()
        return Lost() if progress.script.vanishes else Exited(exit_code=progress.script.exit_code)

    def usage(self, directory: Path) -> Usage | None:
        """What the script says that it uses."""
        progress = self.progress(directory)
        if progress is None or not isinstance(self.state(directory), Running):
            return None
        elapsed_s = (self._clock.now() - progress.started_at) / 1000
        return Usage(
            cpu_s=progress.script.cores * elapsed_s,
            memory_bytes=round(progress.script.memory * _MEMORY_BYTES),
            memory_limit_bytes=_MEMORY_BYTES,
        )

    def signal(self, directory: Path, signal_number: int) -> bool:
        """End the program if the signal would."""
        progress = self.progress(directory)
        if progress is None or not isinstance(self.state(directory), Running):
            return True
        hears_from = later(progress.started_at, progress.script.deaf_for)
        if signal_number != signal.SIGKILL and self._clock.now() < hears_from:
            return False
        ends = signal_number == signal.SIGKILL or (
            signal_number == signal.SIGTERM and not progress.script.ignores_sigterm
        )
        _save(
            directory,
            msgspec.structs.replace(
                progress,
                signals=(*progress.signals, signal_number),
                ended=128 + signal_number if ends else None,
            ),
        )
        return True

    def kill(self, directory: Path) -> None:
        """End the program with 137."""
        self.signal(directory, signal.SIGKILL)

    def release(self, directory: Path) -> None:
        """Kill."""
        self.kill(directory)

    def progress(self, directory: Path) -> Progress | None:
        """What has become of the program, for a test to look at; None if it was not started."""
        try:
            return typed.from_json((directory / "scripted.json").read_bytes(), Progress)
        except FileNotFoundError:
            return None


def _save(directory: Path, progress: Progress) -> None:
    write_atomically(directory / "scripted.json", msgspec.json.encode(progress), durable=False)


def _inside(spec: ProgramSpec, path: str) -> Path:
    """The host's path of a file that the program writes. Raises `LookupError` if no mount covers it."""
    for mount in reversed(spec.mounts):
        if path.startswith(f"{mount.target}/"):
            return Path(mount.source + path.removeprefix(mount.target))
    raise LookupError(f"no mount covers {path}")
