"""ML instances on this machine: a directory and a detached program each. The adapter of `compute.port` for one machine.

Below `home` it keeps instances/NAME (see `jobs.instance_files`), instances/.new (being made), instances/.trash (being
deleted) and run/hints (a pipe). Nothing is remembered that the disk does not tell, except how often an instance program
died a moment ago: a second server on the same home finds every instance.
"""

import asyncio
import contextlib
import errno
import glob
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import is_locked, sync_directory, write_atomically
from clary.base.telemetry import get_logger
from clary.compute import agents
from clary.compute.delete_tree import empty_trash, move_to_trash
from clary.compute.hints import HintPipe
from clary.compute.port import ABSENT, Capabilities, LaunchFailed, Observation, Unreachable
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask, Snapshot, StorageGrant, Wishes

_GONE_WITHIN_S = 10.0

_log = get_logger("compute")


def _nothing_wrong() -> str | None:
    return None


class LocalCompute:
    """A `Compute`. Close it before the event loop ends; that leaves the instances as they are.

    `logs`: where instance programs put the job's log, home/logs if not given. `release_program` ends what a runtime
    has started in a directory, which may have been moved, and gives back what is held for it and its instance, so that the
    instance can be deleted; it blocks until that is done. `runtime_problem` says why no program can be started on this
    machine; it is asked until it has no answer. `command` starts an instance program.
    """

    def __init__(
        self,
        home: Path,
        *,
        release_program: Callable[[Path], None],
        runtime_problem: Callable[[], str | None] = _nothing_wrong,
        logs: Path | None = None,
        python: str = sys.executable,
        command: Sequence[str] = (),
    ) -> None:
        self._instances = home / "instances"
        self._new = self._instances / ".new"
        self._trash = self._instances / ".trash"
        self._hints = home / "run" / "hints"
        self._new.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._instances.chmod(0o700)
        self._logs = logs or home / "logs"
        self._release_program = release_program
        self._runtime_problem = runtime_problem
        self._healthy = False
        self._pipe: HintPipe | None = None
        self._wake: Callable[[str], None] = lambda _name: None
        # -P: a directory in which somebody starts the server must not lend its modules to the instance program.
        self._agents = agents.Agents(
            command or (python, "-P", "-m", "clary.instance"),
            newest=lambda name: _sequence(_snapshot(self._files(name))),
            ended=self._ended,
        )
        self._telling = asyncio.Lock()
        self._deleting = asyncio.Lock()

    def capabilities(self) -> Capabilities:
        """What can run here. A problem is looked for again each time, until there is none."""
        problem = None if self._healthy else self._runtime_problem()
        self._healthy = problem is None
        return Capabilities(problem=problem)

    async def launch(self, task: InstanceTask, grants: tuple[StorageGrant, ...]) -> None:
        """See `Compute`. An instance program that has just died is not started again at once: call later."""
        name = task.instance_name
        files = self._files(name)
        try:
            made = await asyncio.to_thread(self._make, files, task, grants)
            if self._agents.runs(name) or await asyncio.to_thread(_is_at_work_or_finished, files):
                return
            if not made:
                await self.renew(name, grants)
        except OSError as error:
            raise LaunchFailed(f"cannot make the directory of {name}: {error}") from error
        self._agents.start(name, files, ["--logs", str(self._logs), "--hints", str(self._hints)])

    async def observe(self, instance_name: str) -> Observation:
        """See `Compute`."""
        return await asyncio.to_thread(self._look, self._files(instance_name), self._agents.runs(instance_name))

    async def tell(self, instance_name: str, wishes: Wishes) -> None:
        """See `Compute`. Wishes that it was told before stay; nobody is told if there is no such instance."""
        async with self._telling:
            await asyncio.to_thread(_tell, self._files(instance_name), wishes)

    async def renew(self, instance_name: str, grants: tuple[StorageGrant, ...]) -> None:
        """See `Compute`. Without effect if there is no such instance."""
        files = self._files(instance_name)
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(write_atomically, files.grants, msgspec.json.encode(grants))

    async def release(self, instance_name: str) -> None:
        """See `Compute`. Raises `Unreachable` if something of it does not end, or cannot be deleted."""
        files = self._files(instance_name)
        await self._agents.kill(instance_name)
        async with self._deleting:
            try:
                await asyncio.to_thread(self._release, files)
            except (TimeoutError, OSError) as error:
                raise Unreachable(f"{instance_name} cannot be released: {error}") from error
        self._agents.forget(instance_name)

    async def stray(self) -> tuple[str, ...]:
        """See `Compute`. Also goes on with deleting what an earlier server did not get to delete."""
        async with self._deleting:
            return await asyncio.to_thread(self._names)

    def on_change(self, wake: Callable[[str], None]) -> None:
        """See `Compute`. Must be called on the event loop."""
        self._wake = wake
        if self._pipe is not None:
            self._pipe.close()
        self._pipe = HintPipe(self._hints, wake)

    async def close(self) -> None:
        """Stop watching; all instances go on."""
        self._agents.close()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _ended(self, instance_name: str) -> None:
        self._wake(instance_name)

    def _files(self, name: str) -> InstanceFiles:
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"no name of an instance: {name!r}")
        return InstanceFiles(self._instances / name)

    def _make(self, files: InstanceFiles, task: InstanceTask, grants: tuple[StorageGrant, ...]) -> bool:
        """Make the directory whole, or leave the one that is there; whether it was made. Raises OSError."""
        if files.task.exists():
            return False
        self._new.mkdir(mode=0o700, exist_ok=True)
        new = InstanceFiles(Path(tempfile.mkdtemp(dir=self._new, prefix=f"{files.root.name}~")))
        write_atomically(new.grants, msgspec.json.encode(grants))
        write_atomically(new.wishes, msgspec.json.encode(Wishes()))
        write_atomically(new.task, msgspec.json.encode(task))
        try:
            new.root.rename(files.root)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            move_to_trash(new.root, self._trash)  # another launch was faster
            return False
        sync_directory(self._instances)
        return True

    def _look(self, files: InstanceFiles, runs: bool) -> Observation:
        try:
            if not files.task.exists():
                return ABSENT
            # The lock before the report: an instance program that ends in between has written its last report.
            alive = runs or is_locked(files.lock)
            grants = typed.from_json(files.grants.read_bytes(), tuple[StorageGrant, ...])
            return Observation(
                exists=True,
                alive=alive,
                snapshot=_snapshot(files),
                grants_expire_at=min((grant.expiration for grant in grants), default=None),
                wishes=typed.from_json(files.wishes.read_bytes(), Wishes),
            )
        except FileNotFoundError:
            return ABSENT  # released while we looked
        except (OSError, msgspec.DecodeError) as error:
            raise Unreachable(f"{files.root} cannot be read: {error}") from error

    def _release(self, files: InstanceFiles) -> None:
        agents.end(files, within_s=_GONE_WITHIN_S)
        self._release_program(files.program)
        move_to_trash(files.root, self._trash)
        for half_made in self._new.glob(f"{glob.escape(files.root.name)}~*"):
            move_to_trash(half_made, self._trash)
        empty_trash(self._trash)

    def _names(self) -> tuple[str, ...]:
        empty_trash(self._trash)
        whole = {path.name for path in self._instances.iterdir() if not path.name.startswith(".")}
        return tuple(sorted(whole | {path.name.partition("~")[0] for path in self._new.iterdir()}))


def _tell(files: InstanceFiles, wishes: Wishes) -> None:
    try:
        told = typed.from_json(files.wishes.read_bytes(), Wishes)
    except FileNotFoundError:
        return
    merged = told.and_also(wishes)
    if merged != told:
        with contextlib.suppress(FileNotFoundError):
            write_atomically(files.wishes, msgspec.json.encode(merged))
    agents.poke(files)


def _snapshot(files: InstanceFiles) -> Snapshot | None:
    """The newest report; one that cannot be read counts as none, until the next."""
    try:
        return typed.from_json(files.snapshot.read_bytes(), Snapshot)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        _log.warning("report cannot be read", path=str(files.snapshot))
        return None


def _sequence(snapshot: Snapshot | None) -> int:
    return -1 if snapshot is None else snapshot.sequence


def _is_at_work_or_finished(files: InstanceFiles) -> bool:
    if is_locked(files.lock):
        return True
    snapshot = _snapshot(files)
    return snapshot is not None and snapshot.finished_at is not None
