"""What the Docker runtime does beyond what every runtime promises."""

import ipaddress
import signal
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from clary.runtimes.docker.networks import free_subnet, routed
from clary.runtimes.docker.orphans import remove_orphans
from clary.runtimes.docker.output import LineEnds
from clary.runtimes.docker.runtime import DockerRuntime, exec_failure, exec_line
from clary.runtimes.port import CannotStart, EngineAway, Exited, ImageUnusable, Limits, Lost, Running
from container_images import client, python_image, python_path
from unit.runtimes.containers import URL, Containers
from unit.runtimes.sandboxes import python_elsewhere, until

PEERS = (("algo-1", "algo-2"), ("algo-2", "algo-1"))

SERVE = """
import socket
listener = socket.create_server(("", 7777))
print("listening")
while True:
    listener.accept()
    print("visitor")
"""

# Listens, and says hello to the peer as soon as that one listens too.
TALK = """
import os, socket, time
listener = socket.create_server(("", 7777))
deadline = time.monotonic() + 15
while True:
    try:
        peer = socket.create_connection((os.environ["PEER"], 7777), timeout=5)
        break
    except OSError:
        assert time.monotonic() < deadline, "no peer"
        time.sleep(0.05)
peer.sendall(socket.gethostname().encode() + b" says hello")
peer.close()
print(listener.accept()[0].recv(100).decode())
"""

KNOCK = """
import os, socket
for name in ("JOB", "LOOPBACK", "MACHINE", "NAME"):
    if name in os.environ:
        host, port = os.environ[name].split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1.5)
            print(name, "open")
        except OSError:
            print(name, "closed")
"""

START = """
import sys, msgspec
from clary.runtimes.port import ProgramSpec
from clary.runtimes.docker.runtime import DockerRuntime
DockerRuntime(sys.argv[2]).start(msgspec.json.decode(sys.argv[1], type=ProgramSpec))
"""


@pytest.fixture
def containers(tmp_path):
    containers = Containers(tmp_path)
    yield containers
    containers.close()


def start_elsewhere(spec, **more) -> int:
    """Start the program from a process of its own, which has then ended; return that process's exit code."""
    with python_elsewhere(START, msgspec.json.encode(spec).decode(), URL, **more) as process:
        return process.wait()


@pytest.mark.docker
class TestCrashes:
    @pytest.mark.parametrize("point", ["container.marked", "container.created", "container.started"])
    def test_a_crash_while_starting_leaves_one_program(self, containers, point):
        """Wherever the starter is killed, starting again ends with one program that was started once."""
        spec = containers.spec("echo started; exit 4")
        assert start_elsewhere(spec, environment={"CLARY_FAULT_CRASH": point}) == -signal.SIGKILL
        containers.runtime.start(spec)
        assert containers.end(spec) == Exited(exit_code=4)
        assert containers.output(spec) == "started\n"

    def test_the_output_goes_on_where_a_killed_follower_left_it(self, containers):
        """Nothing is missing and nothing is there twice when another process goes on with a program under way."""
        spec = containers.spec(
            "seq() { i=0; while [ $i -lt $1 ]; do i=$((i+1)); echo line $i; done; }; seq 2000; sleep 1; seq 2000"
        )
        assert start_elsewhere(spec) == 0
        assert containers.end(spec) == Exited(exit_code=0)
        lines = [f"line {n}" for n in range(1, 2001)]
        assert containers.output(spec).splitlines() == lines + lines

    def test_a_program_that_ended_while_nobody_looked_is_told_truly(self, containers):
        """Its exit code and all it printed are there for whoever asks first."""
        spec = containers.spec("echo last words; exit 11")
        assert start_elsewhere(spec) == 0
        until(lambda: not containers.inspect(spec)["State"]["Running"])
        assert containers.end(spec) == Exited(exit_code=11)
        assert containers.output(spec) == "last words\n"

    def test_a_container_that_somebody_removed_is_lost(self, containers):
        """Unless the engine told how it ended while it was going; it is not made anew."""
        spec = containers.start("sleep 60")
        with client() as engine:
            engine.remove_container(containers.name(spec), force=True)
        state = containers.end(spec)
        assert state in (Lost(), Exited(exit_code=137))
        DockerRuntime(URL).start(spec)
        assert containers.end(spec) == state

    def test_a_container_that_was_made_and_never_started_is_lost(self, containers):
        """Whoever ends an instance before its program ran finds no success."""
        spec = containers.spec("exit 0")
        assert start_elsewhere(spec, environment={"CLARY_FAULT_CRASH": "container.created"}) == -signal.SIGKILL
        assert isinstance(containers.runtime.state(Path(spec.directory)), Running | Lost)
        assert containers.end(spec) == Lost()


