"""How `clary doctor` asks the machine, and that it changes nothing while it does."""

import errno
import gc
import io
import json
import os
import socket
import sys
import warnings
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from clary.base.files import exclusive_lock
from clary.base.home import Home, ServerInfo
from clary.cli import doctor
from clary.doctor import containers, examination
from clary.doctor.finding import Level, missing, ok, warning
from clary.doctor.machine import gather_limits, gather_memory, newest_file
from clary.doctor.place import existing, gather_file_system, gather_home, gather_space
from clary.doctor.ports import gather_listening
from clary.runtimes.docker.engine import Engine


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def snapshot(root):
    return {path: path.lstat().st_mtime_ns for path in (root, *root.rglob("*"))}


def test_looking_changes_nothing_in_the_home(tmp_path):
    """No file is left or changed, nor is the time of a directory."""
    home = Home(tmp_path / "home")
    home.prepare()
    home.credentials()
    home.token_key()
    before = snapshot(home.root)
    examination.examine({"home": str(home.root)}, {})
    assert snapshot(home.root) == before


def test_a_home_that_is_not_there_is_not_made(tmp_path):
    findings = {one.name: one for one in examination.examine({"home": str(tmp_path / "a" / "b")}, {})}
    assert list(tmp_path.iterdir()) == []
    assert "will be made" in findings["home"].found
    assert findings["disk"].level is not Level.MISSING or "GiB" in findings["disk"].found


def test_wrong_settings_do_not_keep_the_rest_from_being_examined(tmp_path):
    """And the home is still the one that was asked about."""
    (tmp_path / "config.toml").write_text("listen = 7\n")
    findings = {one.name: one for one in examination.examine({"home": str(tmp_path)}, {})}
    assert findings["settings"].level is Level.MISSING
    assert "listen" in findings["settings"].found
    assert str(tmp_path) in findings["home"].found
    assert "7243" in findings["listen"].found


def test_a_broken_image_catalogue_is_told(tmp_path):
    images = tmp_path / "images.toml"
    images.write_text("[[image]]\nimage = '('\n")
    findings = {one.name: one for one in examination.examine({"home": str(tmp_path)}, {"CLARY_IMAGES": str(images)})}
    assert findings["catalogue"].level is Level.MISSING


@pytest.mark.parametrize(
    ("setting", "problem", "level", "words"),
    [
        ("auto", None, Level.OK, "a disk of the job's own"),
        ("auto", "mkfs.ext4 is missing. Cure: apt-get install e2fsprogs", Level.WARNING, "limits nothing: mkfs.ext4"),
        ("required", "mkfs.ext4 is missing. Cure: apt-get install e2fsprogs", Level.MISSING, "mkfs.ext4 is missing"),
        ("off", "mkfs.ext4 is missing. Cure: apt-get install e2fsprogs", Level.OK, "off"),
    ],
)
def test_volumes_as_the_setting_wants_them(tmp_path, monkeypatch, setting, problem, level, words):
    """What is not there keeps jobs from running only where it is required."""
    monkeypatch.setattr(examination.volumes, "unavailable", lambda: problem)
    found = examination.examine({"home": str(tmp_path)}, {"CLARY_VOLUMES": setting})
    finding = {one.name: one for one in found}["volumes"]
    assert finding.level is level
    assert words in finding.found
    assert (finding.cure == "apt-get install e2fsprogs") is (level is not Level.OK)


@pytest.mark.parametrize(
    ("setting", "problem", "level", "words"),
    [
        ("refuse", None, Level.OK, "are mounted"),
        (
            "refuse",
            "libfuse3 is missing. Cure: apt-get install fuse3",
            Level.WARNING,
            "are refused: libfuse3 is missing",
        ),
        (
            "download",
            "libfuse3 is missing. Cure: apt-get install fuse3",
            Level.WARNING,
            "are downloaded before the start: l",
        ),
    ],
)
def test_fast_file_as_the_setting_wants_it(tmp_path, monkeypatch, setting, problem, level, words):
    """Other jobs run without it."""
    monkeypatch.setattr(examination.fuse, "unavailable", lambda: problem)
    found = examination.examine({"home": str(tmp_path)}, {"CLARY_FAST_FILE": setting})
    finding = {one.name: one for one in found}["fast file"]
    assert finding.level is level
    assert words in finding.found
    assert (finding.cure == "apt-get install fuse3") is (level is not Level.OK)


