"""The home and the disk that it lies on: facts, and what they mean for Clary. Nothing in the home is written.

Called by `examination`. Each `…_finding` is a pure function of facts that a `gather_…` function asks the machine for.
"""

import os
import pwd
import stat
from pathlib import Path

import msgspec

from clary.doctor.finding import Finding, missing, ok, warning
from clary.doctor.machine import GIB
from clary.instance.holes import punch_hole

_VITAL_BYTES = 256 << 20
_COMFORTABLE_BYTES = 5 * GIB
_COMFORTABLE_FILES = 20_000
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "gpfs",
    "beegfs",
    "vboxsf",
}
_WITHOUT_MODES = {"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "drvfs"}
_FLEETING = {"tmpfs": "is memory: all is gone after a restart", "ramfs": "is memory: all is gone after a restart"}
_HOLE_BYTES = 1 << 20


class HomeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`place` is the home, or what is there of the path to it; the rest is about `place`.

    `loose` are those files in it that hold secrets and that others may read. `user` is who we are.
    """

    home: Path
    place: Path
    directory: bool
    writable: bool
    mode: int
    owner: str
    user: str
    loose: tuple[str, ...] = ()


def home_finding(facts: HomeFacts) -> Finding:
    """Whether state can be kept there, by us and by nobody else."""
    if not facts.directory:
        return missing("home", f"{facts.place} is not a directory", "choose another directory with --home")
    if not facts.writable:
        return missing(
            "home",
            f"{facts.user} may not write to {facts.place}",
            f"chown it to {facts.user}, or choose another --home",
        )
    if facts.place != facts.home:
        return ok("home", f"{facts.home} will be made at the first start")
    if facts.owner != facts.user:
        return warning(
            "home",
            f"{facts.home} belongs to {facts.owner}, and you are {facts.user}",
            f"run Clary as {facts.owner}, or {facts.owner} will find files that are not theirs",
        )
    if facts.mode & 0o077:
        return warning("home", f"{facts.home} is open to other users", f"chmod 700 {facts.home}")
    if facts.loose:
        files = " ".join(str(facts.home / name) for name in facts.loose)
        return warning("home", f"other users may read {', '.join(facts.loose)} in {facts.home}", f"chmod 600 {files}")
    return ok("home", f"{facts.home}, for {facts.user} alone")


def gather_home(home: Path) -> HomeFacts:
    """Look, without writing. Raises OSError."""
    place = existing(home)
    about = place.stat()
    loose = []
    for name in ("credentials.json", "token.key", "s3/secrets.json"):
        try:
            mode = (home / name).stat().st_mode
        except OSError:
            continue  # not made yet
        if mode & 0o077:
            loose.append(name)
    return HomeFacts(
        home=home,
        place=place,
        directory=stat.S_ISDIR(about.st_mode),
        writable=os.access(place, os.W_OK | os.X_OK),
        mode=stat.S_IMODE(about.st_mode),
        owner=_user(about.st_uid),
        user=_user(os.geteuid()),
        loose=tuple(loose),
    )


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """What is free where `path` lies; `files` is None where the file system does not count them."""

    path: Path
    free_bytes: int
    total_bytes: int
    files: int | None


def disk_finding(space: Space) -> Finding:
    """Whether data, models and logs have room."""
    found = f"{space.free_bytes / GIB:.1f} GiB free of {space.total_bytes / GIB:.1f} GiB at {space.path}"
    if space.free_bytes < _VITAL_BYTES:
        return missing("disk", found, "free some space, or choose a --home on another disk")
    if space.free_bytes < _COMFORTABLE_BYTES:
        return warning("disk", found, "each job keeps its data and its model here while it runs: free some space")
    if space.files is not None and space.files < _COMFORTABLE_FILES:
        return warning("disk", f"{found}, but room for {space.files} more files", "delete files: no inodes are left")
    return ok("disk", found)


def gather_space(path: Path) -> Space:
    """Ask the file system. Raises OSError."""
    place = existing(path)
    about = os.statvfs(place)
    return Space(
        path=place,
        free_bytes=about.f_bavail * about.f_frsize,
        total_bytes=about.f_blocks * about.f_frsize,
        files=about.f_favail if about.f_files else None,
    )


class CacheFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The input cache: its bound in bytes (0: there is none), and the directory; `open_to` says who else may write to it."""

    limit_bytes: int
    space: Space | None = None
    directory: Path = Path()
    open_to: str = ""


def cache_finding(facts: CacheFacts) -> Finding:
    """Whether the input cache will be used."""
    name, found = "input cache", f"up to {facts.limit_bytes / GIB:.1f} GiB in {facts.directory}"
    if not facts.limit_bytes:
        return ok(name, "off (setting input_cache_bytes)")
    if facts.open_to:
        return warning(
            name,
            f"{facts.directory} will not be used: {facts.open_to} may write to it",
            "chmod go-w and chown it, or choose another directory (setting input_cache)",
        )
    if facts.space is not None and facts.space.total_bytes < facts.limit_bytes:
        return warning(
            name, f"{found}, on a disk of {facts.space.total_bytes / GIB:.1f} GiB", "lower input_cache_bytes"
        )
    return ok(name, found)


def gather_cache(directory: Path, limit_bytes: int) -> CacheFacts:
    """Look, without writing. Raises OSError."""
    if not limit_bytes:
        return CacheFacts(limit_bytes=0)
    about = directory.stat() if directory.exists() else None
    open_to = ""
    if about is not None and about.st_uid != os.geteuid():
        open_to = _user(about.st_uid)
    elif about is not None and about.st_mode & 0o022:
        open_to = "other users"
    return CacheFacts(limit_bytes=limit_bytes, space=gather_space(directory), directory=directory, open_to=open_to)


class FileSystem(msgspec.Struct, frozen=True, kw_only=True):
    """The file system at `path`. `holes`: whether disk space can be cut out of a file; None: that could not be tried."""

    path: Path
    type: str
    read_only: bool
    holes: bool | None


def file_system_finding(facts: FileSystem) -> Finding:
    """Whether it keeps what the database, the pipes and the logs rely on."""
    name, found = "file system", f"{facts.type} at {facts.path}"
    elsewhere = "choose a --home on a local disk (ext4, xfs, btrfs)"
    if facts.read_only:
        return missing(name, f"{found} is mounted read-only", elsewhere)
    if facts.type in _NETWORK or facts.type.startswith("fuse."):
        return warning(name, f"{found} is reached over a network: the database and locks are not safe there", elsewhere)
    if facts.type in _WITHOUT_MODES:
        return warning(name, f"{found} knows neither permissions nor pipes", elsewhere)
    if facts.type in _FLEETING:
        return warning(name, f"{found} {_FLEETING[facts.type]}", elsewhere)
    if facts.type == "overlay":
        return warning(
            name,
            f"{found} is a layer of a container: all is gone with the container",
            "mount a volume there for the home",
        )
    if facts.holes is False:
        return warning(name, f"{found} cannot punch holes: a log takes its space twice until its job ends", elsewhere)
    return ok(name, found if facts.holes is None else f"{found}, punches holes")


def gather_file_system(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> FileSystem:
    """Ask the kernel, and try what holes do on a file without a name, which is gone at once. Raises OSError."""
    place = existing(path)
    type_, options = _mounted(place, mountinfo.read_text())
    return FileSystem(
        path=place,
        type=type_,
        read_only="ro" in options or bool(os.statvfs(place).f_flag & os.ST_RDONLY),
        holes=_holes(place),
    )


def existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), Path("/"))


def _mounted(path: Path, mountinfo: str) -> tuple[str, list[str]]:
    """Type and options of the file system that the path lies on: that of the longest mount point above it, the last one
    of these. Source: proc_pid_mountinfo(5).
    """
    real, best = path.resolve(), (-1, "unknown", [""])
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if real.is_relative_to(point) and len(point.parts) >= best[0]:
            best = len(point.parts), right.split()[0], left.split()[5].split(",")
    return best[1], best[2]


def _holes(directory: Path) -> bool | None:
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        os.write(fd, b"\1" * _HOLE_BYTES)
        before = os.fstat(fd).st_blocks
        return punch_hole(fd, 0, _HOLE_BYTES) and (before == 0 or os.fstat(fd).st_blocks < before)
    except OSError:
        return None  # a full disk, a quota
    finally:
        os.close(fd)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
