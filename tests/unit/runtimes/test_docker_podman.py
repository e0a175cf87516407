"""The runtime for containers against scripted engines: Docker, and Podman, which does not run where this is tested.

What a real Docker does with it: tests/contract/test_runtime.py and the tests marked `docker`.
"""

import gc
import signal
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from clary.runtimes.docker import engine as engines
from clary.runtimes.docker import follower, gpus, orphans
from clary.runtimes.docker.container import DIRECTORY_LABEL, container_document
from clary.runtimes.docker.engine import connect, describe_engine
from clary.runtimes.docker.notes import Files, Marker
from clary.runtimes.docker.runtime import DockerRuntime
from clary.runtimes.port import (
    CannotStart,
    Container,
    EngineAway,
    Exited,
    ImageUnusable,
    Limits,
    Lost,
    Mount,
    ProgramSpec,
    Running,
)
from clary.runtimes.supervision import boot_id
from engine_api import EngineApi
from engine_objects import DOCKER, PODMAN, PODMAN_4, image
from engine_words import Refused

FLAVOURS = {"docker": DOCKER, "podman": PODMAN, "podman-4": PODMAN_4}
PATIENCE_S = 20


@pytest.fixture(params=FLAVOURS)
def engine(request, tmp_path):
    # The client package leaves sockets that failed to the garbage collector, which warns of them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with EngineApi(tmp_path / "engine.sock", FLAVOURS[request.param]) as api:
            api.images["me/tool:1"] = image()
            yield api
            leave_no_follower(api)
        gc.collect()


def leave_no_follower(api):
    """Followers are threads; they end when what they follow is gone."""
    if api.away:
        api.come_back()
    for container in list(api.containers.values()):
        container.end(0)
    api.containers.clear()
    for thread in threading.enumerate():
        if thread.name.startswith("follow ") and thread.is_alive():
            thread.join(PATIENCE_S)


@pytest.fixture
def podman(engine):
    if not engine.flavour.podman:
        pytest.skip("of Podman alone")
    return engine


@pytest.fixture
def make_spec(tmp_path):
    """Makes specifications of programs; each has a directory of its own, below those of the instances."""

    def make(name="job-algo-1", **changes):
        root = tmp_path / "instances" / name
        (root / "opt_ml").mkdir(parents=True, exist_ok=True)
        container = Container(name=name, image="me/tool:1", network="job-1", arguments=("train",))
        spec = ProgramSpec(
            argv=(),
            environment={"A": "1", "NVIDIA_VISIBLE_DEVICES": "void"},
            hostname="algo-1",
            hosts={},
            mounts=(Mount(source=str(root / "opt_ml"), target="/opt/ml", read_only=False),),
            directory=str(root / "program"),
            output=str(root / "output"),
            isolated_network=False,
            container=container,
        )
        return msgspec.structs.replace(spec, **changes)

    return make


def until(condition, what="it does not come to pass"):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)  # neither the port nor the disk has a call that waits
    return found


def until_ended(runtime, spec):
    def ended():
        state = runtime.state(Path(spec.directory))
        return None if isinstance(state, Running) else state

    return until(ended, "the program does not end")


def printed(spec):
    path = Path(spec.output)
    return path.read_bytes() if path.exists() else b""


def made(engine):
    """The document that the container was made with."""
    (request,) = engine.asked("POST", "/containers/create")
    return request.body


def at_once(code, *texts, oom=False):
    """A program that prints and ends as soon as it is started."""

    def run(container):
        for text in texts:
            container.print(text)
        container.end(code, oom=oom)

    return run


# What is sent


