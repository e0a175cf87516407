"""Images for tests, made of programs of this machine: no registry is asked. Used by tests marked `docker`.

An image's tag is the hash of what is in it, so that workers side by side make the same one, and a later session finds it.
`make clean` removes them: run as a program, this file does.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import IO

import docker
import docker.errors

PREFIX = "clary-test"
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nml:x:1234:1234:ml:/tmp:/bin/sh\n"
_LIBRARY = re.compile(r"(?:=>\s+)?(/\S+) \(0x")
_SHELL = (
    "sh",
    "cat",
    "echo",
    "env",
    "hostname",
    "id",
    "kill",
    "ls",
    "mkdir",
    "sleep",
    "stat",
    "chmod",
    "chown",
    "touch",
    "tty",
    "dd",
    "df",
    "head",
    "yes",
    "true",
    "nproc",
    "ln",
    "rm",
)


def client() -> docker.APIClient:
    return docker.APIClient(
        base_url=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"), version="auto", timeout=120
    )


@cache
def shell_image() -> str:
    """A small image with a shell and the usual programs; no ENTRYPOINT, no `train`."""
    return _image("shell", _with_libraries(filter(None, map(shutil.which, _SHELL))), [("ENV", "PATH=/usr/bin:/bin")])


@cache
def python_image(
    *packages: str, entrypoint: str | None = None, user: str | None = None, site: Path | None = None
) -> str:
    """The shell image with this Python and some of its installed packages, or of those in `site`.

    `entrypoint` is ENTRYPOINT as JSON, in which "{python}" stands for the interpreter.
    """
    base = Path(sys.base_prefix)
    library = Path(sysconfig.get_path("stdlib"))
    site = site or Path(sysconfig.get_path("purelib"))
    python = (base / "bin" / f"python{sysconfig.get_python_version()}").resolve()
    parts = {
        file: file
        for file in _files(
            library,
            skip={"site-packages", "dist-packages", "test", "idlelib", "__pycache__", "ensurepip", "tkinter", "config"},
        )
    }
    native = [python, *(file for file in parts if file.suffix == ".so" or ".so." in file.name)]
    for package in packages:
        for place in _places(package, site):
            found = list(_files(place, skip={"tests", "__pycache__"})) if place.is_dir() else [place]
            parts |= {
                file: Path("/packages") / place.name / file.relative_to(place)
                if place.is_dir()
                else Path("/packages") / place.name
                for file in found
            }
            native += [file for file in found if ".so" in file.name]
    parts |= {
        python: python,
        **{
            file: file
            for file in _with_libraries([*filter(None, map(shutil.which, _SHELL)), *map(str, native)], site)
            if file not in parts
        },
    }
    changes = [("ENV", "PYTHONPATH=/packages"), ("ENV", f"PATH={python.parent}:/usr/bin:/bin")]
    if entrypoint:
        changes.append(("ENTRYPOINT", entrypoint.replace("{python}", str(python))))
    if user:
        changes.append(("USER", user))
    return _image("python", parts, changes)


@cache
def changed_image(image: str, changes: tuple[str, ...], files: tuple[tuple[str, str], ...] = ()) -> str:
    """The image with executable text files added, by path, and with Dockerfile instructions such as `USER ml`."""
    name = f"{PREFIX}/changed"
    tag = hashlib.sha256(f"{image}{changes}{files}".encode()).hexdigest()[:16]
    with contextlib.closing(client()) as engine:
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.inspect_image(f"{name}:{tag}")
            return f"{name}:{tag}"
        made = engine.create_container(image, command=["true"])["Id"]
        try:
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for path, text in files:
                    entry = tarfile.TarInfo(path.lstrip("/"))
                    entry.size, entry.mode = len(text.encode()), 0o755
                    tar.addfile(entry, io.BytesIO(text.encode()))
            engine.put_archive(made, "/", archive.getvalue())
            # What the container was made with would become the image's own.
            engine.commit(made, repository=name, tag=tag, changes=["CMD []", *changes])
        finally:
            engine.remove_container(made)
    return f"{name}:{tag}"


def python_path() -> str:
    """Where Python lies in the Python image."""
    return str((Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}").resolve())


def remove_all() -> None:
    """Remove every image that was made here."""
    with contextlib.closing(client()) as engine:
        for image in engine.images():
            for tag in image.get("RepoTags") or ():
                if tag.startswith(f"{PREFIX}/"):
                    with contextlib.suppress(docker.errors.APIError):
                        engine.remove_image(tag, force=True)


def _image(name: str, files: Iterable[Path] | dict[Path, Path], changes: list[tuple[str, str]]) -> str:
    parts = files if isinstance(files, dict) else {file: file for file in files}
    listing = "\n".join(
        f"{source} {target} {source.stat().st_size} {source.stat().st_mtime_ns}"
        for source, target in sorted(parts.items())
    )
    tag = hashlib.sha256(f"{listing}{changes}".encode()).hexdigest()[:16]
    with contextlib.closing(client()) as engine:
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.inspect_image(f"{PREFIX}/{name}:{tag}")
            return f"{PREFIX}/{name}:{tag}"
        with tempfile.NamedTemporaryFile() as archive:
            _write(archive, parts)
            archive.flush()
            written = [f"{instruction} {value}" for instruction, value in changes]
            engine.import_image_from_file(archive.name, repository=f"{PREFIX}/{name}", tag=tag, changes=written)
    return f"{PREFIX}/{name}:{tag}"


def _write(archive: IO[bytes], parts: dict[Path, Path]) -> None:
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for directory in ("tmp", "opt", "etc", "root", "proc", "dev", "sys"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(_PASSWD)
        tar.addfile(entry, io.BytesIO(_PASSWD))
        for source, target in parts.items():
            tar.add(source.resolve(), arcname=str(target).lstrip("/"), recursive=False)


def _with_libraries(programs: Iterable[str], site: Path | None = None) -> set[Path]:
    """The programs, and all the shared libraries that they load, each by the path by which it is sought."""
    found = {Path(program) for program in programs}
    told = subprocess.run(["ldd", *map(str, found)], capture_output=True, text=True).stdout
    libraries = {Path(path) for path in _LIBRARY.findall(told)}
    plain = {Path(os.path.normpath(path)) for path in found | libraries}
    # What a package brings itself it finds beside itself, in the image too.
    return {path for path in plain if path.exists() and not (site and path.is_relative_to(site))}


def _files(root: Path, *, skip: set[str]) -> Iterable[Path]:
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in skip and not name.startswith("config-")]
        yield from (Path(directory) / file for file in files if not file.endswith(".a"))


def _places(package: str, site: Path) -> list[Path]:
    if package == "clary_algorithms":
        return [Path(__file__).parent.parent / "src" / package]
    whole = (site / package, site / f"{package}.py", *site.glob(f"{package}*.libs"))
    return [path for path in whole if path.exists()]


if __name__ == "__main__":
    remove_all()