@pytest.mark.docker
class TestPrograms:
    def test_a_terminal_is_attached_and_lines_end_as_in_a_file(self, containers):
        """The program sees a terminal, and its log has no carriage returns."""
        state, output = containers.run("tty; test -t 1 && echo terminal; printf 'a\\rb\\n'")
        assert state == Exited(exit_code=0)
        assert output == "/dev/pts/0\nterminal\na\rb\n"

    def test_bytes_that_are_no_text_come_through(self, containers):
        """Neither the engine nor we change what is not UTF-8."""
        spec = containers.start(r"printf '\377\376x\0y\n'")
        containers.end(spec)
        assert Path(spec.output).read_bytes() == b"\xff\xfex\0y\n"

    def test_a_long_line_and_a_last_line_without_an_end_come_through(self, containers):
        """Also where the engine cuts lines into parts."""
        state, output = containers.run(
            "yes 0123456789 | head -n 20000 | while read l; do printf %s $l; done; echo; printf end"
        )
        assert state == Exited(exit_code=0)
        assert output == "0123456789" * 20000 + "\nend"

    @pytest.mark.parametrize(
        ("arguments", "code", "line"),
        [
            ("train", 127, 'exec: "train": executable file not found in $PATH'),
            ("/etc", 126, 'exec: "/etc": permission denied'),
        ],
    )
    def test_a_program_that_cannot_be_executed(self, containers, arguments, code, line):
        """It counts as ended, with the shell's exit code, and the log says why; a second start changes nothing."""
        spec = containers.spec(arguments, entrypoint=None)
        for _ in range(2):
            containers.runtime.start(spec)
            assert containers.end(spec) == Exited(exit_code=code)
            assert containers.output(spec) == f"{line}\n"

    def test_death_by_a_signal(self, containers):
        """128 and the signal's number, as the shell says it."""
        state, _ = containers.run("sh -c 'kill -SEGV $$'; exit $?")
        assert state == Exited(exit_code=139)

    def test_want_of_memory_is_told(self, containers):
        """A program that takes more than its limit is killed, and it is said why."""
        state, _ = containers.run("x=a; while :; do x=$x$x; done", limits=Limits(memory_bytes=32 << 20))
        assert state.exit_code == 137
        assert state.out_of_memory

    def test_limits_and_shared_memory(self, containers):
        """What the instance type has is what the container gets; shared memory is not the engine's 64 MB."""
        spec = containers.start("df -k /dev/shm; sleep 60", limits=Limits(cpus=1, memory_bytes=256 << 20, pids=50))
        host = containers.inspect(spec)["HostConfig"]
        assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (10**9, 256 << 20, 50)
        assert host["ShmSize"] == 256 << 20
        usage = containers.runtime.usage(Path(spec.directory))
        assert usage.memory_limit_bytes == 256 << 20

    def test_the_environment_is_the_images_and_ours(self, containers):
        """Our variables win; those of the image stay."""
        _, output = containers.run("echo $PATH $GREETING", environment={"GREETING": "hello there"})
        assert output == "/usr/bin:/bin hello there\n"

    def test_the_user_of_the_image_runs_the_program_and_may_write(self, containers):
        """USER is respected, and /opt/ml is open to it."""
        with client() as engine:
            base = engine.create_container(containers.spec("x").container.image, command=["true"])["Id"]
            image = engine.commit(base, repository="clary-test/user", tag=containers.token, changes=["USER ml"])["Id"]
            engine.remove_container(base)
        try:
            state, output = containers.run("id -u; echo x >/opt/ml/written", image=image)
        finally:
            containers.close()
            with client() as engine:
                engine.remove_image(f"clary-test/user:{containers.token}")
        assert (state, output) == (Exited(exit_code=0), "1234\n")

    def test_an_image_that_is_not_there(self, containers):
        """The image is named, and it is the image's fault; a second call fails alike."""
        spec = containers.spec("true", image="clary-test/nobody-made-this:1")
        for _ in range(2):
            with pytest.raises(ImageUnusable, match="clary-test/nobody-made-this:1"):
                containers.runtime.start(spec)
        assert containers.runtime.state(Path(spec.directory)) == Lost()

    def test_what_the_engine_refuses(self, containers):
        """Its own words are told, nothing is left, and a second call fails alike."""
        spec = containers.spec("true", limits=Limits(memory_bytes=1024))
        for _ in range(2):
            with pytest.raises(CannotStart, match=r"(?i)memory"):
                containers.runtime.start(spec)
        assert containers.mine()[0] == []


