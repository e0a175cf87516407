"""What `clary doctor` makes of the facts about a machine. Pure: no machine is asked here."""

import errno
import json
from pathlib import Path

import pytest

from clary.doctor.containers import (
    EngineFacts,
    Gpus,
    credentials_finding,
    engine_facts,
    engine_finding,
    gpu_finding,
)
from clary.doctor.finding import Level, can_train, from_problem, missing, ok, verdict
from clary.doctor.machine import Clock, Limits, Memory, clock_finding, limits_finding, memory_finding
from clary.doctor.place import FileSystem, HomeFacts, Space, disk_finding, file_system_finding, home_finding
from clary.doctor.ports import Listening, listening_finding
from clary.runtimes.diagnosis import Facts, explain
from clary.runtimes.docker.engine import Engine, engine_problem

GIB = 1 << 30
NOW = 1_800_000_000.0  # in 2027
HOME = Path("/home/ada/.clary")


def engine(**changes):
    facts = {"url": "unix:///var/run/docker.sock", "name": "Docker", "version": "28.1", "architecture": "amd64"}
    return Engine(**(facts | changes))


def home(**changes):
    facts = {
        "home": HOME,
        "place": HOME,
        "directory": True,
        "writable": True,
        "mode": 0o700,
        "owner": "ada",
        "user": "ada",
    }
    return HomeFacts(**(facts | changes))


def well(name):
    return ok(name, "")


def lacking(name):
    return missing(name, "not there", "get it")


VITAL = tuple(map(well, ("python", "settings", "catalogue", "store", "home", "disk", "listen")))


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ((well("sandbox"), well("engine")), "images in containers"),
        ((well("sandbox"), lacking("engine")), "Images need a container engine"),
        ((lacking("sandbox"), well("engine")), "need a sandbox"),
    ],
)
def test_either_way_to_run_programs_is_enough(runs, words):
    """And the sentence at the end says which kind of job can run."""
    assert can_train(VITAL + runs)
    assert words in verdict(VITAL + runs)


def test_without_sandbox_and_engine_nothing_trains():
    findings = (*VITAL, lacking("sandbox"), lacking("engine"))
    assert not can_train(findings)
    assert "engine, sandbox" in verdict(findings)


@pytest.mark.parametrize("name", ["python", "settings", "catalogue", "store", "home", "disk", "listen"])
def test_what_keeps_the_server_from_starting_keeps_training_from_running(name):
    findings = (*(one for one in VITAL if one.name != name), lacking(name), well("sandbox"), well("engine"))
    assert not can_train(findings)
    assert name in verdict(findings)


@pytest.mark.parametrize("name", ["gpus", "credentials", "clock", "tls_listen"])
def test_other_things_may_be_missing(name):
    assert can_train((*VITAL, well("sandbox"), lacking(name)))


