"""What instances on this machine do beyond what every compute promises: processes, files, crashes."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from pathlib import Path

import msgspec
import pytest

import clary
from clary.base.clock import Instant
from clary.compute.agents import Agents
from clary.compute.local import LocalCompute
from clary.compute.port import ABSENT, LaunchFailed, Unreachable
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask, StopReason, StorageGrant, Wishes, instance_name
from factories import make_task

NAME = instance_name("job", 1, "algo-1")
STOP = Wishes(stop=StopReason.STOP_TRAINING_JOB)
GRANT = StorageGrant(
    access="read",
    bucket="bucket",
    prefix="",
    access_key_id="id",
    secret_access_key="hidden",
    session_token="token",
    expiration=Instant(5),
)
SLEEPER = "import time; time.sleep(1000)"


class Scene:
    """A home, computes on it, and what to look at."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.files = InstanceFiles(home / "instances" / NAME)
        self.killed: list[Path] = []
        self.made: list[LocalCompute] = []

    def compute(self, script: str = SLEEPER, **more) -> LocalCompute:
        command = (sys.executable, "-c", script)
        compute = LocalCompute(
            self.home, release_program=more.pop("release_program", self.killed.append), command=command, **more
        )
        self.made.append(compute)
        return compute

    def pids(self) -> list[int]:
        """The living instance programs of the instance."""
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if os.fsencode(self.files.root) in (process / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def is_there(self, pid: int) -> bool:
        """Whether there is such a process, be it a zombie."""
        return Path(f"/proc/{pid}").exists()

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # a file or process of somebody else cannot be awaited

    async def close(self) -> None:
        compute = self.compute()
        for name in await compute.stray():
            await compute.release(name)
        for made in self.made:
            await made.close()


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Runs a coroutine with a scene on an event loop of its own, and ends what it left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(clary.__file__).parents[1]))

    def run(test) -> None:
        async def whole() -> None:
            scene = Scene(tmp_path)
            try:
                await asyncio.wait_for(test(scene), 60)
            finally:
                await scene.close()

        asyncio.run(whole())

    return run


class TestTheDirectory:
    def test_secrets_are_for_the_owner_alone(self, play):
        """The directory is closed to other users, and so is the file with the credentials."""

        async def test(scene):
            await scene.compute().launch(make_task(), (GRANT,))
            assert stat.S_IMODE(scene.files.grants.stat().st_mode) == 0o600
            assert stat.S_IMODE(scene.files.root.stat().st_mode) == 0o700
            assert stat.S_IMODE(scene.files.root.parent.stat().st_mode) == 0o700
            assert msgspec.json.decode(scene.files.task.read_bytes(), type=InstanceTask) == make_task()

        play(test)

    def test_a_half_made_directory_is_no_instance(self, play):
        """A crash while making it leaves nothing to observe, something to release, and the next launch unharmed."""

        async def test(scene):
            compute = scene.compute()
            (scene.home / "instances" / ".new" / f"{NAME}~x").mkdir()
            assert await compute.observe(NAME) == ABSENT
            assert await compute.stray() == (NAME,)
            await compute.launch(make_task(), ())
            assert (await compute.observe(NAME)).exists
            await compute.release(NAME)
            assert await compute.stray() == ()

        play(test)

    def test_a_report_that_cannot_be_read_counts_as_none(self, play):
        """Torn, empty, or of another shape."""

        async def test(scene):
            compute = scene.compute()
            await compute.launch(make_task(), ())
            for torn in (b"", b'{"sequence": 1, "pha', b"[]"):
                scene.files.snapshot.write_bytes(torn)
                found = await compute.observe(NAME)
                assert (found.exists, found.snapshot) == (True, None)

        play(test)

    def test_what_cannot_be_told_is_unreachable(self, play):
        """A file of ours that is spoilt is not the same as an instance that is gone."""

        async def test(scene):
            compute = scene.compute()
            await compute.launch(make_task(), ())
            scene.files.grants.write_bytes(b"{")
            with pytest.raises(Unreachable, match=NAME):
                await compute.observe(NAME)

        play(test)

    def test_a_name_stays_below_the_home(self, play):
        """Names come from job names; one that would lead elsewhere is refused."""

        async def test(scene):
            for name in ("../x", "a/b", "", ".trash"):
                with pytest.raises(ValueError, match="no name"):
                    await scene.compute().observe(name)

        play(test)

    def test_a_full_disk_is_a_failed_launch(self, play):
        """Whatever keeps the directory from being made is told in the reason."""

        async def test(scene):
            compute = scene.compute()
            (scene.home / "instances" / ".new").rmdir()
            (scene.home / "instances" / ".new").write_text("in the way")
            with pytest.raises(LaunchFailed, match="cannot make the directory"):
                await compute.launch(make_task(), ())
            (scene.home / "instances" / ".new").unlink()
            (scene.home / "instances" / ".new").mkdir()

        play(test)


