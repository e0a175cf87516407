"""What a program in the sandbox cannot see, change or reach."""

import os
import signal
import socket
from pathlib import Path

import pytest

from clary.runtimes.port import CannotStart, Exited, Mount
from unit.runtimes.sandboxes import until

pytestmark = pytest.mark.sandbox


class TestWhatItSees:
    def test_no_home_is_visible(self, sandboxes):
        """The homes of the host are empty in the sandbox, and /mnt, /srv and the like are not there."""
        seen = sandboxes.shell("ls -A /root /home; ls -d /mnt /srv /media 2>/dev/null; echo end")
        assert seen.split() == ["/home:", "/root:", "end"]

    def test_other_instances_are_invisible(self, sandboxes, tmp_path):
        """A path of the host outside the mounts leads nowhere, not even to the program's own directory."""
        (tmp_path / "other").write_text("secret")
        seen = sandboxes.shell(f"cat {tmp_path}/other; ls {tmp_path}; cat {tmp_path}/program/status.jsonl")
        assert "secret" not in seen
        assert seen.count("No such file") == 3

    def test_only_its_own_processes_are_there(self, sandboxes):
        """It is process 1, and the host's processes are not in its /proc."""
        seen = sandboxes.shell("echo $$; ls /proc | grep -c '^[0-9]'").split()
        assert seen[0] == "1"
        assert int(seen[1]) <= 4

    def test_the_root_of_any_process_is_the_sandbox(self, sandboxes, tmp_path):
        """/proc/<pid>/root and /proc/<pid>/cwd do not lead out."""
        seen = sandboxes.shell(
            f"ls /proc/1/root{tmp_path} /proc/self/root{tmp_path} /proc/1/cwd{tmp_path}; ls -A /proc/1/root/root"
        )
        assert seen.count("No such file") == 3

    def test_a_mounted_python_shows_its_parents_but_not_their_other_children(self, sandboxes):
        """A mount deep below a home makes the way there passable, and nothing beside it visible."""
        deep = sandboxes.root / "user" / "versions"
        (deep / "3.11" / "bin").mkdir(parents=True)
        (deep / "3.12").mkdir()
        (sandboxes.root / "user" / "secret").write_text("x")
        at = str(deep / "3.11")
        seen = sandboxes.shell(f"ls {deep.parent} {deep} {at}", mounts=(Mount(source=at, target=at),))
        assert "secret" not in seen
        assert "3.12" not in seen
        assert "bin" in seen

    def test_no_descriptor_of_the_host_is_open(self, sandboxes):
        """Only the standard streams are open; the one more is that of the listing itself."""
        leak = os.open("/", os.O_RDONLY)
        os.set_inheritable(leak, True)
        try:
            assert sandboxes.shell("ls /proc/self/fd").split() == ["0", "1", "2", "3"]
        finally:
            os.close(leak)

    def test_the_environment_is_that_of_the_spec(self, sandboxes, monkeypatch):
        """Nothing of the server's environment comes through, and values arrive unchanged."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment = {"PATH": "/usr/bin", "A": "b=c\nd", "EMPTY": ""}
        state, seen = sandboxes.run("/usr/bin/env", "-0", environment=environment)
        assert state == Exited(exit_code=0)
        assert dict(pair.split("=", 1) for pair in seen.split("\0")[:-1]) == environment | {"PWD": "/"}

    def test_a_value_cannot_smuggle_in_an_option(self, sandboxes):
        """A NUL character would end an option of bubblewrap and begin another: it is refused."""
        with pytest.raises(CannotStart, match="NUL"):
            sandboxes.start("/bin/true", environment={"A": "x\0--bind\0/\0/host"})


class TestWhatItMayChange:
    def test_the_system_is_read_only(self, sandboxes):
        """/usr and the files of /etc cannot be written."""
        seen = sandboxes.shell("for f in /usr/x /usr/lib/x /etc/passwd /etc/ld.so.cache; do echo >$f; done 2>&1")
        assert seen.count("ead-only file system") == 4

    def test_no_setting_of_the_kernel_can_be_opened_for_writing(self, sandboxes):
        """Nothing in /proc, apart from the program's own processes, nor in /sys, opens for writing.

        A program of root owns these files in the kernel's eyes: /proc/sys/kernel/core_pattern is a way out.
        """
        script = """