@pytest.mark.parametrize(
    ("mode", "limit", "level", "words"),
    [
        (None, "0", Level.OK, "off"),
        (None, str(1 << 30), Level.OK, "up to 1.0 GiB in "),
        (0o700, str(1 << 30), Level.OK, "up to 1.0 GiB in "),
        (0o777, str(1 << 30), Level.WARNING, "will not be used: other users may write to it"),
        (0o700, str(1 << 52), Level.WARNING, "on a disk of"),
    ],
)
def test_the_input_cache(tmp_path, mode, limit, level, words):
    """A directory that is not safe to use is not used, and the operator hears of it."""
    directory = tmp_path / "cache"
    if mode is not None:
        directory.mkdir()
        directory.chmod(mode)
    environment = {"CLARY_INPUT_CACHE_BYTES": limit, "CLARY_INPUT_CACHE": str(directory)}
    finding = {one.name: one for one in examination.examine({"home": str(tmp_path)}, environment)}["input cache"]
    assert finding.level is level
    assert words in finding.found


def test_an_engine_that_is_switched_off_is_not_looked_for(tmp_path):
    found = {one.name: one for one in examination.examine({"home": str(tmp_path)}, {"CLARY_CONTAINER_ENGINE": "none"})}
    assert "switched off" in found["engine"].found


def test_a_profile_for_ecr_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text("[profile pull]\nregion = eu-west-1\n")
    for profile, level in (("pull", Level.OK), ("push", Level.MISSING)):
        environment = {"CLARY_ECR_PROFILE": profile, "DOCKER_CONFIG": str(tmp_path)}
        (tmp_path / "config.json").write_text("{}")
        found = {one.name: one for one in examination.examine({"home": str(tmp_path)}, environment)}
        assert found["credentials"].level is level


def test_whatever_breaks_while_looking_becomes_the_finding(tmp_path, monkeypatch):
    """The other findings are told all the same."""

    def break_down(*_):
        raise RuntimeError("no /proc here")

    monkeypatch.setattr(examination.machine, "gather_memory", break_down)
    findings = {one.name: one for one in examination.examine({"home": str(tmp_path)}, {})}
    assert findings["memory"].level is Level.WARNING
    assert "no /proc here" in findings["memory"].found
    assert "limits" in findings


def test_a_port_that_somebody_else_has_and_one_that_is_ours(tmp_path):
    """Ours is the one in server.json while the server's lock is held."""
    home = Home(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        home.note_server(
            ServerInfo(url=url, s3_endpoint_url="http://127.0.0.1:1", region="us-east-1", account_id="0" * 12)
        )
        facts = gather_listening("listen", "127.0.0.1", port, home)
        assert (facts.error, facts.ours) == (errno.EADDRINUSE, False)  # the server that noted it is gone
        with exclusive_lock(home.lock):
            assert gather_listening("listen", "127.0.0.1", port, home).ours
    assert gather_listening("listen", "127.0.0.1", free_port(), home).error is None
    assert gather_listening("listen", "203.0.113.1", 7243, home).error == errno.EADDRNOTAVAIL


def test_a_damaged_server_json_is_nobodys_server(tmp_path):
    home = Home(tmp_path)
    (tmp_path / "server.json").write_text("{")
    with exclusive_lock(home.lock):
        assert not gather_listening("listen", "127.0.0.1", 7243, home).ours


def test_the_home_is_seen_as_it_is(tmp_path):
    root = tmp_path / "home"
    assert gather_home(root).place == tmp_path
    root.mkdir(mode=0o750)
    (root / "credentials.json").touch(mode=0o644)
    (root / "credentials.json").chmod(0o644)
    facts = gather_home(root)
    assert (facts.directory, facts.writable, facts.loose) == (True, True, ("credentials.json",))
    assert facts.owner == facts.user
    (tmp_path / "file").touch()
    assert not gather_home(tmp_path / "file").directory


def test_the_nearest_directory_that_is_there(tmp_path):
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(tmp_path) == tmp_path


def test_space_and_limits_and_memory_of_this_machine(tmp_path):
    """Plausible figures, and no error."""
    space = gather_space(tmp_path / "home")
    assert 0 < space.free_bytes <= space.total_bytes
    memory = gather_memory()
    assert 0 < memory.available <= memory.total
    limits = gather_limits()
    assert limits.files is None or limits.files > 0


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        ("0::/user/job\n", {"user/job/memory.max": "max\n", "user/memory.max": "3000\n"}, 3000),
        ("0::/\n", {"memory.max": "2000\n"}, 2000),
        ("5:memory:/docker/x\n4:cpu:/\n", {"memory/docker/x/memory.limit_in_bytes": "1000\n"}, 1000),
        ("0::/gone\n", {}, None),
    ],
)
def test_the_limit_of_memory_is_that_of_the_control_group_and_those_around_it(tmp_path, lines, files, limit):
    """Both versions of control groups."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(lines)
    (proc / "meminfo").write_text("MemTotal: 8 kB\nMemAvailable: 4 kB\nHugePages_Total: 0\n")
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    memory = gather_memory(proc, cgroups)
    assert (memory.total, memory.available, memory.limit) == (8192, 4096, limit)


def test_the_file_system_is_that_of_the_last_mount_above_the_path(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 0:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        f"2 1 0:2 / {tmp_path} rw - nfs4 server:/x rw\n"
        f"3 2 0:3 / {tmp_path}/with\\040space ro,nosuid - xfs /dev/x rw\n"
        f"4 1 0:4 / {tmp_path}x rw - vfat /dev/y rw\n"
    )
    (tmp_path / "with space").mkdir()
    assert gather_file_system(tmp_path / "home", table).type == "nfs4"
    assert gather_file_system(tmp_path / "with space", table).read_only
    assert gather_file_system(Path("/"), table).type == "ext4"


def test_the_newest_file_of_the_home(tmp_path):
    """Of the top two levels; a home that is not there has none."""
    (tmp_path / "s3").mkdir()
    (tmp_path / "jobs.db").touch()
    (tmp_path / "s3" / "secrets.json").touch()
    for name, time in (("s3", 1000), ("jobs.db", 2000), ("s3/secrets.json", 3000)):
        os.utime(tmp_path / name, (time, time))
    assert newest_file(tmp_path) == ("s3/secrets.json", 3000)
    assert newest_file(tmp_path / "none") is None


def script(directory, name, text):
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "names", "error"),
    [
        ("echo 'NVIDIA H100 80GB HBM3'; echo 'NVIDIA H100 80GB HBM3'", ("NVIDIA H100 80GB HBM3",) * 2, None),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", (), "Failed to initialize NVML"),
        ("exit 9", (), "exit code 9"),
        ("", (), None),
    ],
)
def test_the_driver_is_asked_for_gpus(tmp_path, monkeypatch, text, names, error):
    """By nvidia-smi, whose failure is told in its own words."""
    script(tmp_path, "nvidia-smi", text)
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = Engine(url="unix:///x", name="Docker", version="28", architecture="amd64", nvidia=True)
    gpus = containers.gather_gpus(engine, tmp_path)
    assert gpus.names == names
    assert (gpus.error is None) if error is None else (error in gpus.error)
    assert gpus.engine_passes or not names


def test_credentials_are_looked_for_where_the_engine_client_looks(tmp_path):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("{}")
    assert containers.gather_credentials({"HOME": str(tmp_path)})[0] == "{}"
    assert containers.gather_credentials({"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)})[0] is None


def test_a_socket_without_an_engine_behind_it_is_told(tmp_path):
    """The file is there; nobody answers."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # the client package leaves sockets that failed to the collector
        problem, facts = containers.gather_engine(f"unix://{path}", "ada")
        gc.collect()
    assert facts is None
    assert "does not answer" in problem