class TestTheInstanceProgram:
    def test_it_gets_little_of_our_environment(self, play, monkeypatch):
        """No credentials and no settings of the server; what is needed to run, and the faults of a test."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
        monkeypatch.setenv("CLARY_SECRET", "hidden")
        monkeypatch.setenv("CLARY_FAULT_HOLD", "x:y")

        async def test(scene):
            await scene.compute(
                "import os; print(sorted(os.environ)); print(os.getcwd(), os.getsid(0) == os.getpid())"
            ).launch(make_task(), ())
            await scene.until(lambda: scene.files.agent_log.exists() and "True" in scene.files.agent_log.read_text())
            said = scene.files.agent_log.read_text()
            assert "SECRET" not in said
            assert "'PATH'" in said
            assert "'CLARY_FAULT_HOLD'" in said
            assert "/ True" in said

        play(test)

    def test_it_is_told_where_everything_is(self, play):
        """Its directory, where logs go, and the pipe for hints."""

        async def test(scene):
            await scene.compute("import sys; print(sys.argv[1:], 'end')", logs=scene.home / "l").launch(make_task(), ())
            await scene.until(lambda: scene.files.agent_log.exists() and "end" in scene.files.agent_log.read_text())
            expected = [
                "--directory",
                f"{scene.files.root}",
                "--logs",
                f"{scene.home}/l",
                "--hints",
                f"{scene.home}/run/hints",
            ]
            assert str(expected) in scene.files.agent_log.read_text()

        play(test)

    def test_it_outlives_the_server(self, play):
        """SIGINT to the server's group, as from Ctrl-C, and SIGKILL of the server leave it at work."""
        script = """
import asyncio, os, signal, sys, msgspec
from pathlib import Path
from clary.compute.local import LocalCompute
from clary.jobs.task import InstanceTask
async def main():
    compute = LocalCompute(Path(sys.argv[1]), release_program=print, command=(sys.executable, "-c", sys.argv[3]))
    await compute.launch(msgspec.json.decode(sys.argv[2], type=InstanceTask), ())
    signal.signal(signal.SIGINT, lambda *_: os.kill(0, signal.SIGKILL))
    os.killpg(0, signal.SIGINT)
asyncio.run(main())
"""

        async def test(scene):
            arguments = [str(scene.home), msgspec.json.encode(make_task()).decode(), SLEEPER]
            server = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, *arguments, start_new_session=True
            )
            assert await server.wait() == -signal.SIGKILL
            await scene.until(scene.pids)

        play(test)

    def test_one_that_ended_is_reaped_and_told(self, play):
        """No zombie stays, and whoever waits for changes is woken."""

        async def test(scene):
            woken: asyncio.Queue[str] = asyncio.Queue()
            compute = scene.compute("import os; print(os.getpid())")
            compute.on_change(woken.put_nowait)
            await compute.launch(make_task(), ())
            assert await asyncio.wait_for(woken.get(), 20) == NAME
            assert not scene.is_there(int(scene.files.agent_log.read_text()))
            assert not (await compute.observe(NAME)).alive

        play(test)

    def test_one_that_dies_at_once_is_not_started_in_a_tight_loop(self, play):
        """The pauses between starts grow; after five deaths without a report the launch fails with its last words."""

        async def test(scene):
            now = [0.0]
            ended: asyncio.Queue[str] = asyncio.Queue()
            crashing = (sys.executable, "-c", "print('out of luck', flush=True); raise SystemExit(1)")
            keeper = Agents(crashing, newest=lambda _name: -1, ended=ended.put_nowait, monotonic=lambda: now[0])
            scene.files.root.mkdir(parents=True)
            pauses = []
            for _ in range(5):
                begin = now[0]
                keeper.start(NAME, scene.files, [])
                while not keeper.runs(NAME):
                    now[0] += 0.05
                    keeper.start(NAME, scene.files, [])
                pauses.append(round(now[0] - begin, 2))
                await asyncio.wait_for(ended.get(), 20)
            assert pauses == pytest.approx([0, 0.25, 0.5, 1, 2], abs=0.06)
            now[0] += 60
            with pytest.raises(LaunchFailed, match=r"died 5 times: (?s:.*)out of luck"):
                keeper.start(NAME, scene.files, [])
            keeper.close()

        play(test)

    def test_one_that_reports_may_be_started_again_at_once(self, play):
        """A death after a report is no reason to wait, and does not count."""

        async def test(scene):
            ended: asyncio.Queue[str] = asyncio.Queue()
            sequence = iter(range(100))
            keeper = Agents((sys.executable, "-c", "pass"), newest=lambda _name: next(sequence), ended=ended.put_nowait)
            scene.files.root.mkdir(parents=True)
            for _ in range(7):
                keeper.start(NAME, scene.files, [])
                assert keeper.runs(NAME)
                await asyncio.wait_for(ended.get(), 20)
            keeper.close()

        play(test)

    def test_a_stale_process_id_in_the_lock_is_not_signalled(self, play):
        """SIGUSR1 would end a stranger: only an instance program of this directory gets it."""

        async def test(scene):
            compute = scene.compute()
            await compute.launch(make_task(), ())
            stranger = await asyncio.create_subprocess_exec("sleep", "1000")
            scene.files.lock.write_text(str(stranger.pid))
            await compute.tell(NAME, STOP)
            stranger.kill()
            assert await stranger.wait() == -signal.SIGKILL

        play(test)


