"""The container engine, GPUs, and the programs that fetch a registry's credentials: facts, and what they mean for Clary.

Called by `examination`. Each `…_finding` is a pure function of facts that a `gather_…` function asks for. Whether the
engine can be used at all is for `clary.runtimes.docker.engine` to say; here is what it lacks.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import docker.errors
import msgspec

from clary.doctor.finding import ENGINE, Finding, from_problem, missing, ok, warning
from clary.runtimes.docker.engine import Engine, connect, describe_engine, engine_problem
from clary.runtimes.port import EngineAway

_LINGER = Path("/var/lib/systemd/linger")
_PATIENCE_S = 20


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of itself beyond `Engine`.

    `unlimited`: which limits do not act there. `lingers`: whether the processes of the user who runs a rootless engine
    outlive the login. `clock` in seconds since the epoch. `root`: where it keeps images and containers.
    """

    engine: Engine
    unlimited: tuple[str, ...] = ()
    control_groups: str = ""
    lingers: bool = True
    clock: float | None = None
    root: str = ""


def engine_finding(url: str | None, problem: str | None, facts: EngineFacts | None) -> Finding:
    """Whether images can be run, and with which limits."""
    if problem is not None or facts is None:
        return from_problem(ENGINE, problem or f"The container engine at {url} said nothing of itself.", "")
    engine = facts.engine
    rootless = ", rootless" if engine.rootless else ""
    found = f"{engine.name} {engine.version}{rootless}, at {engine.url}"
    if facts.unlimited:
        limits = " and ".join(facts.unlimited)
        cure = (
            "a rootless engine limits only on cgroup version 2, with its controllers delegated: see docs/containers.md"
            if engine.rootless
            else f"start this machine's kernel with the cgroup controllers for {limits}"
        )
        return warning(ENGINE, f"{found}; limits of {limits} do not act (cgroup version {facts.control_groups})", cure)
    if not facts.lingers:
        return warning(ENGINE, f"{found}; its containers end when you log out", "loginctl enable-linger")
    return ok(ENGINE, found)


def gather_engine(url: str | None, user: str) -> tuple[str | None, EngineFacts | None]:
    """The problem, or the facts."""
    problem = engine_problem(url)
    if problem is not None or url is None:
        return problem, None
    try:
        with connect(url, timeout_s=_PATIENCE_S) as client:
            engine, info = describe_engine(client, url), client.info()
    except (EngineAway, docker.errors.APIError) as error:
        return str(error), None
    return None, engine_facts(engine, info, lingers=(_LINGER / user).exists() or not _LINGER.parent.exists())


def engine_facts(engine: Engine, info: Mapping[str, Any], *, lingers: bool) -> EngineFacts:
    """Read the engine's /info. Podman has its cgroup version and its rootlessness there too, under the same names."""
    limits = {"memory": "MemoryLimit", "processors": "CpuCfsQuota", "processes": "PidsLimit"}
    others = {"CpuCfsQuota": "CPUCfsQuota"}  # the name differs between versions
    acts = {what: info.get(name, info.get(others.get(name, name), True)) for what, name in limits.items()}
    return EngineFacts(
        engine=engine,
        unlimited=tuple(what for what, act in acts.items() if not act),
        control_groups=str(info.get("CgroupVersion") or "unknown"),
        lingers=lingers or not engine.rootless,
        clock=_seconds(str(info.get("SystemTime") or "")),
        root=str(info.get("DockerRootDir") or ""),
    )


class Gpus(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs that NVIDIA's driver lists, or what it says instead (`error`); `devices`: there are device nodes."""

    devices: bool
    names: tuple[str, ...] = ()
    error: str | None = None
    engine_passes: bool = False
    engine: bool = True


def gpu_finding(gpus: Gpus) -> Finding:
    """Whether jobs get GPUs. None at all is nothing to mend."""
    if gpus.error is not None:
        return warning(
            "gpus",
            f"NVIDIA's driver does not answer: {gpus.error}",
            "mend or install the driver: nvidia-smi must list the GPUs",
        )
    if not gpus.names:
        if gpus.devices:
            return warning(
                "gpus", "there are device nodes of NVIDIA, and no nvidia-smi", "install NVIDIA's driver with its tools"
            )
        return ok("gpus", "none of NVIDIA's here; jobs use processors")
    found = f"{len(gpus.names)}: {', '.join(dict.fromkeys(gpus.names))}"
    if not gpus.engine:
        return warning(
            "gpus", f"{found}; only containers get them, and there is no engine", "set up a container engine"
        )
    if not gpus.engine_passes:
        return warning(
            "gpus",
            f"{found}; the container engine cannot pass them on",
            "install nvidia-container-toolkit; then nvidia-ctk runtime configure --runtime=docker, or (Podman) "
            "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        )
    return ok("gpus", f"{found}; containers get them")


def gather_gpus(engine: Engine | None, dev: Path = Path("/dev")) -> Gpus:
    """Ask the driver, which may take seconds on a machine that has just started."""
    program = shutil.which("nvidia-smi")
    devices = (dev / "nvidiactl").exists() or (dev / "dxg").exists()
    if program is None:
        return Gpus(devices=devices, engine=engine is not None)
    try:
        said = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(devices=devices, error=str(error), engine=engine is not None)
    if said.returncode:
        told = " ".join((said.stdout + said.stderr).split()) or f"exit code {said.returncode}"
        return Gpus(devices=devices, error=told, engine=engine is not None)
    return Gpus(
        devices=devices,
        names=tuple(line.strip() for line in said.stdout.splitlines() if line.strip()),
        engine_passes=engine is not None and engine.nvidia,
        engine=engine is not None,
    )


def credentials_finding(
    text: str | None,
    path: Path,
    programs: Mapping[str, str] | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> Finding:
    """Whether the programs that know the logins at registries are there: those that the engine client's configuration names
    (`text`, None if there is none at `path`), and `programs`, each with who names it.
    """
    name = "credentials"
    named = dict(programs or {})
    registries: list[str] = []
    if text is not None:
        try:
            document = json.loads(text)
            helpers = {str(helper) for helper in (document.get("credHelpers") or {}).values()}
            helpers |= {str(document["credsStore"])} if document.get("credsStore") else set()
            registries = sorted({*(document.get("auths") or {}), *(document.get("credHelpers") or {})})
        except (ValueError, AttributeError, TypeError) as error:
            return warning(name, f"{path} cannot be read: {error}", f"correct {path}, or log in again: docker login")
        named |= {f"docker-credential-{helper}": str(path) for helper in helpers}
    lacking = {program: where for program, where in sorted(named.items()) if which(program) is None}
    if lacking:
        return missing(
            name,
            "; ".join(f"{program} is not on the PATH (named by {where})" for program, where in lacking.items()),
            f"install {' and '.join(lacking)}, or name another",
        )
    if registries or named:
        return ok(name, f"for {', '.join(registries)}" if registries else f"by {', '.join(sorted(named))}")
    return ok(name, f"no {path}: images are pulled without logging in" if text is None else f"none in {path}")


def gather_credentials(environment: Mapping[str, str]) -> tuple[str | None, Path]:
    """The text of the configuration, None if there is none, and where it is. Raises OSError. Source: docker(1)."""
    place = environment.get("DOCKER_CONFIG")
    path = (Path(place) if place else Path(environment.get("HOME") or "~").expanduser() / ".docker") / "config.json"
    try:
        return path.read_text(errors="replace"), path
    except FileNotFoundError:
        return None, path


def _seconds(time: str) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None
