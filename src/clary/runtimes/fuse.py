"""Read-only file systems of our own making, by FUSE: whether this machine lets us, serving one, taking it away.

Used by the instance program's `fast_file`, which serves the channels of the input mode FastFile, and by `app`. Needs the
system's libfuse3 and /dev/fuse; root mounts by itself, anybody else by fusermount3. What is served is a `Tree`, which never
changes, so that the kernel keeps names, attributes and pages for as long as it likes.

A file system whose server has died answers ENOTCONN to everybody until it is taken away, and no other server can take it
over: the kernel's connection dies with the process.
"""

import contextlib
import importlib
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from clary.runtimes.fuse_operations import Operations, Tree
from clary.runtimes.volumes import mounted_below, system_path

DEVICE = Path("/dev/fuse")
CONFIGURATION = Path("/etc/fuse.conf")
_LIBRARIES = ("libfuse3.so.3", "libfuse3.so.4")
_CAP_SYS_ADMIN = 21
_FOREVER_S = 1 << 30  # what the kernel may remember of names and attributes that never change
_THREADS = 32  # a reader that waits for its bytes keeps one
_THREADS_SINCE = 12  # libfuse 3.12 can be told how many
_KERNEL_AHEAD_KIB = "512"
_PROBE_WITHIN_S = 20.0


class CannotMount(OSError):
    """No file system can be mounted; the text says why."""


def unavailable() -> str | None:
    """Why nothing can be mounted on this machine, with the cure, as far as that is seen without trying."""
    if _library() is None:
        return "libfuse3 is missing. Cure: apt-get install fuse3, or your system's package with it"
    if not DEVICE.exists() or not stat.S_ISCHR(DEVICE.stat().st_mode):
        return f"there is no {DEVICE}. Cure: modprobe fuse; in a container, --device {DEVICE} --cap-add SYS_ADMIN"
    if os.geteuid() == 0:
        if not _capable():
            return "root may not mount here. Cure: in a container, --cap-add SYS_ADMIN, or --privileged"
    elif not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"you may not open {DEVICE}. Cure: chmod 666 {DEVICE}, as most systems have it"
    elif shutil.which("fusermount3", path=system_path()) is None:
        return "fusermount3 is missing. Cure: apt-get install fuse3, or your system's package with it"
    return None


def problem(directory: Path) -> str | None:
    """Why nothing can be mounted below that directory, with the cure; mounts something there, and takes it away."""
    found = unavailable()
    if found is not None:
        return found
    place = directory / ".fuse-probe"
    try:
        detach(place)  # one that a crash left
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "clary.runtimes.fuse_probe", str(place)]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + _PROBE_WITHIN_S
            while not _probe_is_there(place) and server.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            there = _probe_is_there(place)
            detach(place)
        finally:
            server.kill()
            said = server.communicate()[0].decode(errors="replace").strip().rpartition("\n")[2]
        place.rmdir()
    except OSError as error:
        return f"{error}. Cure: allow this process to mount (in a container: --privileged), on a local disk"
    if not there:
        return f"nothing can be mounted: {said or 'its server says nothing'}. Cure: allow this process to mount (in a container: --privileged)"
    return None


def closed_to_others() -> str | None:
    """See `UserMounts`."""
    if os.geteuid() == 0:
        return None
    with contextlib.suppress(OSError):
        if any(line.strip() == "user_allow_other" for line in CONFIGURATION.read_text().splitlines()):
            return None
    return (
        "nobody else can look into what an ordinary user mounts. Cure: the line user_allow_other in "
        f"{CONFIGURATION}, or Clary as root"
    )


def serve(tree: Tree, mount_point: Path) -> None:
    """Mount the tree and answer for it until it is taken away. Call it in the main thread. Raises `CannotMount`."""
    mfusepy = _mfusepy()
    options: dict[str, Any] = {"allow_other": True} if closed_to_others() is None else {}
    if mfusepy.fuse_version_minor >= _THREADS_SINCE:
        options["max_threads"] = _THREADS
    try:
        mfusepy.FUSE(
            Operations(tree),
            str(mount_point),
            raw_fi=True,
            foreground=True,
            ro=True,
            fsname="clary",
            subtype="fastfile",
            use_ino=True,
            kernel_cache=True,
            attr_timeout=_FOREVER_S,
            entry_timeout=_FOREVER_S,
            negative_timeout=_FOREVER_S,
            **options,
        )
    except RuntimeError as error:
        raise CannotMount(f"nothing can be mounted at {mount_point}: libfuse ended with {error}") from None


def read_in_large_pieces(mount_point: Path) -> None:
    """See `UserMounts`. Its own 128 KiB can be changed by root alone."""
    device = mount_point.stat().st_dev
    with contextlib.suppress(OSError):
        Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text(_KERNEL_AHEAD_KIB)


def is_mounted(mount_point: Path) -> bool:
    """See `UserMounts`."""
    return mount_point.parent.resolve() / mount_point.name in mounted_below(mount_point.parent)


def detach(mount_point: Path) -> None:
    """See `UserMounts`. Raises `CannotMount`.

    Whoever has a file of it open goes on reading for as long as its server lives.
    """
    while is_mounted(mount_point):
        tool = ["umount", "--lazy"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
        done = subprocess.run(
            [*tool, str(mount_point)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": system_path(), "LC_ALL": "C"},
            check=False,
        )
        if done.returncode != 0 and is_mounted(mount_point):
            raise CannotMount(f"{mount_point} cannot be unmounted: {done.stdout.decode(errors='replace').strip()}")


def _mfusepy() -> Any:
    """The module, bound to the system's libfuse3: by itself it would look for another first, and run a compiler to."""
    library = _library()
    if library is None:
        raise CannotMount("libfuse3 is missing")
    os.environ["FUSE_LIBRARY_PATH"] = library
    return importlib.import_module("mfusepy")


def _library() -> str | None:
    import ctypes  # noqa: PLC0415 - a job without such channels starts without it

    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return name
    return None


def _capable() -> bool:
    """Whether we hold the capability to mount. Source: proc(5), capabilities(7)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def _probe_is_there(place: Path) -> bool:
    try:
        return (place / "file").read_bytes() == b"x"
    except OSError:
        return False
