"""What the training program sees of this machine: a private, disposable root, as data and as bubblewrap's options.

Called by `process`. The view is a list in mount order; the last entry that covers a path decides. Of the host there are
/usr, what belongs to it at the top (/bin, /lib64, …), and single files of /etc, all read-only; everything else is empty
and private, apart from the mounts that the caller names. Nothing of any home is there unless it is named.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from clary.runtimes.port import Mount, ProgramSpec

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for if the environment has no PATH. Source: Docker's default."""

_HOST_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "os-release", "localtime", "timezone"),
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf", "crypto-policies"),
    *("pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf"),
    *("protocols", "services", "mime.types", "gai.conf", "fonts"),
)
"""Files of /etc that programs need and that hold no secret; /etc/ssl/private must stay out."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""The devices in /dev that are the host's own nodes, unless others are given."""

_LINKS_FOLLOWED_AT_MOST = 40  # the kernel's own limit


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in the view, at the path `at`: a host path, a symbolic link, or (neither) an empty file system.

    `fd` is an open descriptor of the host path, which then means whatever was opened. `changes` is the directory that takes
    what is written, if the host path is not to be changed: an overlay.
    """

    at: str
    source: str | None = None
    link: str | None = None
    read_only: bool = True
    fd: int | None = None
    changes: str | None = None


def etc_files(spec: ProgramSpec) -> dict[str, str]:
    """The files of /etc that are made for this program, by name."""
    hosts = {"localhost": "127.0.0.1", **spec.hosts}
    hosts.setdefault(spec.hostname, "127.0.0.1")
    return {
        "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "group": "root:x:0:\nnogroup:x:65534:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "hostname": f"{spec.hostname}\n",
        "hosts": "".join(f"{address}\t{name}\n" for name, address in hosts.items()) + "::1\tlocalhost\n",
    }


def view(spec: ProgramSpec, etc: Path, opened: Mapping[Mount, int] = MappingProxyType({})) -> tuple[Entry, ...]:
    """All that the program sees apart from /proc and /dev; `etc` is the host directory that holds `etc_files`, `opened` the
    descriptors of mounts that must not be sought by their path again.
    """
    entries = [*_host_system(), Entry(at="/sys/devices/system", source="/sys/devices/system")]
    names = [*_HOST_ETC, *([] if spec.isolated_network else ["resolv.conf"])]
    entries += [Entry(at=f"/etc/{name}", source=f"/etc/{name}") for name in names if Path("/etc", name).exists()]
    entries += [Entry(at=f"/etc/{name}", source=str(etc / name)) for name in sorted(etc_files(spec))]
    entries += [Entry(at=at) for at in ("/run", "/var/tmp") if at not in _targets(spec)]  # noqa: S108
    entries += [Entry(at="/tmp")] if "/tmp" not in _targets(spec) else []  # noqa: S108
    entries.append(Entry(at="/var/run", link="../run"))
    return (*entries, *(_mounted(mount, opened.get(mount)) for mount in spec.mounts))


def options(spec: ProgramSpec, entries: tuple[Entry, ...], nodes: Path | None = None) -> list[str]:
    """The options of bubblewrap for this program, all but the descriptors and the command.

    `nodes` is a host directory with device nodes for this program alone; without it, it gets the host's.
    """
    chosen = ["--unshare-user", "--uid", "0", "--gid", "0", "--cap-drop", "ALL"]
    # /proc/sys is read-only in many containers; bubblewrap could not switch nested user namespaces off there.
    if not os.statvfs("/proc/sys").f_flag & os.ST_RDONLY:
        chosen.append("--disable-userns")
    chosen += ["--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    chosen += ["--new-session", "--hostname", spec.hostname]
    if spec.isolated_network:
        chosen.append("--unshare-net")
    chosen += [*_proc(), *_dev(nodes)]
    for directory in ("/etc", "/etc/ssl", "/home", "/opt", "/root", "/sys", "/sys/devices", "/var"):
        chosen += ["--dir", directory]
    for entry in entries:
        if entry.link is not None:
            chosen += ["--symlink", entry.link, entry.at]
        elif entry.changes is not None and entry.source is not None:
            chosen += overlay_options(entry.source, entry.changes, entry.at)
        elif entry.fd is not None:
            chosen += ["--ro-bind-fd" if entry.read_only else "--bind-fd", str(entry.fd), entry.at]
        elif entry.source is not None:
            chosen += ["--ro-bind" if entry.read_only else "--bind", entry.source, entry.at]
        else:
            chosen += ["--perms", "1777", "--tmpfs", entry.at]
    chosen.append("--clearenv")
    for name, value in spec.environment.items():
        chosen += ["--setenv", name, value]
    if spec.working_directory != "/":
        chosen += ["--dir", spec.working_directory]
    return [*chosen, "--chdir", spec.working_directory]


def overlay_options(lower: str, changes: str, at: str) -> list[str]:
    """The options of bubblewrap for an overlay; `changes` holds the directories upper and work."""
    return ["--overlay-src", lower, "--overlay", f"{changes}/upper", f"{changes}/work", at]


def on_host(entries: tuple[Entry, ...], path: str) -> Path | None:
    """The host's file behind an absolute path of the view, links followed as the program would; None if none is."""
    rest = [part for part in path.split("/") if part][::-1]
    here, host, followed = "/", None, 0
    while rest:
        part = rest.pop()
        if part in (".", ".."):
            here = here if part == "." else str(Path(here).parent)
            continue
        here = f"{here.rstrip('/')}/{part}"
        host, link = _look(entries, here)
        if link is None:
            continue
        followed += 1
        if followed > _LINKS_FOLLOWED_AT_MOST:
            return None
        here = "/" if link.startswith("/") else str(Path(here).parent)
        rest += [part for part in link.split("/") if part][::-1]
    return host if host is not None and host.exists() else None


