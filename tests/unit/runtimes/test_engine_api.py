"""The fake container engine that the runtime's tests rely on: it answers as a real Docker does, call by call."""

import contextlib
import gc
import os
import socket
import time
import uuid
import warnings

import docker
import docker.errors
import pytest
import requests

from clary.runtimes.docker.engine import connect, describe_engine, engine_problem, find_engine
from clary.runtimes.port import EngineAway
from container_images import shell_image
from engine_api import EngineApi
from engine_objects import DOCKER, PODMAN, PODMAN_4, image
from engine_words import Refused

NAME = f"engine-api-{uuid.uuid4().hex[:8]}"
NO_LOG = {"Type": "json-file", "Config": {}}


@contextlib.contextmanager
def broken_lines():
    """The client package leaves sockets that failed to the garbage collector, which warns of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def engine(request, tmp_path):
    """A client of the fake, or of this machine's Docker; and the name of an image with a shell."""
    if request.param == "real":
        with connect(find_engine("auto", os.environ) or "") as client:
            yield client, shell_image()
            for name in (NAME, f"{NAME}-2"):
                with contextlib.suppress(docker.errors.APIError):
                    client.remove_container(name, force=True)
                for network in client.networks(names=[name]):
                    client.remove_network(network["Id"])
        return
    with EngineApi(tmp_path / "e.sock", DOCKER) as api:
        api.images["shell:1"] = image()
        api.cannot_exec = {"/no/program": "missing"}
        api.on_start = behave
        with connect(api.url) as client:
            yield client, "shell:1"


def behave(container):
    """What the shell scripts below do."""
    script = container.document["Cmd"][-1]
    if script.startswith("echo"):
        container.print(b"out\r\n" if container.tty else b"out\n")
        container.end(3)


def create(client, used, script, name=NAME, **changes):
    document = {
        "Image": used,
        "Entrypoint": ["sh", "-c"],
        "Cmd": [script],
        "Tty": True,
        "Labels": {"test": name},
        "HostConfig": {"NetworkMode": "none", "LogConfig": NO_LOG},
    }
    return client.create_container_from_config(document | changes, name)["Id"]


def status(call, *arguments, **options):
    """The status of the error that the call ends with."""
    with pytest.raises(docker.errors.APIError) as refused:
        call(*arguments, **options)
    return refused.value.response.status_code


def test_the_life_of_a_container(engine):
    """Every state, and what is refused in it."""
    client, used = engine
    made = create(client, used, "echo out; exit 3")
    assert status(create, client, used, "true") == 409
    created = client.inspect_container(NAME)
    assert (created["Id"], created["Name"]) == (made, f"/{NAME}")
    assert (created["State"]["Status"], created["State"]["FinishedAt"]) == ("created", "0001-01-01T00:00:00Z")
    assert status(client.kill, NAME) == 409
    client.start(NAME)
    assert client.wait(NAME)["StatusCode"] == 3
    ended = client.inspect_container(made)["State"]
    assert (ended["Status"], ended["Running"], ended["ExitCode"], ended["OOMKilled"]) == ("exited", False, 3, False)
    assert min(ended["FinishedAt"], ended["StartedAt"]) > "2024"  # in either order: Docker notes the start afterwards
    assert client.logs(NAME) == b"out\r\n"
    assert status(client.kill, NAME) == 409
    assert client.stats(NAME, stream=False, one_shot=True)["memory_stats"] == {}
    (listed,) = client.containers(all=True, filters={"label": f"test={NAME}"})
    assert (listed["Id"], listed["State"], listed["Names"]) == (made, "exited", [f"/{NAME}"])
    assert client.containers(filters={"label": f"test={NAME}"}) == []
    client.remove_container(NAME, v=True)
    assert status(client.inspect_container, NAME) == 404
    assert status(client.remove_container, NAME, force=True) == 404
    assert status(client.kill, NAME) == 404
    assert status(client.start, NAME) == 404


def test_a_container_that_runs(engine):
    """It can be started twice, is not removed without force, and ends by a signal."""
    client, used = engine
    create(client, used, "sleep 600")
    client.start(NAME)
    client.start(NAME)  # 304
    assert client.inspect_container(NAME)["State"]["Running"]
    assert client.stats(NAME, stream=False, one_shot=True)["memory_stats"]["usage"] > 0
    assert status(client.remove_container, NAME) == 409
    client.kill(NAME, 9)
    assert client.wait(NAME)["StatusCode"] == 137
    client.remove_container(NAME, force=True)


