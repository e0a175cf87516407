"""The images, containers and networks that `engine_api` has: documents as engines show them, and what a test lets befall
a container.
"""

import os
import struct
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network

ZERO_TIME = "0001-01-01T00:00:00Z"
STREAMS = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True)
class Flavour:
    """Which engine it is. What sets versions of Podman apart: `own_states`: an inspected container's Status tells Podman's
    own states; `late_wait`: a wait for the next exit answers before it has begun to look; `cdi`: it takes device requests.
    """

    name: str
    version: str
    api: str
    rootless: bool = False
    cgroup_version: str = "2"
    own_states: bool = False
    late_wait: bool = False
    cdi: bool = True

    @property
    def podman(self):
        return self.name == "Podman"


DOCKER = Flavour("Docker", "20.10.24", "1.41", cgroup_version="1")
PODMAN = Flavour("Podman", "6.0.0", "1.44")
PODMAN_4 = Flavour("Podman", "4.3.1", "1.41", rootless=True, own_states=True, late_wait=True, cdi=False)


def image(**config):
    """An image's document as `inspect` shows it."""
    return {
        "Id": f"sha256:{uuid.uuid4().hex * 2}",
        "RepoTags": [],
        "RepoDigests": [],
        "Architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "Os": "linux",
        "Size": 1000,
        "Config": {"User": "", "Env": [], "Cmd": None, "Entrypoint": None, "Labels": None} | config,
    }


def now():
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")


class FakeContainer:
    """One container; its methods are what befalls it."""

    def __init__(self, name, document, flavour):
        self.id = uuid.uuid4().hex * 2
        self.name = name
        self.document = document
        self.tty = bool(document.get("Tty"))
        self.status = "created"
        self.exit_code = 0
        self.oom = False
        self.started_at = self.finished_at = ZERO_TIME
        self.signals = []
        self.deaf = False  # no signal but SIGKILL ends it
        self.removed = False
        self.exits = 0
        self.changed = threading.Condition()
        self._flavour = flavour
        self._printed = []  # (stream, bytes)

    @property
    def running(self):
        return self.status in ("running", "stopping")

    def print(self, data, stream="stdout"):
        """Print bytes; a terminal has only one stream."""
        with self.changed:
            self._printed.append(("stdout" if self.tty else stream, data))
            self.changed.notify_all()

    def end(self, exit_code=0, *, oom=False):
        """End with this exit code, by the kernel for want of memory if `oom`."""
        with self.changed:
            self.status, self.exit_code, self.oom = "exited", 137 if oom else exit_code, oom
            self.finished_at = now()
            self.exits += 1
            self.changed.notify_all()

    def clean_up_late(self):
        """Podman: the program has ended, and nobody has tidied up yet: the state is `stopped`."""
        self.status = "stopped"

    def start(self):
        with self.changed:
            self.status, self.started_at = "running", now()
            self.changed.notify_all()

    def take(self, number):
        self.signals.append(number)
        if number == 9 or (number == 15 and not self.deaf):
            self.end(128 + number)

    def printed(self):
        return len(self._printed)

    def frames(self, start, streams):
        """What was printed from piece `start` on, as it goes over the wire, and the number of pieces."""
        with self.changed:
            pieces = self._printed[start:]
        chosen = [(STREAMS[stream], data) for stream, data in pieces if stream in streams]
        framed = (data if self.tty else struct.pack(">BxxxL", number, len(data)) + data for number, data in chosen)
        return b"".join(framed), start + len(pieces)

    def state(self):
        status = self.status
        if self._flavour.podman and not self._flavour.own_states:
            status = {"stopped": "exited", "stopping": "running", "initialized": "created"}.get(status, status)
        shown = {
            "Status": status,
            "Running": self.status == "running",
            "Paused": False,
            "Restarting": False,
            "OOMKilled": self.oom,
            "Dead": False,
            "Pid": 4711 if self.running else 0,
            "ExitCode": self.exit_code,
            "Error": "",
            "StartedAt": self.started_at,
            "FinishedAt": self.finished_at,
        }
        if self._flavour.podman:
            shown["ConmonPid"] = 4710 if self.running else 0
        return shown

    def labels(self):
        return self.document.get("Labels") or {}

    def networks(self):
        named = list((self.document.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        return named or [(self.document.get("HostConfig") or {}).get("NetworkMode") or "default"]

    def inspected(self):
        host = dict(self.document.get("HostConfig") or {})
        if self._flavour.podman and (host.get("LogConfig") or {}).get("Type") == "k8s-file":
            host["LogConfig"] = {"Type": "json-file", "Config": None}  # shown as Docker's default
        if self._flavour.podman and not self._flavour.cdi:
            host["DeviceRequests"] = None
        config = {key: value for key, value in self.document.items() if key not in ("HostConfig", "NetworkingConfig")}
        if self._flavour.podman:
            config["StopSignal"] = "15"  # a number in a text
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": now(),
            "State": self.state(),
            "Image": self.document.get("Image"),
            "Config": config,
            "HostConfig": host,
            "NetworkSettings": {"Networks": {name: {"NetworkID": name} for name in self.networks()}},
            "Mounts": [],
        }


@dataclass
class FakeNetwork:
    """One network."""

    name: str
    document: dict
    id: str = field(default_factory=lambda: uuid.uuid4().hex * 2)

    def labels(self):
        return self.document.get("Labels") or {}

    def subnets(self):
        return [
            ip_network(one["Subnet"])
            for one in (self.document.get("IPAM") or {}).get("Config") or ()
            if "Subnet" in one
        ]

    def inspected(self):
        return {
            "Name": self.name,
            "Id": self.id,
            "Driver": self.document.get("Driver") or "bridge",
            "Scope": "local",
            "Internal": bool(self.document.get("Internal")),
            "IPAM": {
                "Driver": "default",
                "Options": None,
                "Config": (self.document.get("IPAM") or {}).get("Config") or [],
            },
            "Containers": {},
            "Options": self.document.get("Options") or {},
            "Labels": self.labels(),
        }
