"""The disks of ML instances where their size is a limit: files of this machine, formatted with ext4 and mounted.

A `Volumes`, by its functions; `app` and `instance/__main__` choose it. Needs root, loop devices and the programs of
util-linux and e2fsprogs, which `problem` tries out. A volume costs what is on it, not its size.

There is no journal, and nothing is flushed for fsync: when the machine goes down, so does the training program, and its
job starts anew on another volume. What a job still has to read from this one is checked when it is mounted again.

Whoever mounts or unmounts holds a lock beside the mount point, and so do the programs that it starts: after `detach` no
mount(8) whose starter was killed comes too late. The kernel frees a loop device by itself when it is unmounted.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from clary.base import faults
from clary.base.files import awaited_lock
from clary.base.telemetry import get_logger
from clary.jobs.instance_files import InstanceFiles
from clary.runtimes.port import VolumeTrouble

_LEAST_BYTES = 64 << 20
_LEFT_TO_US_BYTES = 256 << 20
"""What a volume leaves of the machine's disk: the log and the reports of its job need room, too."""

_LOCKED_WITHIN_S = 30.0
_TOOLS = {"mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "mount": "mount", "umount": "mount", "sync": "coreutils"}
_SYSTEM_PATHS = "/usr/sbin:/sbin:/usr/bin:/bin"  # a user's PATH often lacks the first two

# Whole blocks for the user: none are reserved for root, no room is kept to grow.
_FORMAT = (
    "-q",
    "-F",
    "-b",
    "4096",
    "-m",
    "0",
    "-O",
    "^has_journal,^resize_inode",
    "-E",
    "lazy_itable_init=1,nodiscard",
)
_MOUNT = "loop,noatime,nosuid,nodev,noinit_itable,barrier=0,errors=remount-ro"
_FIXED = 1  # exit code of e2fsck

_log = get_logger("runtimes")
faults.declare("volumes.formatted", "volumes.made", "volumes.mounted")


def unavailable() -> str | None:
    """Why there can be no volumes on this machine, with the cure, as far as that is seen without trying."""
    if os.geteuid() != 0:
        return "only root can mount volumes. Cure: run Clary as root"
    for tool, package in _TOOLS.items():
        if shutil.which(tool, path=system_path()) is None:
            return f"{tool} is missing. Cure: apt-get install {package}, or your system's package with it"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices. Cure: modprobe loop; in a container, --privileged -v /dev:/dev"
    if "devtmpfs" not in {kind for at, kind in _mounts() if at == "/dev"}:
        return "new loop devices would not appear in /dev. Cure: in a container, -v /dev:/dev"
    return None


def problem(directory: Path) -> str | None:
    """Why volumes cannot be made below that directory, with the cure; makes one there, and removes it."""
    found = unavailable()
    if found is not None:
        return found
    place = directory / ".volume-probe"
    try:
        _remove_probe(place)  # one that a crash left
        place.mkdir(mode=0o700, parents=True)
        try:
            attach(place / "image", place / "volume", _LEAST_BYTES)
            (place / "volume" / "file").write_bytes(b"x")
            settle(place / "volume")
        finally:
            _remove_probe(place)
    except OSError as error:
        return f"{error}. Cure: allow this process to mount (in a container: --privileged), on a local disk"
    return None


def attach(image: Path, mount_point: Path, size_bytes: int) -> None:
    """See `Volumes`."""
    mount_point.mkdir(mode=0o755, exist_ok=True)
    with _lock(mount_point) as lock:
        if os.path.ismount(mount_point):
            return
        if image.exists():
            _check(image, lock)
        else:
            _make(image, size_bytes, lock)
        _mount(image, mount_point, lock)


def attach_again(image: Path, mount_point: Path) -> None:
    """See `Volumes`."""
    if not image.exists() or os.path.ismount(mount_point):
        return
    with _lock(mount_point) as lock:
        if not os.path.ismount(mount_point):
            _check(image, lock)
            _mount(image, mount_point, lock)


def settle(mount_point: Path) -> None:
    """See `Volumes`."""
    if not os.path.ismount(mount_point):
        return
    failed = _run("sync", "--file-system", str(mount_point))
    if failed is not None:
        raise VolumeTrouble(
            f"what was written to the volume is lost, as this machine's disk was full or broken: {failed}"
        )


def detach(mount_point: Path) -> None:
    """Unmount the volume, to be deleted; without effect if there is none.

    One that is still in use is gone from its place all the same. Raises `VolumeTrouble`, and `TimeoutError` if another
    process is at it for half a minute.
    """
    if not _lock_file(mount_point).exists():
        return
    with _lock(mount_point) as lock:
        while os.path.ismount(mount_point):
            failed = _run("umount", str(mount_point), lock=lock)
            if failed is not None:
                failed = _run("umount", "--lazy", str(mount_point), lock=lock)
            if failed is not None:
                raise VolumeTrouble(f"the volume at {mount_point} cannot be unmounted: {failed}")


def mounted_below(directory: Path) -> list[Path]:
    """Where something is mounted below a directory, the innermost first."""
    top = f"{directory.resolve()}/"
    return sorted((Path(at) for at, _ in _mounts() if at.startswith(top)), reverse=True)


def detach_strays(instances: Path) -> None:
    """Unmount what is mounted below the directory of all instances and belongs to none: a crash came in between."""
    top = instances.resolve()
    for mount_point in mounted_below(instances):
        if not InstanceFiles(top / mount_point.relative_to(top).parts[0]).task.exists():
            _log.warning("stray volume", path=str(mount_point))
            try:
                if not _lock_file(mount_point).exists():  # no volume, but something that was mounted on one
                    _run("umount", "--lazy", str(mount_point))
                detach(mount_point)
            except OSError:
                _log.error("stray volume not unmounted", path=str(mount_point))


def _make(image: Path, size_bytes: int, lock: int) -> None:
    """A new volume. It takes its name when it is whole."""
    disk = os.statvfs(image.parent)
    room = disk.f_bavail * disk.f_frsize - _LEFT_TO_US_BYTES
    new = image.with_name(f"{image.name}.new")
    with new.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(max(_LEAST_BYTES, min(size_bytes, room)))
    failed = _run("mkfs.ext4", *_FORMAT, str(new), lock=lock)
    if failed is not None:
        raise VolumeTrouble(f"no volume can be formatted: {failed}")
    faults.point("volumes.formatted")
    new.rename(image)
    faults.point("volumes.made")


def _check(image: Path, lock: int) -> None:
    """Mend what can be mended without a loss: without a journal, the machine's end may have left half of a change."""
    failed = _run("e2fsck", "-p", str(image), lock=lock, good=(0, _FIXED))
    if failed is not None:
        raise VolumeTrouble(f"the volume was damaged when the machine went down: {failed}")


def _mount(image: Path, mount_point: Path, lock: int) -> None:
    failed = _run("mount", "-t", "ext4", "-o", _MOUNT, str(image), str(mount_point), lock=lock)
    if failed is not None:
        raise VolumeTrouble(f"no volume can be mounted: {failed}")
    faults.point("volumes.mounted")


def _run(tool: str, *arguments: str, lock: int | None = None, good: tuple[int, ...] = (0,)) -> str | None:
    """Run a program of the system; what it said if it failed. It holds the lock until it ends, whatever becomes of us."""
    try:
        done = subprocess.run(
            [tool, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=() if lock is None else (lock,),
            cwd="/",
            env={"PATH": system_path(), "LC_ALL": "C"},
            check=False,
        )
    except OSError as error:
        return f"{tool} cannot be run: {error.strerror}"
    if done.returncode in good:
        return None
    said = " ".join(done.stdout.decode(errors="replace").split()).partition(" dmesg(1)")[0].rstrip(".")
    return said or f"{tool} ended with {done.returncode}"


def system_path() -> str:
    """Where the system's tools are looked for."""
    return f"{os.environ.get('PATH', '')}:{_SYSTEM_PATHS}".lstrip(":")


def _lock_file(mount_point: Path) -> Path:
    return mount_point.with_name(f"{mount_point.name}.lock")


def _lock(mount_point: Path) -> contextlib.AbstractContextManager[int]:
    """Hold the lock of a mount point. Raises `TimeoutError`."""
    return awaited_lock(_lock_file(mount_point), within_s=_LOCKED_WITHIN_S)


def _mounts() -> list[tuple[str, str]]:
    """Where something is mounted, and the type of its file system. Source: proc(5), mountinfo."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        at = fields[4].decode("unicode_escape").encode("latin-1")  # octal escapes, such as \040 for a space
        found.append((os.fsdecode(at), fields[fields.index(b"-") + 1].decode()))
    return found


def _remove_probe(place: Path) -> None:
    detach(place / "volume")
    shutil.rmtree(place, ignore_errors=True)