def test_output_without_a_terminal_comes_in_frames(engine):
    """Of which the client takes the streams."""
    client, used = engine
    create(client, used, "echo out; exit 3", Tty=False)
    client.start(NAME)
    client.wait(NAME)
    assert client.logs(NAME, stdout=True, stderr=False) == b"out\n"
    assert client.logs(NAME, stdout=False, stderr=True) == b""
    client.remove_container(NAME)


def test_a_program_that_is_not_there(engine):
    """400 (Docker 20.10), and the container stays made with the code 127."""
    client, used = engine
    create(client, used, "x", Entrypoint=["/no/program"])
    with pytest.raises(docker.errors.APIError) as refused:
        client.start(NAME)
    assert refused.value.response.status_code == 400
    assert "/no/program" in refused.value.explanation
    state = client.inspect_container(NAME)["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    client.remove_container(NAME)


def test_what_cannot_be_made(engine, tmp_path):
    """No image, no directory to mount, no such way to log."""
    client, used = engine
    assert status(create, client, "nobody/nothing:1", "true") == 404
    mount = {"Type": "bind", "Source": str(tmp_path / "none"), "Target": "/x"}
    assert status(create, client, used, "true", HostConfig={"Mounts": [mount]}) == 400
    assert status(create, client, used, "true", HostConfig={"LogConfig": {"Type": "k8s-file"}}) in {400, 500}
    assert status(client.inspect_image, "nobody/nothing:1") == 404


def test_networks(engine):
    """Names are unique if asked for, subnets always; a network goes when nobody runs on it."""
    client, used = engine
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="198.19.255.192/28")])
    made = client.create_network(NAME, check_duplicate=True, internal=True, ipam=pool)["Id"]
    assert status(client.create_network, NAME, check_duplicate=True) == 409
    assert status(client.create_network, f"{NAME}-2", ipam=pool) == 403
    shown = client.inspect_network(made)
    assert (shown["Name"], shown["Internal"], shown["Driver"]) == (NAME, True, "bridge")
    assert [one["Subnet"] for one in shown["IPAM"]["Config"]] == ["198.19.255.192/28"]
    assert [one["Id"] for one in client.networks(names=[NAME])] == [made]
    create(client, used, "sleep 600", HostConfig={"NetworkMode": made, "LogConfig": NO_LOG})
    client.start(NAME)
    assert status(client.remove_network, made) == 403
    client.remove_container(NAME, force=True)
    client.remove_network(made)
    assert status(client.remove_network, made) == 404


def test_the_engine_itself(engine):
    """What `describe_engine` reads is there, under the names by which it reads it."""
    client, _ = engine
    described = describe_engine(client, "unix:///x")
    assert (described.name, described.rootless) == ("Docker", False)
    assert described.cpus >= 1
    assert described.memory_bytes > 0
    info = client.info()
    assert {"SystemTime", "MemoryLimit", "CgroupVersion", "SecurityOptions", "DockerRootDir"} <= set(info)
    assert client.ping()


# From here on only the fake: what no Docker on this machine can be made to do, and Podman's ways.


@pytest.fixture(params=[PODMAN, PODMAN_4], ids=["podman", "podman-4"])
def podman(request, tmp_path):
    with EngineApi(tmp_path / "p.sock", request.param) as api:
        api.images["shell:1"] = image()
        with connect(api.url) as client:
            yield api, client


def test_podman_is_known_as_such(podman):
    api, client = podman
    described = describe_engine(client, api.url)
    assert (described.is_podman, described.rootless) == (True, api.flavour.rootless)


def test_podman_takes_no_driver_of_docker_alone(podman):
    _, client = podman
    refused = status(create, client, "shell:1", "x", HostConfig={"LogConfig": {"Type": "local"}})
    assert refused == 500