def test_what_the_engine_is_asked_to_make(engine, make_spec):
    """The image's own entrypoint, `train`, a terminal, the mounts, no swap, and a log that keeps every byte."""
    engine.on_start = at_once(0)
    limits = Limits(cpus=1.5, memory_bytes=1 << 30, pids=100)
    spec = make_spec(limits=limits)
    runtime = DockerRuntime(engine.url)
    runtime.start(spec)
    document = made(engine)
    assert document["Image"] == "me/tool:1"
    assert "Entrypoint" not in document
    assert (document["Cmd"], document["Tty"], document["Hostname"]) == (["train"], True, "algo-1")
    assert set(document["Env"]) == {"A=1", "NVIDIA_VISIBLE_DEVICES=void"}
    assert document["Labels"][DIRECTORY_LABEL] == spec.directory
    host = document["HostConfig"]
    assert host["Mounts"] == [{"Type": "bind", "Source": spec.mounts[0].source, "Target": "/opt/ml", "ReadOnly": False}]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        1 << 30,
        1 << 30,
        1_500_000_000,
        100,
    )
    assert host["LogConfig"]["Type"] == ("k8s-file" if engine.flavour.podman else "local")
    assert not host.get("Privileged")
    (network,) = engine.networks.values()
    assert list(document["NetworkingConfig"]["EndpointsConfig"].values()) == [{"Aliases": ["algo-1"]}]
    assert host["NetworkMode"] in (network.id, network.name)
    assert not network.document.get("Internal")
    assert until_ended(runtime, spec) == Exited(exit_code=0)


def test_entrypoint_and_arguments_replace_the_images_own(engine, make_spec):
    """An empty list of arguments drops the image's command: `Cmd` is there, and empty."""
    engine.on_start = at_once(0)
    container = Container(name="a", image="me/tool:1", network="n", entrypoint=("python", "x.py"))
    DockerRuntime(engine.url).start(make_spec(container=container))
    assert (made(engine)["Entrypoint"], made(engine)["Cmd"]) == (["python", "x.py"], [])


def test_an_isolated_program_has_no_way_out(engine, make_spec):
    """Its network is internal, no raw packets, no resolver. Podman is asked for no option that it does not know."""
    engine.on_start = at_once(0)
    DockerRuntime(engine.url).start(make_spec(isolated_network=True))
    assert made(engine)["HostConfig"]["CapDrop"] == ["NET_RAW"]
    (asked,) = engine.asked("POST", "/networks/create")
    assert asked.body["Internal"] is True
    assert bool(asked.body.get("Options")) is not engine.flavour.podman


def test_two_jobs_have_two_networks_that_do_not_overlap(engine, make_spec):
    """And the hosts of one job share theirs."""
    runtime = DockerRuntime(engine.url)
    jobs = (("one-algo-1", "one"), ("one-algo-2", "one"), ("two-algo-1", "two"))
    for name, network in jobs:
        runtime.start(make_spec(name, container=Container(name=name, image="me/tool:1", network=network)))
    first, second = (one.subnets()[0] for one in engine.networks.values())
    assert not first.overlaps(second)
    for container in engine.containers.values():
        container.end(0)
    for name, _ in jobs:
        until_ended(runtime, make_spec(name))


def test_a_subnet_that_somebody_took_in_between_is_not_tried_again(engine, make_spec):
    """Docker answers 403 and Podman 500, each in its own words."""
    engine.on_start = at_once(0)
    words = (
        (500, "subnet 198.18.0.0/26 is already used on the host or by another config")
        if engine.flavour.podman
        else (403, "Pool overlaps with other one on this address space")
    )
    engine.fail("POST /networks/create", *words)
    DockerRuntime(engine.url).start(make_spec())
    first, second = (asked.body["IPAM"]["Config"][0]["Subnet"] for asked in engine.asked("POST", "/networks/create"))
    assert first != second
    assert len(engine.networks) == 1


def test_selinux_does_not_keep_the_program_from_its_directories(engine, make_spec):
    engine.info = {"SecurityOptions": ["name=selinux"]}
    engine.on_start = at_once(0)
    DockerRuntime(engine.url).start(make_spec())
    assert made(engine)["HostConfig"]["SecurityOpt"] == ["label=disable"]


@pytest.mark.parametrize("flavour", ["docker", "podman"])
def test_gpus_are_asked_for_in_the_engines_own_way(tmp_path, make_spec, flavour):
    """Docker's NVIDIA runtime takes indices. Podman (5.4 and newer) takes names of CDI, and ignores all other requests."""
    with EngineApi(tmp_path / "e.sock", FLAVOURS[flavour]) as api, connect(api.url) as client:
        spec = make_spec()
        engine = describe_engine(client, api.url)
        document = container_document(spec, spec.container, engine=engine, network="n", gpus=("0", "3"))
    (asked,) = document["HostConfig"]["DeviceRequests"]
    if flavour == "podman":
        assert (asked["Driver"], asked["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=0", "nvidia.com/gpu=3"])
    else:
        assert (asked["DeviceIDs"], asked["Capabilities"]) == (["0", "3"], [["gpu"]])
    assert not any(variable.startswith("NVIDIA_VISIBLE_DEVICES") for variable in document["Env"])