class TestRelease:
    def test_it_ends_programs_of_an_earlier_server(self, play):
        """Instance programs are found by their command line, even before they hold the lock; then the runtime's."""

        async def test(scene):
            first = scene.compute()
            await first.launch(make_task(), ())
            await scene.until(scene.pids)
            await scene.compute().release(NAME)
            assert scene.pids() == []
            assert scene.killed == [scene.files.program]
            assert not scene.files.root.exists()

        play(test)

    def test_the_program_is_ended_before_its_files_go(self, play):
        """If the runtime cannot end it, the instance stays, and the next release tries again."""

        async def test(scene):
            tries = []

            def stubborn(directory: Path) -> None:
                tries.append(directory)
                if len(tries) == 1:
                    raise TimeoutError("it does not end")

            compute = scene.compute(release_program=stubborn)
            await compute.launch(make_task(), ())
            with pytest.raises(Unreachable, match="does not end"):
                await compute.release(NAME)
            assert (await compute.observe(NAME)).exists
            await compute.release(NAME)
            assert await compute.observe(NAME) == ABSENT

        play(test)

    def test_what_job_code_left_is_deleted(self, play):
        """Closed directories and links out; the file that a link leads to stays."""

        async def test(scene):
            compute = scene.compute()
            await compute.launch(make_task(), ())
            kept = scene.home / "kept"
            kept.write_text("x")
            (scene.files.opt_ml / "closed").mkdir(parents=True)
            (scene.files.opt_ml / "closed" / "link").symlink_to(kept)
            (scene.files.opt_ml / "closed").chmod(0)
            await compute.release(NAME)
            assert not scene.files.root.exists()
            assert kept.read_text() == "x"

        play(test)

    def test_a_crash_while_deleting_is_made_good(self, play):
        """What lies in the trash is no instance any more, and goes with the next look for strays."""

        async def test(scene):
            left = scene.home / "instances" / ".trash" / "abc" / "opt_ml"
            left.mkdir(parents=True)
            assert await scene.compute().stray() == ()
            assert not left.exists()

        play(test)


class TestHealth:
    def test_a_problem_is_looked_for_until_there_is_none(self, play):
        """The check costs a sandbox: once it went well it is not repeated, so that it may be asked at each request."""

        async def test(scene):
            answers = iter(["user namespaces are switched off", None])
            compute = scene.compute(runtime_problem=lambda: next(answers))
            found = [compute.capabilities().problem for _ in range(4)]
            assert found == ["user namespaces are switched off", None, None, None]

        play(test)


class TestHints:
    def test_hints_come_through_whole(self, play):
        """Several in one read, one in two parts, and repeated ones once a read."""

        async def test(scene):
            woken: asyncio.Queue[str] = asyncio.Queue()
            scene.compute().on_change(woken.put_nowait)
            pipe = os.open(scene.home / "run" / "hints", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, b"a\nb\na\nlo")
                assert [await woken.get(), await woken.get()] == ["a", "b"]
                os.write(pipe, b"ng\n")
                assert await woken.get() == "long"
            finally:
                os.close(pipe)

        play(test)

    def test_a_hint_while_the_server_is_away_is_lost_without_harm(self, play):
        """Nobody reads the pipe: opening it fails at once instead of waiting."""

        async def test(scene):
            compute = scene.compute()
            compute.on_change(lambda _name: None)
            await compute.close()
            with pytest.raises(OSError, match="No such device"):
                os.open(scene.home / "run" / "hints", os.O_WRONLY | os.O_NONBLOCK)

        play(test)