@pytest.mark.docker
class TestNetworks:
    def test_hosts_of_a_job_reach_each_other_on_any_port(self, containers):
        """By name, both ways, with the same port on each; another job's host of that name is not reached."""
        other = containers.start(SERVE, job="other", host="algo-2", **in_python())
        containers.printed(other, "listening")
        specs = [containers.start(TALK, host=host, environment={"PEER": peer}, **in_python()) for host, peer in PEERS]
        assert [containers.end(spec) for spec in specs] == [Exited(exit_code=0)] * 2
        assert [containers.output(spec) for spec in specs] == ["algo-2 says hello\n", "algo-1 says hello\n"]
        assert "visitor" not in containers.output(other)

    def test_neither_other_jobs_nor_the_machines_loopback_are_reached(self, containers):
        """Not by address either."""
        other = containers.start(SERVE, job="other", **in_python())
        containers.printed(other, "listening")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            places = {"JOB": f"{address(containers, other)}:7777", "LOOPBACK": f"127.0.0.1:{listener.getsockname()[1]}"}
            state, output = containers.run(KNOCK, environment=places, **in_python())
        assert (state, output) == (Exited(exit_code=0), "JOB closed\nLOOPBACK closed\n")

    def test_an_isolated_host_reaches_its_peers_and_nobody_else(self, containers):
        """No name is resolved, and the machine does not answer on any of its addresses; a host that is not isolated sees it."""
        with socket.create_server(("0.0.0.0", 0)) as listener:
            port = listener.getsockname()[1]
            with client() as engine:
                subnet = engine.inspect_network("bridge")["IPAM"]["Config"][0]["Subnet"]
            bridge = next(ipaddress.ip_network(subnet).hosts())
            places = {"MACHINE": f"{bridge}:{port}", "NAME": f"example.com:{port}"}
            _, open_output = containers.run(
                KNOCK, job="open", environment={"MACHINE": f"{bridge}:{port}"}, **in_python()
            )
            isolated = {"isolated_network": True, **in_python()}
            state, output = containers.run(KNOCK, environment=places, **isolated)
            specs = [
                containers.start(TALK, job="pair", host=host, environment={"PEER": peer}, **isolated)
                for host, peer in PEERS
            ]
            assert [containers.end(spec) for spec in specs] == [Exited(exit_code=0)] * 2
        assert open_output == "MACHINE open\n"
        assert (state, output) == (Exited(exit_code=0), "MACHINE closed\nNAME closed\n")

    def test_two_jobs_with_the_same_host_names(self, containers):
        """Each finds its own peers only."""
        specs = [
            containers.start("sleep 60", job=job, host=host) for job in ("a", "b") for host in ("algo-1", "algo-2")
        ]
        addresses = {spec.directory: address(containers, spec) for spec in specs}
        assert len(set(addresses.values())) == 4
        networks = {containers.inspect(spec)["HostConfig"]["NetworkMode"] for spec in specs}
        assert len(networks) == 2

    def test_hosts_that_start_at_the_same_moment_share_one_network(self, containers):
        """Names of networks are not unique to the engine; to us they are."""
        specs = [containers.spec("sleep 60", host=f"algo-{n}") for n in range(1, 7)]
        threads = [threading.Thread(target=DockerRuntime(URL).start, args=[spec]) for spec in specs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({containers.inspect(spec)["HostConfig"]["NetworkMode"] for spec in specs}) == 1
        assert len(containers.mine()[1]) == 1

    def test_an_isolated_network_has_no_way_out(self, containers):
        """No gateway, no resolver, no raw packets; the peers are there."""
        spec = containers.start("cat /proc/net/route; sleep 60", isolated_network=True)
        found = containers.inspect(spec)
        with client() as engine:
            network = engine.inspect_network(found["HostConfig"]["NetworkMode"])
        assert network["Internal"]
        assert network["Options"]["com.docker.network.bridge.inhibit_ipv4"] == "true"
        assert found["HostConfig"]["CapDrop"] == ["NET_RAW"]
        assert found["HostConfig"]["Dns"] == ["127.0.0.1"]

    def test_release_keeps_the_network_for_those_who_stay(self, containers):
        """It goes with the last host."""
        first, second = (containers.start("sleep 60", host=host) for host in ("algo-1", "algo-2"))
        containers.runtime.release(Path(first.directory))
        assert len(containers.mine()[1]) == 1
        containers.runtime.release(Path(second.directory))
        assert containers.mine() == ([], [])
        containers.runtime.release(Path(second.directory))  # as often as asked


@pytest.mark.docker
def test_orphans_are_removed_and_others_left(containers):
    """A container whose instance's directory is gone goes, with its network; one whose instance is there stays."""
    orphan, kept = containers.start("sleep 60", job="orphan"), containers.start("sleep 60", job="kept")
    name = containers.name(kept)
    Path(orphan.directory).parent.rename(containers.instances.parent / "gone")
    remove_orphans(URL, containers.instances)
    assert containers.mine()[0] == [f"/{name}"]
    assert len(containers.mine()[1]) == 1
    (containers.instances.parent / "another").mkdir()
    remove_orphans(URL, containers.instances.parent / "another")
    assert containers.mine()[0] == [f"/{name}"]


def in_python():
    return {"image": python_image(), "entrypoint": (python_path(), "-uc")}


def address(containers, spec):
    return next(iter(containers.inspect(spec)["NetworkSettings"]["Networks"].values()))["IPAddress"]


def test_an_engine_that_is_not_there_says_so(tmp_path):
    """The text names the socket and the cure; nothing is lost by asking."""
    runtime = DockerRuntime(f"unix://{tmp_path}/none.sock")
    assert "There is no socket" in runtime.problem()
    with pytest.raises(EngineAway, match="container_engine"):
        runtime.provide_image("image", lambda _line: None, lambda: False)


def test_line_ends_however_the_blocks_are_cut():
    """CR LF becomes LF, and any other CR stays."""
    whole = b"one\r\ntwo\r\r\nthree\rfour\r\n\r"
    for cut in range(len(whole) + 1):
        ends = LineEnds()
        assert ends.feed(whole[:cut]) + ends.feed(whole[cut:]) + ends.flush() == b"one\ntwo\r\nthree\rfour\n\r"


def test_subnets_do_not_overlap_what_is_taken():
    """The first free one of the pools, and none when all are taken."""
    taken = list(
        routed(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
            "eth0\t000012C6\t0\t1\t0\t0\t0\t00FFFFFF\n"
            "eth0\t00000000\t0\t1\t0\t0\t0\t00000000\n"
        )
    )
    assert [str(network) for network in taken] == ["198.18.0.0/24"]
    assert str(free_subnet(["198.18.0.0/16"], taken)) == "198.18.1.0/26"
    assert free_subnet(["198.18.0.0/24"], taken) is None


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('OCI runtime create failed: exec: "train": executable file not found in $PATH: unknown', 127),
        ('OCI runtime create failed: exec: "/x/train": stat /x/train: no such file or directory: unknown', 127),
        ('OCI runtime create failed: exec: "/etc": permission denied: unknown', 126),
        ("error mounting /a to rootfs: no such device", None),
    ],
)
def test_what_counts_as_the_programs_own_fault(said, code):
    """Only what the image's program itself causes becomes an exit code."""
    assert exec_failure(said) == code
    assert code is None or exec_line(said).startswith("exec: ")