def test_attaching_to_an_ended_container_of_podman_loses_its_exit_code(podman):
    """Issue 29664: why nothing here attaches."""
    api, client = podman
    create(client, "shell:1", "x")
    client.start(NAME)
    api.container(NAME).end(4)
    assert client.inspect_container(NAME)["State"]["ExitCode"] == 4
    with connect(api.url) as other:
        other.post(f"{other.base_url}/v1.41/containers/{NAME}/attach", params={"logs": 1, "stdout": 1})
    assert client.inspect_container(NAME)["State"]["ExitCode"] == 0


def test_states_of_podmans_own_show_before_5_6(podman):
    api, client = podman
    create(client, "shell:1", "x")
    client.start(NAME)
    api.container(NAME).end(0)
    api.container(NAME).clean_up_late()
    shown = client.inspect_container(NAME)["State"]
    assert (shown["Status"], shown["Running"]) == ("stopped" if api.flavour.own_states else "exited", False)


def test_a_reboot_under_podman_leaves_no_time_of_the_end(podman):
    """And an exit code of 0, for a program that nobody saw end."""
    api, client = podman
    create(client, "shell:1", "x")
    client.start(NAME)
    api.reboot()
    shown = client.inspect_container(NAME)["State"]
    assert (shown["Status"], shown["ExitCode"], shown["FinishedAt"]) == ("exited", 0, "0001-01-01T00:00:00Z")


@pytest.fixture
def api(tmp_path):
    with EngineApi(tmp_path / "e.sock") as api:
        api.images["shell:1"] = image()
        yield api


def test_troubles_come_as_often_as_asked(api):
    with connect(api.url) as client:
        api.fail("GET /version", 500, "out of sorts", times=2)
        assert status(client.version) == 500
        assert status(client.version) == 500
        assert client.version()["Version"]
        api.delay("GET /version", 0.2)
        began = time.monotonic()
        client.version()
        assert time.monotonic() - began >= 0.2
        api.drop("GET /version")
        with broken_lines(), pytest.raises(requests.ConnectionError):
            client.version()


def test_an_engine_that_goes_away_cuts_every_line(api):
    """A follower of output sees the end of the line; afterwards nobody answers, until it is back."""
    with broken_lines():
        with connect(api.url) as client:
            create(client, "shell:1", "x")
            client.start(NAME)
            api.container(NAME).print(b"first\r\n")
            blocks = client.logs(NAME, stream=True, follow=True)
            assert b"".join(next(blocks) for _ in range(7)) == b"first\r\n"
            api.go_away()
            with contextlib.suppress(requests.RequestException):
                assert list(blocks) == []
        assert "There is no socket" in engine_problem(api.url)
        with pytest.raises(EngineAway), connect(api.url):
            pass
        api.come_back()
        with connect(api.url) as client:
            assert client.inspect_container(NAME)["State"]["Running"]


def test_a_pull_tells_its_messages_and_leaves_the_image(api):
    api.pulls["a/b:1"] = [{"status": "Pulling from a/b", "id": "1"}, {"status": "Status: Downloaded newer image"}]
    api.pulls["a/b:2"] = Refused(500, "toomanyrequests")
    with connect(api.url) as client:
        assert [one["status"] for one in client.pull("a/b", "1", stream=True, decode=True)] == [
            "Pulling from a/b",
            "Status: Downloaded newer image",
        ]
        assert client.inspect_image("a/b:1")["Os"] == "linux"
        assert status(client.pull, "a/b", "2") == 500
        assert status(client.pull, "a/b", "3") == 404


@pytest.mark.parametrize(("tty", "upgrade"), [(True, True), (False, True), (True, False)])
def test_attaching_hijacks_the_line(api, tty, upgrade):
    """The answer's head, and then bytes: raw of a terminal, in frames otherwise."""
    with connect(api.url) as client:
        create(client, "shell:1", "x", Tty=tty)
        client.start(NAME)
    container = api.container(NAME)
    container.print(b"abc")
    headers = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(api.path))
        line.sendall(
            f"POST /v1.41/containers/{NAME}/attach?logs=1&stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n{headers}\r\n".encode()
        )
        said = b""
        while b"abc" not in said:
            said += line.recv(4096)
        container.print(b"de")
        container.end(0)
        while block := line.recv(4096):
            said += block
    head, _, rest = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK")
    assert b"application/vnd.docker.raw-stream" in head
    assert rest == (b"abcde" if tty else b"\1\0\0\0\0\0\0\3abc\1\0\0\0\0\0\0\2de")
