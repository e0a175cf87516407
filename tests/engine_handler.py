"""The routes of `engine_api`: each answers as the engine does that it stands for."""

import contextlib
import io
import json
import re
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from engine_objects import STREAMS, FakeContainer, FakeNetwork, image, now
from engine_words import Refused, refusal


@dataclass(frozen=True)
class Request:
    """What was asked: `query` with one value each, `body` as read from JSON."""

    method: str
    path: str
    query: dict
    body: object
    headers: dict

    def __str__(self):
        return f"{self.method} {self.path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.client_address = ("", 0)  # a Unix socket has none, and the base class wants one
        self.engine = self.server.engine
        self.engine.note_line(self.connection)

    def finish(self):
        self.engine.forget_line(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self):
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()

    def do_GET(self):
        self._serve()

    do_POST = do_DELETE = do_HEAD = do_GET

    def version_string(self):
        return ""

    def _serve(self):
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        request = Request(
            self.command,
            unquote(re.sub(r"^/v\d[\d.]*(?=/)", "", split.path)),
            {name: values[0] for name, values in parse_qs(split.query).items()},
            json.loads(body) if body and "json" in (self.headers.get("Content-Type") or "") else None,
            dict(self.headers),
        )
        self.engine.requests.append(request)
        trouble = self.engine.trouble(request)
        try:
            if trouble is not None:
                if trouble.delay_s:
                    time.sleep(trouble.delay_s)  # the slowness that the test asked for
                elif trouble.status:
                    raise Refused(trouble.status, trouble.message)
                else:
                    self.close_connection = True
                    if trouble.done:
                        self.wfile = io.BytesIO()
                        self._route(request)
                    self.connection.shutdown(2)
                    return
            self._route(request)
        except Refused as refused:
            self.answer(refused.status, self.error(refused))

    def _route(self, request):
        for (method, pattern), route in _ROUTES.items():
            found = re.fullmatch(pattern, request.path)
            if found and method == request.method:
                route(self, request, *found.groups())
                return
        raise self.refusal("no page")

    def error(self, refused):
        said = {"message": str(refused)}
        if self.engine.flavour.podman:
            said |= {"cause": str(refused).rpartition(": ")[2], "response": refused.status}
        return said

    def answer(self, status, document=None):
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self._own_headers()
        if status not in (204, 304):
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin_stream(self, content_type=None):
        self.send_response(200)
        self._own_headers()
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def stream(self, data):
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def _own_headers(self):
        flavour = self.engine.flavour
        self.send_header("Api-Version", flavour.api)
        if flavour.podman:
            self.send_header("Libpod-API-Version", flavour.version)
            self.send_header("Server", f"Libpod/{flavour.version} (linux)")
        else:
            self.send_header("Server", f"Docker/{flavour.version} (linux)")

    def container(self, name):
        for one in self.engine.containers.values():
            if name == one.name or one.id.startswith(name):
                return one
        raise self.refusal("no container", name=name)

    def network(self, name):
        for one in self.engine.networks.values():
            if name == one.name or one.id.startswith(name):
                return one
        raise self.refusal("no network", name=name)

    def image(self, name):
        for known, one in self.engine.images.items():
            names = (known, one["Id"], *one["RepoTags"], *one["RepoDigests"])
            if name in names or one["Id"].startswith(f"sha256:{name}"):
                return one
        return None

    def refusal(self, what, **facts):
        return refusal(what, podman=self.podman, **facts)

    @property
    def podman(self):
        return self.engine.flavour.podman

    # The system

    def ping(self, _):
        self.send_response(200)
        self._own_headers()
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"OK")

    def version(self, _):
        flavour = self.engine.flavour
        component = {"Name": "Podman Engine" if self.podman else "Engine", "Version": flavour.version, "Details": {}}
        self.answer(
            200,
            {
                "Version": flavour.version,
                "ApiVersion": flavour.api,
                "MinAPIVersion": "1.24" if self.podman else "1.12",
                "Os": "linux",
                "Arch": image()["Architecture"],
                "Components": [component],
            },
        )

    def system_info(self, _):
        flavour = self.engine.flavour
        limits = not (flavour.rootless and flavour.cgroup_version == "1")
        self.answer(
            200,
            {
                "ServerVersion": flavour.version,
                "NCPU": 2,
                "MemTotal": 8 << 30,
                "SecurityOptions": ["name=seccomp,profile=default", *(["name=rootless"] if flavour.rootless else [])],
                "CgroupVersion": flavour.cgroup_version,
                "Runtimes": {"crun": {"path": "/usr/bin/crun"}} if self.podman else {"runc": {"path": "runc"}},
                "MemoryLimit": limits,
                "CpuCfsQuota": limits,
                "PidsLimit": limits,
                "LoggingDriver": "" if self.podman else "json-file",  # journald, mostly; it does not say
                "SystemTime": now(),
                "DockerRootDir": "/var/lib/containers/storage" if self.podman else "/var/lib/docker",
                "LiveRestoreEnabled": False,
            }
            | self.engine.info,
        )

    # Images

    def inspect_image(self, _, name):
        found = self.image(name)
        if found is None:
            raise self.refusal("no image", name=name)
        self.answer(200, found)

    def pull(self, request):
        tag = request.query.get("tag", "")
        separator = "@" if tag.startswith("sha256:") else ":"
        name = request.query["fromImage"] + (separator + tag if tag else "")
        messages = self.engine.pulls.get(name)
        if messages is None:
            raise self.refusal("pull: no image", name=name)
        if isinstance(messages, Refused):
            raise messages
        self.begin_stream("application/json")
        for message in messages:
            self.stream(json.dumps(message).encode() + b"\r\n")
        if not any("error" in message for message in messages):
            self.engine.images[name] = self.engine.pulled.get(name) or image()
        self.end_stream()

    # Containers

    def create(self, request):
        engine, document, name = self.engine, request.body, request.query.get("name") or uuid.uuid4().hex
        host = document.get("HostConfig") or {}
        with engine.lock:
            if self.image(document["Image"]) is None:
                raise self.refusal("create: no image", name=document["Image"])
            for one in engine.containers.values():
                if one.name == name:
                    raise self.refusal("create: name taken", name=name, id=one.id)
            driver = (host.get("LogConfig") or {}).get("Type") or ""
            if driver not in _LOG_DRIVERS[self.podman]:
                raise self.refusal("create: log driver", name=driver)
            for mount in host.get("Mounts") or ():
                source = Path(mount["Source"])
                if mount["Type"] == "bind" and self.podman:
                    source.mkdir(parents=True, exist_ok=True) if not source.exists() else None
                elif mount["Type"] == "bind" and not source.exists():
                    raise self.refusal("create: no mount source", name=source)
            made = FakeContainer(name, document, engine.flavour)
            engine.containers[made.id] = made
        self.answer(201, {"Id": made.id, "Warnings": []})

    def inspect(self, _, name):
        self.answer(200, self.container(name).inspected())

    def list_containers(self, request):
        filters = json.loads(request.query.get("filters") or "{}")
        found = []
        for one in self.engine.containers.values():
            wanted = set(filters.get("label") or ())
            if not (one.running or _true(request, "all")) or not wanted <= labelled(one.labels()):
                continue
            if "name" in filters and not any(wanted in one.name for wanted in filters["name"]):
                continue
            found.append(
                {
                    "Id": one.id,
                    "Names": [f"/{one.name}"],
                    "State": one.state()["Status"],
                    "Labels": one.labels(),
                    "Image": one.document["Image"],
                }
            )
        self.answer(200, found)

    def start(self, _, name):
        container = self.container(name)
        with self.engine.lock:
            if container.running:
                self.answer(304)
                return
            self.check_executable(container)
            container.start()
        self.engine.on_start(container)
        self.answer(204)

    def check_executable(self, container):
        command = [*(container.document.get("Entrypoint") or ()), *(container.document.get("Cmd") or ())]
        trouble = self.engine.cannot_exec.get(command[0] if command else "")
        if trouble:
            if not self.podman:
                container.exit_code = 127 if trouble == "missing" else 126  # and the state stays `created`
            raise self.refusal(f"start: {trouble}", name=command[0])

    def wait(self, request, name):
        container = self.container(name)
        condition = request.query.get("condition") or "not-running"
        if condition not in ("not-running", "next-exit", "removed"):
            raise self.refusal("wait: condition", name=condition)
        self.begin_stream("application/json")  # the answer begins before the end comes
        self.wfile.flush()
        if condition == "next-exit" and self.engine.flavour.late_wait:
            time.sleep(_LATE_S)  # an exit until now is missed, and the wait has no end
        exits = container.exits
        over = {
            "not-running": lambda: not container.running,
            "next-exit": lambda: container.exits > exits or container.removed,
            "removed": lambda: container.removed,
        }[condition]
        with container.changed:
            while not self.engine.away and not over():
                container.changed.wait(0.02)
        if self.engine.away:
            raise ConnectionResetError
        self.stream(json.dumps({"StatusCode": container.exit_code, "Error": None}).encode())
        self.end_stream()

    def kill(self, request, name):
        container = self.container(name)
        signal = request.query.get("signal", "9")
        if not container.running:
            raise self.refusal("kill: not running", name=name, id=container.id, state=container.status)
        container.take({"SIGKILL": 9, "KILL": 9, "SIGTERM": 15, "TERM": 15}.get(signal) or int(signal))
        self.answer(204)

    def logs(self, request, name):
        container = self.container(name)
        streams = [one for one in STREAMS if _true(request, one)]
        if not streams:
            raise self.refusal("logs: no stream")
        self.begin_stream()
        ended = lambda: not container.running  # noqa: E731
        self._copy(container, streams, ended, follow=_true(request, "follow"), write=self.stream)
        self.end_stream()

    def attach(self, request, name):
        container = self.container(name)
        if self.podman and not container.running:
            self.check_executable(container)  # attaching makes it ready to run, anew if it has ended
            container.status, container.exit_code = "initialized", 0
        kind = "raw"
        if not container.tty and tuple(map(int, self.engine.flavour.api.split("."))) >= (1, 42):
            kind = "multiplexed"
        lines = ["HTTP/1.1 200 OK", f"Content-Type: application/vnd.docker.{kind}-stream"]
        if upgrade := self.headers.get("Upgrade"):
            lines = ["HTTP/1.1 101 UPGRADED", lines[1], "Connection: Upgrade", f"Upgrade: {upgrade}"]
        self.close_connection = True
        self.wfile.write("\r\n".join([*lines, "", ""]).encode())
        streams = [one for one in STREAMS if _true(request, one)]
        start, exits = 0 if _true(request, "logs") else container.printed(), container.exits
        ended = lambda: container.exits > exits  # noqa: E731  one that has not started, or has ended, may start yet
        self._copy(container, streams, ended, follow=_true(request, "stream"), write=self.wfile.write, start=start)

    def _copy(self, container, streams, ended, *, follow, write, start=0):
        while True:
            over = ended() or container.removed  # asked before the output is read: nothing comes after it
            data, start = container.frames(start, streams)
            write(data)
            self.wfile.flush()
            if self.engine.away:
                raise ConnectionResetError
            if over or not follow:
                return
            with container.changed:
                if not ended() and start == container.printed():
                    container.changed.wait(0.02)

    def stats(self, _, name):
        container = self.container(name)
        if not container.running and self.podman:
            self.answer(200)  # the header is out before it finds that there is no control group, and nothing follows
            return
        memory = {"usage": 3 << 20, "stats": None if self.podman else {"inactive_file": 1 << 20}, "limit": 8 << 30}
        used = {"total_usage": 2_500_000_000} if container.running else {"total_usage": 0}
        self.answer(200, {"cpu_stats": {"cpu_usage": used}, "memory_stats": memory if container.running else {}})

    def remove(self, request, name):
        container = self.container(name)
        if container.running and not _true(request, "force"):
            raise self.refusal("remove: running", id=container.id)
        if container.running:
            container.end(137)
        with container.changed:
            container.removed = True
            container.changed.notify_all()
        with self.engine.lock:
            self.engine.containers.pop(container.id, None)
        self.answer(204)

    # Networks

    def list_networks(self, request):
        filters = json.loads(request.query.get("filters") or "{}")
        names, wanted = filters.get("name") or [""], set(filters.get("label") or ())
        networks = [one for one in self.engine.networks.values() if any(name in one.name for name in names)]
        self.answer(200, [one.inspected() for one in networks if wanted <= labelled(one.labels())])

    def create_network(self, request):
        engine, document = self.engine, request.body
        made = FakeNetwork(document["Name"], document)
        with engine.lock:
            for one in engine.networks.values():
                if one.name == made.name and (self.podman or document.get("CheckDuplicate")):
                    raise self.refusal("network: name taken", name=made.name)
                for subnet in made.subnets():
                    if any(subnet.overlaps(other) for other in one.subnets()):
                        raise self.refusal("network: overlap", name=subnet)
            engine.networks[made.id] = made
        warning = ""
        for option, value in (document.get("Options") or {}).items():
            if self.podman and option not in ("mtu", "com.docker.network.driver.mtu", "com.docker.network.bridge.name"):
                warning = f'"{option}: {value}" is not a recognized option'
        self.answer(201, {"Id": made.id, "Warning": warning})

    def inspect_network(self, _, name):
        self.answer(200, self.network(name).inspected())

    def remove_network(self, _, name):
        network = self.network(name)
        for one in self.engine.containers.values():
            # Docker minds only those that run, Podman every one that is there.
            if (self.podman or one.running) and {network.name, network.id} & set(one.networks()):
                raise self.refusal("network: in use", name=network.name, id=network.id)
        with self.engine.lock:
            self.engine.networks.pop(network.id, None)
        self.answer(204)


