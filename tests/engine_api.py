"""A container engine's API on a Unix socket, as Docker speaks it or as Podman's compatible API does, scripted by a test.

    with EngineApi(tmp_path / "engine.sock", PODMAN) as engine:
        engine.images["busybox"] = image()
        runtime = DockerRuntime(engine.url)
        ...
        engine.container("clary-1").print(b"hello\r\n"); engine.container("clary-1").end(3)

Nothing runs: a container prints and ends when the test says so, or as `on_start` says. `requests` holds what was asked.
`fail`, `drop` and `delay` break the next calls of a route; `go_away` and `come_back` are the daemon's end and return.

Docker's answers were recorded from 20.10.24 (tests/unit/runtimes/test_engine_api.py compares them with a real one's).
Podman's are read off its sources, containers/podman `pkg/api/handlers/compat` and `libpod` from v4.3 to main of May 2026;
no Podman was asked. docs/containers.md tells the differences.
"""

import contextlib
import re
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass

from engine_handler import Handler
from engine_objects import DOCKER, ZERO_TIME, FakeContainer, now


@dataclass
class Trouble:
    """What befalls the next `times` calls of a route: an answer (`status`), silence (`delay_s`), or the line is cut."""

    route: str
    times: int
    status: int = 0
    message: str = ""
    delay_s: float = 0.0
    done: bool = False


class EngineApi:
    """The engine. `info` is added to what /info says; `pulls` maps a name to the messages of its pull, or a `Refused`."""

    def __init__(self, path, flavour=DOCKER, *, info=None):
        self.path = path
        self.url = f"unix://{path}"
        self.flavour = flavour
        self.info = info or {}
        self.images = {}
        self.pulls = {}
        self.pulled = {}  # what a pull leaves, where not any image will do
        self.containers = {}
        self.networks = {}
        self.requests = []
        self.cannot_exec = {}  # the first word of a command to what is wrong with it: "missing" or "forbidden"
        self.on_start: Callable[[FakeContainer], None] = lambda container: None
        self.lock = threading.RLock()
        self.away = False
        self._troubles = []
        self._lines = set()
        self._server = None

    def __enter__(self):
        self.come_back()
        return self

    def __exit__(self, *_):
        self.go_away()

    def container(self, name=""):
        """The container whose name contains this; there must be one."""
        (found,) = [one for one in self.containers.values() if name in one.name]
        return found

    def asked(self, method, pattern):
        """The requests to paths that the pattern matches."""
        return [one for one in self.requests if one.method == method and re.search(pattern, one.path)]

    def fail(self, route, status=500, message="something broke", *, times=1):
        """Answer the next calls with an error. A route is "POST /containers/create": a method and a pattern."""
        self._troubles.append(Trouble(route, times, status=status, message=message))

    def drop(self, route, *, times=1, done=False):
        """Cut the line instead of answering; if `done`, after the work, so that only the answer is lost."""
        self._troubles.append(Trouble(route, times, done=done))

    def delay(self, route, seconds, *, times=1):
        """Answer late."""
        self._troubles.append(Trouble(route, times, delay_s=seconds))

    def trouble(self, request):
        for one in self._troubles:
            method, _, pattern = one.route.partition(" ")
            if one.times and request.method == method and re.search(pattern, request.path):
                one.times -= 1
                return one
        return None

    def go_away(self, *, remove_socket=True):
        """The daemon ends: every line is cut, and nobody listens. Containers stay as they are."""
        if self._server is None:
            return
        self.away = True
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self.lock:
            lines, self._lines = self._lines, set()
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(2)
        if remove_socket:
            self.path.unlink(missing_ok=True)

    def come_back(self):
        """The daemon listens (again)."""
        self.path.unlink(missing_ok=True)
        self.away = False
        server = socketserver.ThreadingUnixStreamServer(str(self.path), Handler)
        server.daemon_threads, server.block_on_close = True, False
        server.engine = self
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def reboot(self):
        """The machine was started anew: what became of the containers that ran. Docker makes up an exit code and a time
        of the end; Podman says exited with 0, and no time at all.
        """
        for container in self.containers.values():
            if container.running:
                with container.changed:
                    container.status = "exited"
                    container.exit_code = 0 if self.flavour.podman else 255
                    container.finished_at = ZERO_TIME if self.flavour.podman else now()
                    container.exits += 1
                    container.changed.notify_all()

    def note_line(self, line):
        with self.lock:
            self._lines.add(line)

    def forget_line(self, line):
        with self.lock:
            self._lines.discard(line)
