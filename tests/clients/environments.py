"""The clients' own environments: a virtual environment for each, made when it is first asked for. PYTEST_DONT_REWRITE

    python tests/clients/environments.py [CLIENT …]      # make them, all or those named; tells how long each took
    python tests/clients/environments.py --lock          # renew locks/*.lock from locks/*.in; needs `uv` on PATH

They cannot share the tests' environment, since each pins a boto3 of its own. They lie in .clients/ of the repository's
root, or where CLIENT_ENVIRONMENTS says, under a name that holds the hash of their lock file: a second run finds them.

locks/*.lock is wheels alone. locks/*.sources names what is published as source only; it is installed without a compiler,
so without its C extensions, and renewed by hand.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from clary.base.files import AlreadyLocked, exclusive_lock

HERE = Path(__file__).parent
LOCKS = HERE / "locks"
CLIENTS = tuple(sorted(path.stem for path in LOCKS.glob("*.in")))
_PATIENCE_S = 900


class CannotMake(Exception):
    """An environment cannot be made; the text says why."""


def interpreter(client: str) -> Path:
    """The interpreter of a client's environment, which is made if it is not there. Raises `CannotMake`."""
    root = Path(os.environ.get("CLIENT_ENVIRONMENTS", HERE.parents[1] / ".clients"))
    root.mkdir(parents=True, exist_ok=True)
    lock = LOCKS / f"{client}.lock"
    wanted = b"".join(file.read_bytes() for file in (lock, lock.with_suffix(".sources")) if file.exists())
    key = hashlib.sha256(f"{sys.base_prefix} {platform.python_version()}\n".encode() + wanted)
    place = root / f"{client}-{key.hexdigest()[:12]}"
    complete = place / ".complete"
    until = time.monotonic() + _PATIENCE_S
    while not complete.exists():
        try:
            with exclusive_lock(root / f"{client}.lock"):
                if not complete.exists():
                    for old in root.glob(f"{client}-*"):  # of another lock file, or half made
                        shutil.rmtree(old)
                    _make(place, lock)
                    complete.touch()
        except AlreadyLocked:  # another test process makes it
            if time.monotonic() > until:
                raise CannotMake(f"{client}: another process has been making {place} for too long") from None
            time.sleep(0.5)
    return place / "bin" / "python"


def _make(place: Path, lock: Path) -> None:
    # Without --no-deps pip would miss what sagemaker_v3.without leaves out; without --no-compile it would take longer
    # to compile what no scenario imports than to fetch it.
    install = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--require-hashes", "--no-deps", "--no-compile"]
    commands = [[sys.executable, "-m", "venv", place], [*install, "--only-binary", ":all:", "-r", lock]]
    sources = lock.with_suffix(".sources")
    if sources.exists():
        # pip's cache may hold a wheel that somebody made with a compiler.
        options = ["--no-cache-dir", "--no-binary", ":all:", "--no-build-isolation"]
        commands.append([*install, *options, "-r", sources])
    # `true` makes nothing of a C extension, so that every machine has the same, also one without a compiler.
    environment = os.environ | {"CC": "true", "LDSHARED": "true"}
    for command in commands:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            raise CannotMake(f"{lock.stem}: installing takes more than {_PATIENCE_S} s") from None
        if done.returncode != 0:
            raise CannotMake(f"{lock.stem}: {(done.stderr or done.stdout).strip()[-2000:]}")


def _renew_locks() -> None:
    for client in CLIENTS:
        without = LOCKS / f"{client}.without"
        overrides = ["--overrides", without.name] if without.exists() else []
        options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header"]
        names = [f"{client}.in", "-o", f"{client}.lock"]
        subprocess.run(["uv", "pip", "compile", "--quiet", *options, *overrides, *names], cwd=LOCKS, check=True)


def _main(arguments: list[str]) -> None:
    if arguments == ["--lock"]:
        _renew_locks()
        return
    for client in arguments or CLIENTS:
        begun = time.monotonic()
        python = interpreter(client)
        print(f"{client}: {python} ({time.monotonic() - begun:.1f} s)", flush=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