# GPUs. Which engine passes them: Docker with NVIDIA's runtime, Podman from 5.4 on with a CDI specification.

WITH_GPUS = pytest.mark.parametrize("engine", ["docker", "podman"], indirect=True)


@pytest.fixture
def driver(engine, tmp_path, monkeypatch):
    """NVIDIA's driver has three GPUs, and the engine can pass them: a directory with an entry for each."""
    driver = tmp_path / "gpus"
    for number in range(3):
        (driver / f"0000:0{number}:00.0").mkdir(parents=True)
    monkeypatch.setattr(gpus, "_NVIDIA", driver)
    (tmp_path / "nvidia.yaml").touch()
    monkeypatch.setattr(engines, "_CDI", (tmp_path,))
    engine.info = {"Runtimes": {"runc": {"path": "runc"}, "nvidia": {"path": "nvidia-container-runtime"}}}
    return driver


@pytest.fixture
def start(engine, make_spec):
    """Starts a program on a type with so many GPUs, by way of one runtime, as another instance program would; its spec."""

    def start(name, count):
        container = Container(name=name, image="me/tool:1", network=name)
        spec = make_spec(name, container=container, limits=Limits(gpus=count))
        DockerRuntime(engine.url).start(spec)
        return spec

    return start


def got(engine, name):
    """The GPUs that a container was made with, and whether it says that there are none."""
    document = engine.container(name).document
    requests = document["HostConfig"].get("DeviceRequests", [])
    names = [gpu.removeprefix("nvidia.com/gpu=") for one in requests for gpu in one["DeviceIDs"]]
    assert document["Labels"]["clary.gpus"] == ",".join(names)
    return names, "NVIDIA_VISIBLE_DEVICES=void" in document["Env"]


@WITH_GPUS
def test_jobs_have_gpus_of_their_own_while_there_are_enough(engine, driver, start):
    """A third shares the one that the fewest use; nobody waits. Whose job has ended leaves them to the next."""
    first = start("first", 1)
    start("second", 2)
    assert (got(engine, "first"), got(engine, "second")) == ((["0"], False), (["1", "2"], False))
    start("third", 1)
    assert got(engine, "third") == (["0"], False)
    engine.container("first").end(0)
    engine.container("third").end(0)
    until_ended(DockerRuntime(engine.url), first)
    start("fourth", 1)
    assert got(engine, "fourth") == (["0"], False)


@WITH_GPUS
def test_the_gpus_of_a_container_that_has_not_started_yet_are_taken(engine, driver, start):
    """Between the making of a container and its start another instance program chooses; the start changes nothing."""
    engine.drop("POST /containers/.*/start")
    with pytest.raises(EngineAway):
        start("first", 2)
    start("second", 1)
    start("first", 2)
    assert (got(engine, "first"), got(engine, "second")) == ((["0", "1"], False), (["2"], False))


@WITH_GPUS
def test_a_type_with_more_gpus_than_the_machine_gets_all(engine, driver, start):
    start("eight", 8)
    assert got(engine, "eight") == (["0", "1", "2"], False)


@WITH_GPUS
def test_a_type_without_gpus_sees_none(engine, driver, start):
    """Whatever engine and machine have."""
    start("cpu", 0)
    assert got(engine, "cpu") == ([], True)


@WITH_GPUS
def test_a_machine_without_nvidias_driver_passes_none(engine, driver, start):
    """The engine's part alone is there."""
    for entry in driver.iterdir():
        entry.rmdir()
    start("empty", 1)
    driver.rmdir()
    start("none", 1)
    assert got(engine, "empty") == got(engine, "none") == ([], True)


def test_an_engine_that_passes_no_gpus_is_not_asked_to(engine, driver, start, tmp_path):
    """Docker without NVIDIA's runtime, Podman without a specification or too old: a request would fail the job."""
    engine.info = {}
    (tmp_path / "nvidia.yaml").unlink()
    start("first", 1)
    assert got(engine, "first") == ([], True)