def _look(entries: tuple[Entry, ...], path: str) -> tuple[Path | None, str | None]:
    """The host's file at a path whose parents are no links, and where it points to if it is a link."""
    for entry in reversed(entries):
        if path != entry.at and not path.startswith(f"{entry.at}/"):
            continue
        if entry.link is not None or entry.source is None:
            return None, entry.link
        if path == entry.at:
            return Path(entry.source), None
        host = Path(entry.source + path[len(entry.at) :])
        return host, str(host.readlink()) if host.is_symlink() else None
    return None, None


def _mounted(mount: Mount, fd: int | None) -> Entry:
    if mount.lower is not None:
        return Entry(at=mount.target, source=mount.lower, read_only=False, changes=mount.source)
    return Entry(at=mount.target, source=mount.source, read_only=mount.read_only, fd=fd)


def _targets(spec: ProgramSpec) -> set[str]:
    return {mount.target for mount in spec.mounts}


def _host_system() -> Iterator[Entry]:
    """/usr and the names at the top of the root that belong to it: links into it, or directories on older systems."""
    yield Entry(at="/usr", source="/usr")
    for path in sorted(Path("/").iterdir()):
        if path.name in ("bin", "sbin") or path.name.startswith("lib"):
            if path.is_symlink():
                yield Entry(at=str(path), link=str(path.readlink()))
            elif path.is_dir():
                yield Entry(at=str(path), source=str(path))


def _proc() -> list[str]:
    """A new /proc with all that is not about processes made read-only.

    If the caller is root, so is the program in the eyes of the files below /proc/sys, which ask for an owner and for no
    capability: a write to kernel/core_pattern there would run a program of its choice on the host.
    """
    chosen = ["--proc", "/proc"]
    for path in sorted(Path("/proc").iterdir()):
        if path.name.isdigit() or path.is_symlink():
            continue
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) or mode & 0o222:
            chosen += ["--ro-bind-try", str(path), str(path)]
    return chosen


def _dev(nodes: Path | None) -> list[str]:
    chosen = ["--dev", "/dev"]
    for name in DEVICES if nodes else ():
        chosen += ["--dev-bind", f"{nodes}/{name}", f"/dev/{name}"]
    return [*chosen, "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