@pytest.mark.parametrize(
    ("facts", "cure"),
    [
        (Facts(unprivileged_userns_clone=0), "sysctl -w kernel.unprivileged_userns_clone=1"),
        (Facts(max_user_namespaces=0), "sysctl -w user.max_user_namespaces=15000"),
        (Facts(apparmor_restricts=1), "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_a_kernel_that_forbids_sandboxes_comes_with_the_setting(facts, cure):
    """The cure is on a line of its own, without what bubblewrap said, which stands with what was found."""
    finding = from_problem("sandbox", explain("no namespace for you", facts), "")
    assert finding.level is Level.MISSING
    assert finding.cure.startswith(cure)
    assert "no namespace for you" in finding.found
    assert "no namespace for you" not in finding.cure


def test_a_problem_without_a_cure_in_its_text_still_has_one():
    """Every finding that is not ok says what to do."""
    assert from_problem("engine", "Something is wrong.", "").cure


def test_no_engine_at_all_says_how_to_get_one():
    finding = engine_finding(None, engine_problem(None), None)
    assert finding.level is Level.MISSING
    assert "docker.io" in finding.cure


def test_an_engine_that_is_too_old_says_which_would_do():
    problem = (
        "The container engine at unix:///x speaks API 1.35 only. Cure: Docker 19.03 or newer, or Podman 4 or newer"
    )
    finding = engine_finding("unix:///x", problem, None)
    assert (finding.level, finding.cure) == (Level.MISSING, "Docker 19.03 or newer, or Podman 4 or newer")


def test_an_engine_that_can_do_everything_is_named():
    finding = engine_finding("unix:///x", None, EngineFacts(engine=engine()))
    assert finding == ok("engine", "Docker 28.1, at unix:///var/run/docker.sock")


def test_an_engine_whose_limits_do_not_act_is_told():
    """Rootless on cgroup version 1: jobs would run without the limits of their instance type."""
    info = {"MemoryLimit": False, "CpuCfsQuota": False, "PidsLimit": False, "CgroupVersion": "1"}
    facts = engine_facts(engine(rootless=True), info, lingers=True)
    finding = engine_finding("unix:///x", None, facts)
    assert finding.level is Level.WARNING
    assert "limits of memory and processors and processes do not act (cgroup version 1)" in finding.found
    assert "rootless" in finding.found
    assert "version 2" in finding.cure


def test_a_rootless_engine_that_ends_with_the_login_is_told():
    facts = engine_facts(engine(rootless=True), {}, lingers=False)
    finding = engine_finding("unix:///x", None, facts)
    assert (finding.level, finding.cure) == (Level.WARNING, "loginctl enable-linger")


def test_an_engine_of_the_system_needs_nobody_to_linger():
    assert engine_finding("unix:///x", None, engine_facts(engine(), {}, lingers=False)).level is Level.OK


@pytest.mark.parametrize(
    "time", ["2027-01-15T08:00:00.123456789Z", "2027-01-15T08:00:00Z", "2027-01-15T09:00:00.5+01:00"]
)
def test_the_clock_of_the_engine_is_read_whatever_its_decimals(time):
    """Docker writes up to nine, Podman an offset."""
    assert engine_facts(engine(), {"SystemTime": time}, lingers=True).clock == pytest.approx(NOW, abs=1)


@pytest.mark.parametrize(
    ("gpus", "level", "words"),
    [
        (Gpus(devices=False), Level.OK, "none"),
        (Gpus(devices=True), Level.WARNING, "no nvidia-smi"),
        (Gpus(devices=True, error="Driver/library version mismatch"), Level.WARNING, "version mismatch"),
        (Gpus(devices=True, names=("NVIDIA H100",) * 2, engine=False), Level.WARNING, "no engine"),
        (Gpus(devices=True, names=("NVIDIA H100",) * 2), Level.WARNING, "cannot pass them on"),
        (Gpus(devices=True, names=("NVIDIA H100",) * 2, engine_passes=True), Level.OK, "2: NVIDIA H100; containers"),
    ],
)
def test_gpus(gpus, level, words):
    """There, driven, and passed on: each can fail alone."""
    finding = gpu_finding(gpus)
    assert finding.level is level
    assert words in finding.found
    assert bool(finding.cure) is (level is not Level.OK)


def helpers(document, *present):
    text = None if document is None else document if isinstance(document, str) else json.dumps(document)
    there = {f"docker-credential-{one}": "/x" for one in present}
    return credentials_finding(text, Path("/d/config.json"), which=there.get)


def test_a_credential_helper_that_is_not_there_is_named():
    """The engine's client would fail in the middle of a job with a text about an executable."""
    document = {"credHelpers": {"1.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}, "credsStore": "pass"}
    finding = helpers(document, "pass")
    assert finding.level is Level.MISSING
    assert "docker-credential-ecr-login is not on the PATH (named by /d/config.json)" in finding.found
    assert "docker-credential-pass" not in finding.found


def test_a_program_that_stands_for_a_function_is_looked_for_too():
    """One of the image catalogue, which may be named by its path."""
    programs = {"/opt/login": "the image catalogue, for arn:1"}
    there = credentials_finding(None, Path("/d"), programs, {"/opt/login": "/opt/login"}.get)
    assert (there.level, there.found) == (Level.OK, "by /opt/login")
    gone = credentials_finding(None, Path("/d"), programs, {}.get)
    assert (gone.level, "arn:1" in gone.found) == (Level.MISSING, True)


def test_credentials_in_order():
    assert helpers(None).level is Level.OK
    assert helpers({}).level is Level.OK
    assert helpers({"auths": {"ghcr.io": {}}, "credHelpers": {"a.b": "x"}}, "x").found == "for a.b, ghcr.io"


@pytest.mark.parametrize("text", ["{", "[]", '{"credHelpers": ["ecr"]}', '{"credHelpers": "ecr"}'])
def test_a_damaged_configuration_is_told(text):
    """Instead of a traceback."""
    assert helpers(text).level is Level.WARNING


@pytest.mark.parametrize(
    ("changes", "level", "cure"),
    [
        ({}, Level.OK, None),
        ({"place": Path("/home/ada")}, Level.OK, None),
        ({"directory": False}, Level.MISSING, "--home"),
        ({"writable": False, "owner": "root"}, Level.MISSING, "chown"),
        ({"owner": "ada", "user": "root"}, Level.WARNING, "run Clary as ada"),
        ({"mode": 0o755}, Level.WARNING, "chmod 700 /home/ada/.clary"),
        ({"loose": ("credentials.json",)}, Level.WARNING, "chmod 600 /home/ada/.clary/credentials.json"),
    ],
)
def test_the_home(changes, level, cure):
    """Ours, and nobody else's."""
    finding = home_finding(home(**changes))
    assert finding.level is level
    assert (finding.cure is None) if cure is None else (cure in finding.cure)


@pytest.mark.parametrize(
    ("free", "files", "level"),
    [
        (100 << 20, None, Level.MISSING),
        (GIB, None, Level.WARNING),
        (50 * GIB, None, Level.OK),
        (50 * GIB, 10, Level.WARNING),
        (50 * GIB, 1 << 20, Level.OK),
    ],
)
def test_the_disk(free, files, level):
    """Bytes, and what is left of the files that can be made."""
    assert disk_finding(Space(path=HOME, free_bytes=free, total_bytes=100 * GIB, files=files)).level is level


@pytest.mark.parametrize(
    ("type_", "level", "words"),
    [
        ("ext4", Level.OK, "punches holes"),
        ("nfs4", Level.WARNING, "over a network"),
        ("fuse.sshfs", Level.WARNING, "over a network"),
        ("vfat", Level.WARNING, "permissions"),
        ("tmpfs", Level.WARNING, "after a restart"),
        ("overlay", Level.WARNING, "gone with the container"),
    ],
)
def test_the_file_system(type_, level, words):
    """By its type, what it cannot keep."""
    finding = file_system_finding(FileSystem(path=HOME, type=type_, read_only=False, holes=True))
    assert finding.level is level
    assert words in finding.found


def test_a_file_system_that_is_read_only_or_knows_no_holes():
    assert file_system_finding(FileSystem(path=HOME, type="ext4", read_only=True, holes=None)).level is Level.MISSING
    assert "its space twice" in file_system_finding(FileSystem(path=HOME, type="x", read_only=False, holes=False)).found
    assert file_system_finding(FileSystem(path=HOME, type="ext4", read_only=False, holes=None)).level is Level.OK


@pytest.mark.parametrize(
    ("error", "ours", "level", "words"),
    [
        (None, False, Level.OK, "is free"),
        (errno.EADDRINUSE, True, Level.OK, "listens now"),
        (errno.EADDRINUSE, False, Level.MISSING, "another program"),
        (errno.EADDRNOTAVAIL, False, Level.MISSING, "no address of this machine"),
        (errno.EACCES, False, Level.MISSING, "below 1024"),
        (errno.EPERM, False, Level.MISSING, "Operation not permitted"),
    ],
)
def test_the_address_of_the_server(error, ours, level, words):
    """Free, its own already, or why it cannot have it."""
    finding = listening_finding(Listening(setting="listen", host="127.0.0.1", port=80, error=error, ours=ours))
    assert finding.level is level
    assert words in finding.found
    assert finding.cure is None or "--listen" in finding.cure


def test_another_listener_is_changed_by_its_setting():
    finding = listening_finding(
        Listening(setting="tls_listen", host="::1", port=443, error=errno.EADDRINUSE, ours=False)
    )
    assert "[::1]:443" in finding.found
    assert "the setting tls_listen" in finding.cure


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Level.OK, "2027-01-15"),
        ({"now": 0.0}, Level.MISSING, "cannot be"),
        ({"now": 5_000_000_000.0}, Level.MISSING, "cannot be"),
        ({"installed": NOW + 86_400}, Level.WARNING, "before Clary was installed"),
        ({"newest": ("jobs.db", NOW + 3600)}, Level.WARNING, "jobs.db in the home"),
        ({"newest": ("jobs.db", NOW + 5)}, Level.OK, "2027"),
        ({"engine": NOW - 1200}, Level.WARNING, "the container engine says"),
        ({"engine": NOW - 2}, Level.OK, "2027"),
    ],
)
def test_the_clock(changes, level, words):
    """Against everything that knows a time and needs no network."""
    finding = clock_finding(Clock(**({"now": NOW, "installed": NOW - 86_400} | changes)))
    assert finding.level is level
    assert words in finding.found


def test_memory():
    """What is available, or what the control group leaves of it."""
    assert memory_finding(Memory(total=8 * GIB, available=4 * GIB)).level is Level.OK
    assert memory_finding(Memory(total=8 * GIB, available=GIB // 2)).level is Level.WARNING
    little = memory_finding(Memory(total=8 * GIB, available=4 * GIB, limit=GIB // 2))
    assert little.level is Level.WARNING
    assert "may use 0.5 GiB" in little.found


@pytest.mark.parametrize(
    ("limits", "level", "cure"),
    [
        (Limits(files=None, files_at_most=None, processes=None), Level.OK, None),
        (Limits(files=1024, files_at_most=4096, processes=None), Level.OK, None),
        (Limits(files=256, files_at_most=4096, processes=None), Level.WARNING, "ulimit -n"),
        (Limits(files=256, files_at_most=256, processes=None), Level.WARNING, "LimitNOFILE"),
        (Limits(files=4096, files_at_most=4096, processes=300), Level.WARNING, "ulimit -u 512"),
    ],
)
def test_limits(limits, level, cure):
    """For four ML instances."""
    finding = limits_finding(limits, 4)
    assert finding.level is level
    assert (finding.cure is None) if cure is None else (cure in finding.cure)