@pytest.mark.parametrize("engine", ["podman-4"], indirect=True)
def test_a_podman_before_5_4_is_not_asked_for_gpus(engine, driver, start):
    """It would ignore the request in silence."""
    start("first", 1)
    assert got(engine, "first") == ([], True)


@pytest.mark.parametrize(
    ("available", "taken", "count", "chosen"),
    [
        ("0123", "", 2, "01"),
        ("0123", "01", 2, "23"),
        ("0123", "0012", 2, "13"),
        ("01", "01", 1, "0"),
        ("01", "001", 1, "1"),
        ("01", "9", 1, "0"),
        ("01", "", 4, "01"),
        ("", "", 1, ""),
    ],
)
def test_the_gpus_that_the_fewest_use_are_chosen(available, taken, count, chosen):
    """In the machine's order."""
    assert gpus.choose_gpus(available, taken, count) == tuple(chosen)


def test_gpus_are_numbered_beyond_nine():
    """The eleventh comes after the tenth, and not after the second."""
    available = [str(number) for number in range(12)]
    assert gpus.choose_gpus(available, available[:10], 2) == ("10", "11")
    assert gpus.choose_gpus(available, [], 3) == ("0", "1", "2")


# How it ends


@pytest.mark.parametrize("code", [0, 7, 137])
def test_the_exit_code_and_the_output(engine, make_spec, code):
    """Lines end as the program wrote them, not as the terminal made them."""
    engine.on_start = at_once(code, b"one\r\ntwo\r", b"\nthree")
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    assert until_ended(runtime, spec) == Exited(exit_code=code)
    assert printed(spec) == b"one\ntwo\nthree"


def test_want_of_memory_is_told_from_another_137(engine, make_spec):
    engine.on_start = at_once(137, oom=True)
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    assert until_ended(runtime, spec) == Exited(exit_code=137, out_of_memory=True)


def test_a_program_that_runs_for_a_while(engine, make_spec):
    """Its output comes while it runs; SIGTERM reaches it; a second start does nothing."""
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    container = engine.container()
    container.deaf = True
    container.print(b"working\r\n")
    until(lambda: printed(spec) == b"working\n", "the output does not come")
    runtime.start(spec)
    assert len(engine.asked("POST", "/containers/.*/start")) == 1
    runtime.signal(Path(spec.directory), signal.SIGTERM)
    assert container.signals == [15]
    assert runtime.state(Path(spec.directory)) == Running()
    usage = runtime.usage(Path(spec.directory))
    assert usage is not None
    assert (usage.cpu_s, usage.memory_limit_bytes) == (2.5, 8 << 30)
    runtime.kill(Path(spec.directory))
    assert until_ended(runtime, spec) == Exited(exit_code=137)
    runtime.signal(Path(spec.directory), signal.SIGTERM)  # 409: it has ended, and that is no error
    assert runtime.usage(Path(spec.directory)) is None


@pytest.mark.parametrize(("trouble", "code"), [("missing", 127), ("forbidden", 126)])
def test_a_program_that_cannot_be_executed_is_the_users_error(engine, make_spec, trouble, code):
    """The line goes to the log, whatever the engine and its runtime call it (runc, crun)."""
    engine.cannot_exec = {"train": trouble}
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    assert until_ended(runtime, spec) == Exited(exit_code=code)
    assert printed(spec).endswith(b"\n")
    if trouble == "missing":
        assert printed(spec) == b'exec: "train": executable file not found in $PATH\n'


def test_an_image_that_is_gone_is_told(engine, make_spec):
    engine.images.clear()
    with pytest.raises(ImageUnusable, match="me/tool:1"):
        DockerRuntime(engine.url).start(make_spec())


def test_what_else_the_engine_refuses_to_make_is_the_machines_trouble(engine, make_spec):
    engine.fail("POST /containers/create", 500, "no space left on device")
    with pytest.raises(CannotStart, match="no space left on device"):
        DockerRuntime(engine.url).start(make_spec())


# Engines that come and go