FINDINGS = (
    ok("python", "3.13.1 in /opt/clary"),
    warning("disk", "1.0 GiB free of 20.0 GiB at /home", "each job keeps its data and its model here: free some space"),
    missing("engine", "No container engine is set up.", "install Docker (Debian: apt-get install docker.io) or Podman"),
)


def test_a_program_reads_json():
    document = json.loads(doctor.as_document(FINDINGS))
    assert document["can_train"] is True
    assert document["findings"][0] == {"name": "python", "level": "ok", "found": "3.13.1 in /opt/clary", "cure": None}
    assert document["findings"][2]["level"] == "missing"
    assert msgspec.json.encode(document)


def test_a_pipe_gets_a_line_for_each_finding_and_for_each_cure():
    lines = doctor.as_lines(FINDINGS).splitlines()
    assert lines[0] == "ok       python: 3.13.1 in /opt/clary"
    assert lines[1].startswith("warning  disk: ")
    assert lines[4] == "         cure: install Docker (Debian: apt-get install docker.io) or Podman"
    assert lines[-1].startswith("Training can run here")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_of_any_width_shows_every_word(width):
    """Nothing is cut off, and no line is too long; brackets in a finding are no markup."""
    printed = io.StringIO()
    finding = ok("listen", "[::1]:7243 is [bold]free[/bold]")
    doctor.show((*FINDINGS, finding), Console(file=printed, width=width, force_terminal=False))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(printed.getvalue().split())
    assert "[::1]:7243 is [bold]free[/bold]" in text or width == 40
    for word in ("3.13.1", "docker.io)", "cure:", "container", "engine."):
        assert word in text


def test_the_exit_code_says_whether_training_can_run(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda *_: FINDINGS)
    assert doctor.run({}, io.StringIO(), as_json=False) == 0
    monkeypatch.setattr(doctor, "examine", lambda *_: (*FINDINGS, missing("store", "x", "y")))
    assert doctor.run({}, io.StringIO(), as_json=True) == 1


def test_the_python_that_runs_this_is_found():
    finding = {one.name: one for one in examination.examine({"home": "/nonexistent/home"}, {})}["python"]
    assert sys.version.split()[0] in finding.found