import os
print("walked")
for top in ("/proc", "/sys"):
    for where, directories, files in os.walk(top):
        if where == "/proc":
            directories[:] = [name for name in directories if not name.isdigit() and name not in ("self", "thread-self")]
        for name in files:
            path = os.path.join(where, name)
            if os.path.islink(path):
                continue
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            print(path)
"""
        assert sandboxes.python(script).split() == ["walked"]

    def test_the_devices_are_usable_and_not_the_hosts_to_change(self, sandboxes):
        """/dev/null works; taking a device's mode away leaves the host's as it was."""
        mode = Path("/dev/full").stat().st_mode  # the one that the machine misses least, should this fail
        seen = sandboxes.shell("echo x >/dev/null && head -c 4 /dev/zero | wc -c; chmod 600 /dev/full; true")
        assert seen.split()[0] == "4"
        assert Path("/dev/full").stat().st_mode == mode

    def test_its_root_is_writable_and_disposable(self, sandboxes):
        """It may write at /, in its home, /run, /var/tmp and /dev/shm; the next program finds none of it."""
        places = "/new /root/new /run/new /var/tmp/new /tmp/new /dev/shm/new /etc/new"
        assert sandboxes.shell(f"touch {places} && echo done", name="first") == "done\n"
        assert "new" not in sandboxes.shell(f"ls {places} 2>/dev/null", name="second")

    def test_a_read_only_mount_is_read_only(self, sandboxes, tmp_path):
        """The default of a mount, and /opt/ml is writable."""
        (tmp_path / "data").mkdir()
        mounts = (Mount(source=str(tmp_path / "data"), target="/opt/ml/input/data/train"),)
        sandboxes.shell("echo >/opt/ml/input/data/train/x; echo y >/opt/ml/model", mounts=mounts)
        assert list((tmp_path / "data").iterdir()) == []
        assert (sandboxes.opt_ml / "model").read_text() == "y\n"

    def test_output_cannot_be_rewritten(self, sandboxes):
        """Opening /dev/stderr anew, as shell scripts do, loses nothing of what was printed before."""
        assert sandboxes.shell("echo one; echo two >/dev/stderr; echo three >/dev/stdout") == "one\ntwo\nthree\n"


class TestItsPowers:
    def test_it_has_no_capability_and_gains_none(self, sandboxes):
        """All capability sets are empty and no_new_privs is set."""
        status = sandboxes.shell("cat /proc/self/status")
        facts = dict(line.split(":", 1) for line in status.splitlines())
        assert {name: int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
            "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0,
        }  # fmt: skip
        assert facts["NoNewPrivs"].strip() == "1"

    def test_it_can_neither_mount_nor_make_namespaces(self, sandboxes):
        """Mounting, leaving the root and new user namespaces are refused."""
        script = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.mount(b"none", b"/opt", b"tmpfs", 0, None), libc.umount2(b"/proc/sys", 2), libc.unshare(0x10000000), libc.chroot(b"/"))
"""
        assert sandboxes.python(script).split() == ["-1"] * 4

    def test_it_has_no_terminal(self, sandboxes):
        """It leads a session of its own without a controlling terminal: nothing can be typed into ours."""
        assert sandboxes.shell("cut -d' ' -f6,7 /proc/self/stat; tty") == "1 0\nnot a tty\n"

    def test_it_dumps_no_core(self, sandboxes):
        """The limit on core files is 0, and cannot be raised."""
        assert sandboxes.shell("ulimit -c; ulimit -Hc; umask").split() == ["0", "0", "0022"]

    def test_it_cannot_signal_the_host(self, sandboxes):
        """The host's process ids mean nothing inside."""
        assert "No such process" in sandboxes.shell(f"kill -0 {os.getpid()} 2>&1")


class TestTheNetwork:
    @pytest.fixture
    def port(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server.getsockname()[1]

    CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5); print('connected')"

    def test_it_is_the_hosts_unless_isolated(self, sandboxes, port):
        """Peers on this machine and S3 can be reached."""
        assert sandboxes.python(self.CONNECT.format(port=port)) == "connected\n"

    def test_isolated_means_alone(self, sandboxes, port):
        """There is a loopback interface of its own, and nothing behind it."""
        seen = sandboxes.python(self.CONNECT.format(port=port), isolated_network=True)
        assert "ConnectionRefusedError" in seen
        assert "lo:" in sandboxes.shell("cat /proc/net/dev", name="devices", isolated_network=True)
        assert "eth" not in sandboxes.output("devices")

    def test_loopback_works_when_isolated(self, sandboxes):
        """A program may talk to itself."""
        script = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), timeout=5)
print("connected")
"""
        assert sandboxes.python(script, isolated_network=True) == "connected\n"

    def test_host_names_resolve(self, sandboxes):
        """The names of the spec, localhost and its own name lead where they should; its own name is algo-N."""
        seen = sandboxes.shell(
            "hostname; cat /etc/hostname; getent hosts algo-1 algo-2 localhost",
            hostname="algo-2",
            hosts={"algo-1": "127.0.0.2", "algo-2": "127.0.0.3"},
        )
        assert seen.split() == ["algo-2", "algo-2", "127.0.0.2", "algo-1", "127.0.0.3", "algo-2", "::1", "localhost"]


class TestItsEnd:
    def test_everything_dies_with_process_1(self, sandboxes):
        """A child that ignores signals and left the session is gone when the program has ended."""
        sandboxes.shell("trap '' TERM HUP; setsid sh -c 'echo $$ >/opt/ml/child; exec sleep 1000' & sleep 0.1; exit 0")
        assert (sandboxes.opt_ml / "child").exists()
        assert not sleepers("1000")

    def test_kill_leaves_nothing_of_a_swarm(self, sandboxes):
        """A program that has forked many times over is gone when `kill` returns."""
        directory = sandboxes.start("/bin/sh", "-c", "for i in $(seq 100); do sleep 1001 & done; echo up; wait")
        sandboxes.printed("up")
        sandboxes.runtime.kill(directory)
        assert not sleepers("1001")

    def test_without_a_handler_sigterm_is_ignored_as_in_docker(self, sandboxes):
        """Process 1 gets only the signals that it handles; SIGKILL ends it."""
        directory = sandboxes.start("/bin/sleep", "1002")
        until(lambda: sleepers("1002"))
        sandboxes.runtime.signal(directory, signal.SIGTERM)
        until(lambda: b"sleep" in Path(f"/proc/{sleepers('1002')[0]}/cmdline").read_bytes())
        sandboxes.runtime.signal(directory, signal.SIGKILL)
        assert sandboxes.end(directory) == Exited(exit_code=137)


def sleepers(seconds: str) -> list[int]:
    """The processes of this machine that sleep for so long."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if (process / "cmdline").read_bytes().endswith(f"sleep\0{seconds}\0".encode()):
                found.append(int(process.name))
        except OSError:
            continue
    return found