def test_without_an_engine_nothing_starts_and_later_it_does(engine, make_spec):
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    engine.go_away()
    assert "Cure:" in (runtime.problem() or "")
    with pytest.raises(EngineAway):
        runtime.start(spec)
    engine.come_back()
    engine.on_start = at_once(0, b"once\r\n")
    runtime.start(spec)
    assert until_ended(runtime, spec) == Exited(exit_code=0)
    assert printed(spec) == b"once\n"


@pytest.mark.parametrize("route", ["POST /containers/create", "POST /containers/.*/start", "POST /networks/create"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_an_answer_that_is_lost_does_not_start_the_program_twice(engine, make_spec, route, done):
    """Whether the engine had done it or not: the second call finds out."""
    engine.on_start = at_once(3, b"once\r\n")
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    engine.drop(route, done=done)
    with pytest.raises(EngineAway):
        runtime.start(spec)
    runtime.start(spec)
    assert until_ended(runtime, spec) == Exited(exit_code=3)
    assert printed(spec) == b"once\n"
    assert (len(engine.containers), len(engine.networks)) == (1, 1)


def test_an_engine_that_restarts_under_a_program_loses_no_output(engine, make_spec):
    """The program runs all the while, as it does under Podman, and under Docker with live-restore."""
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    container = engine.container()
    container.print(b"before\r\n")
    until(lambda: printed(spec) == b"before\n", "the output does not come")
    engine.go_away()
    container.print(b"meanwhile\r\n")
    assert runtime.state(Path(spec.directory)) == Running()
    with pytest.raises(EngineAway):
        runtime.signal(Path(spec.directory), signal.SIGTERM)
    engine.come_back()
    container.print(b"after\r\n")
    container.end(5)
    assert until_ended(runtime, spec) == Exited(exit_code=5)
    assert printed(spec) == b"before\nmeanwhile\nafter\n"


def test_a_program_that_ended_while_the_engine_was_away(engine, make_spec):
    """Its output and its exit code are there when the engine is back."""
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    container = engine.container()
    engine.go_away()
    container.print(b"alone\r\n")
    container.end(4)
    assert runtime.state(Path(spec.directory)) == Running()
    engine.come_back()
    assert until_ended(runtime, spec) == Exited(exit_code=4)
    assert printed(spec) == b"alone\n"


def adopted(engine, spec, *, boot=None, already=b""):
    """A container that an earlier instance program started: what it noted, and nobody who follows it."""
    name = f"clary-00000000-{spec.container.name}"
    with connect(engine.url) as client:
        client.create_container_from_config({"Image": "me/tool:1", "Cmd": ["train"], "Tty": True}, name)
        client.start(name)
    directory = Path(spec.directory)
    directory.mkdir(parents=True)
    Path(spec.output).write_bytes(already)
    marker = Marker(
        url=engine.url,
        name=name,
        network="none",
        image="me/tool:1",
        boot_id=boot or boot_id(),
        output=spec.output,
        output_base=0,
        mounts=spec.mounts,
        made=True,
    )
    Files(directory).write_marker(marker)
    return engine.container()


def test_a_program_of_an_earlier_instance_program_is_followed_again(engine, make_spec):
    """What the file has already is not repeated."""
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    container = adopted(engine, spec, already=b"one\ntw")
    container.print(b"one\r\ntwo\r\n")
    assert runtime.state(Path(spec.directory)) == Running()
    until(lambda: printed(spec) == b"one\ntwo\n", "the output does not come")
    container.end(6)
    assert until_ended(runtime, spec) == Exited(exit_code=6)
    assert printed(spec) == b"one\ntwo\n"


def test_one_that_ended_meanwhile_is_found_as_it_ended(engine, make_spec):
    """In Podman's state `stopped` too, and without attaching to it, which would cost its exit code."""
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    container = adopted(engine, spec)
    container.print(b"one\r\n")
    container.end(6)
    if engine.flavour.podman:
        container.clean_up_late()
    assert until_ended(runtime, spec) == Exited(exit_code=6)
    assert printed(spec) == b"one\n"
    assert engine.asked("POST", "/containers/.*/attach") == []


def test_a_container_that_somebody_removed_is_lost(engine, make_spec):
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    adopted(engine, spec)
    engine.containers.clear()
    assert until_ended(runtime, spec) == Lost()


def test_a_program_that_went_down_with_the_machine_is_lost(engine, make_spec, monkeypatch):
    """Docker makes up an exit code and a time; Podman says exited with 0, and no time at all."""
    monkeypatch.setattr(follower, "_booted_at", lambda: time.time() - 60)
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    adopted(engine, spec, boot="of another boot")
    engine.reboot()
    assert until_ended(runtime, spec) == Lost()


def test_a_program_whose_end_podman_did_not_see_is_lost(podman, make_spec):
    """Its supervisor, conmon, was killed: the exit code is -1."""
    spec, runtime = make_spec(), DockerRuntime(podman.url)
    adopted(podman, spec).end(-1)
    assert until_ended(runtime, spec) == Lost()


# What is left


def test_releasing_leaves_nothing(engine, make_spec):
    """The program is ended, its container and its network are gone; a second time is no error."""
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    runtime.release(Path(spec.directory))
    assert (engine.containers, engine.networks) == ({}, {})
    until_ended(runtime, spec)
    runtime.release(Path(spec.directory))


def test_the_network_stays_while_others_are_on_it(engine, make_spec):
    """Even one that cannot be seen by its labels: Docker answers 403, Podman 500."""
    engine.on_start = at_once(0)
    spec, runtime = make_spec(), DockerRuntime(engine.url)
    runtime.start(spec)
    until_ended(runtime, spec)
    (network,) = engine.networks.values()
    with connect(engine.url) as client:
        client.create_container_from_config(
            {"Image": "me/tool:1", "HostConfig": {"NetworkMode": network.id}}, "foreign"
        )
        engine.on_start = lambda _: None
        client.start("foreign")
    runtime.release(Path(spec.directory))
    assert list(engine.networks.values()) == [network]
    engine.container("foreign").end(0)


def test_what_no_instance_owns_is_removed_with_a_line_in_the_log(engine, make_spec, tmp_path, monkeypatch):
    """A container whose instance's directory is gone, its network, and a network that a cut release has left."""
    lines = []
    log = SimpleNamespace(warning=lambda action, **facts: lines.append((action, *facts.values())))
    monkeypatch.setattr(orphans, "_log", log)
    engine.on_start = at_once(0)
    runtime = DockerRuntime(engine.url)
    for job in ("deleted", "cut", "kept"):
        spec = make_spec(job, container=Container(name=job, image="me/tool:1", network=job))
        runtime.start(spec)
        until_ended(runtime, spec)
    network = {
        job: next(one.name for one in engine.networks.values() if one.name.endswith(job))
        for job in ("deleted", "cut", "kept")
    }
    instances, deleted = tmp_path / "instances", engine.container("deleted").name
    (instances / "deleted").rename(tmp_path / "deleted")
    with connect(engine.url) as client:
        client.remove_container(engine.container("cut").name)

    orphans.remove_orphans(engine.url, instances)
    assert [one.name for one in engine.networks.values()] == [network["kept"]]
    assert len(engine.containers) == 1
    assert lines[0] == ("orphaned container removed", deleted)
    assert sorted(lines[1:]) == [("orphaned network removed", network[job]) for job in ("cut", "deleted")]
    orphans.remove_orphans(engine.url, instances)
    assert len(lines) == 3


# Images


def test_an_image_is_pulled_and_named(engine):
    """By the digest that its registry knows it by. Podman knows no "Pull complete"."""
    known = f"reg.example/me/tool@sha256:{'a' * 64}"
    engine.pulls["reg.example/me/tool:2"] = [
        {"status": "Pulling fs layer", "id": "aaaaaaaaaaaa"},
        {"status": "Download complete", "id": "aaaaaaaaaaaa"},
    ]
    engine.pulled["reg.example/me/tool:2"] = image() | {"RepoDigests": [known]}
    said = []
    assert DockerRuntime(engine.url).provide_image("reg.example/me/tool:2", said.append, bool) == known
    assert said


def test_an_image_that_nobody_has_is_told(engine):
    engine.pulls["reg.example/me/none:1"] = Refused(404, "manifest unknown")
    with pytest.raises(ImageUnusable, match="me/none"):
        DockerRuntime(engine.url).provide_image("reg.example/me/none:1", lambda _: None, bool)
