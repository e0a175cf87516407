"""Which host paths a Python environment needs, so that it works in a sandbox under the same paths.

Called by whoever lists the mounts of an environment. A virtual environment is a directory of links: its interpreter is a
link to another installation, which may be reached through further links.
"""

import subprocess
from pathlib import Path

from clary.base import typed

_ALWAYS_THERE = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

_ASK = """
import json, os, sys, sysconfig
print(json.dumps([sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, sys.executable,
                  sysconfig.get_config_var("LIBDIR") or "", *sys.path]))
"""


class NoPython(Exception):
    """There is no usable Python in the environment; the text says what was tried."""


def python_environment_paths(prefix: Path) -> tuple[str, ...]:
    """Absolute host paths, directories and single files, to be mounted read-only at the same place, parents first.

    `prefix` holds bin/python. What the program sees anyway, such as /usr, is left out; directories from .pth files (an
    editable installation) are in. Runs the interpreter once, some 20 ms. Raises `NoPython`.
    """
    prefix = prefix.absolute()
    python = prefix / "bin" / "python"
    try:
        told = subprocess.run(
            [python, "-I", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={},
            cwd="/",
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NoPython(f"{python} cannot be run: {error}") from error
    directories = [Path(text) for text in typed.from_json(told.stdout, list[str]) if text]
    needed = {str(path) for path in (prefix, *directories) if path.is_dir() or path.suffix == ".zip"}
    needed |= set(_links(python))
    kept: list[str] = []
    for path in sorted(path for path in needed if Path(path).exists()):
        if path != "/" and not any(_within(path, parent) for parent in (*_ALWAYS_THERE, *kept)):
            kept.append(path)
    return tuple(kept)


def _links(path: Path) -> list[str]:
    """Every symbolic link that the kernel follows on the way to the interpreter, and the interpreter itself."""
    found: list[str] = []
    rest, here = list(path.parts[1:])[::-1], Path("/")
    while rest and len(found) < 40:
        part = rest.pop()
        here = here.parent if part == ".." else here / part
        if here.is_symlink():
            found.append(str(here))
            target = here.readlink()
            rest += [part for part in target.parts if part != "/"][::-1]
            here = Path("/") if target.is_absolute() else here.parent
    return [*found, str(here)]


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(f"{parent}/")