_LATE_S = 0.2
_LOG_DRIVERS = (
    ("", "awslogs", "fluentd", "gcplogs", "gelf", "journald", "json-file", "local", "none", "splunk", "syslog"),
    ("", "journald", "json-file", "k8s-file", "none", "passthrough"),
)


def labelled(labels):
    """All that a filter of labels may name: each label, and each with its value."""
    return {f"{key}={value}" for key, value in labels.items()} | set(labels)


def _true(request, name):
    return request.query.get(name, "0").lower() in ("1", "true")


_ROUTES = {
    ("GET", "/_ping"): Handler.ping,
    ("HEAD", "/_ping"): Handler.ping,
    ("GET", "/version"): Handler.version,
    ("GET", "/info"): Handler.system_info,
    ("POST", "/images/create"): Handler.pull,
    ("GET", "/images/(.+)/json"): Handler.inspect_image,
    ("GET", "/containers/json"): Handler.list_containers,
    ("POST", "/containers/create"): Handler.create,
    ("GET", "/containers/([^/]+)/json"): Handler.inspect,
    ("POST", "/containers/([^/]+)/start"): Handler.start,
    ("POST", "/containers/([^/]+)/wait"): Handler.wait,
    ("POST", "/containers/([^/]+)/kill"): Handler.kill,
    ("GET", "/containers/([^/]+)/logs"): Handler.logs,
    ("POST", "/containers/([^/]+)/attach"): Handler.attach,
    ("GET", "/containers/([^/]+)/stats"): Handler.stats,
    ("DELETE", "/containers/([^/]+)"): Handler.remove,
    ("GET", "/networks"): Handler.list_networks,
    ("POST", "/networks/create"): Handler.create_network,
    ("GET", "/networks/([^/]+)"): Handler.inspect_network,
    ("DELETE", "/networks/([^/]+)"): Handler.remove_network,
}
