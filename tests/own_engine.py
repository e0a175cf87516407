"""A Docker engine of a test's own, that it may stop, kill and start again. Needs root. PYTEST_DONT_REWRITE

    pytest_plugins = ["own_engine"]
    pytestmark = pytest.mark.usefixtures("needs_own_engine")

Where none can be started, such tests are skipped with the reason; with CLARY_REQUIRE=docker they fail.

It lives in process, network and mount namespaces of its own: its iptables rules, bridges and mounts are not those of the
machine, and whatever it leaves behind ends with the first process of the namespaces. Data lie in a directory that is
removed. Clary reaches it by its socket, like any other engine.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import docker
import pytest

import container_images
from needs import need

# The first process of the namespaces: it reaps whom nobody else does, and ends when the test does.
_FIRST = "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
_WITHIN_S = 60


@cache
def own_engine_problem() -> str | None:
    """Why no engine can be started here; None if one can."""
    if os.geteuid() != 0:
        return "only root can start a Docker engine of its own"
    missing = [name for name in ("dockerd", "unshare", "nsenter", "iptables") if shutil.which(name) is None]
    if missing:
        return f"to start a Docker engine of its own it needs {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no namespaces for a Docker engine: {tried.stderr.strip()}"


@pytest.fixture(scope="session")
def needs_own_engine():
    """An engine can be started."""
    need("docker", own_engine_problem())


class OwnEngine:
    """One engine. `url` is its API; `live_restore`: whether containers outlive it."""

    def __init__(self, root: Path, *, live_restore: bool) -> None:
        self._root = root
        self._live_restore = live_restore
        self.socket = root / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._first = subprocess.Popen(
            [
                *(
                    "unshare",
                    "--net",
                    "--mount",
                    "--pid",
                    "--propagation=slave",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                ),
                *("sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh", sys.executable, "-c", _FIRST),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._first.stdout.readline()
        self._enter: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the engine; returns when it answers."""
        self.begin()
        deadline = time.monotonic() + _WITHIN_S
        while not self._answers():
            assert self._enter.poll() is None, self.log_text()
            assert time.monotonic() < deadline, self.log_text()
            time.sleep(0.05)  # it has no way to say that it is ready

    def begin(self) -> None:
        """Start the engine, without waiting for it."""
        with (self._root / "log").open("ab") as log:
            self._enter = subprocess.Popen(
                [
                    *("nsenter", "--target", str(_child(self._first.pid)), "--net", "--mount", "--pid", "dockerd"),
                    *("--data-root", str(self._root / "data"), "--exec-root", str(self._root / "exec")),
                    *("--pidfile", str(self._root / "pid"), "--host", self.url, "--group", "root"),
                    *("--live-restore",) * self._live_restore,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, number: signal.Signals) -> None:
        """Send the engine itself a signal; returns when it has ended. What it has started is its business."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(_child(self._enter.pid), number)
        self._enter.wait(_WITHIN_S)

    def load(self, image: str) -> None:
        """Give it an image of the machine's engine, by the same name."""
        with contextlib.closing(container_images.client()) as theirs, contextlib.closing(self.client()) as ours:
            ours.load_image(b"".join(theirs.get_image(image)))

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="auto", timeout=_WITHIN_S)

    def close(self) -> None:
        """End it with all that it runs, its containers first: they have control groups on this machine."""
        try:
            if self._enter is not None and self._enter.poll() is not None:
                self.start()
            if self._enter is not None:
                with contextlib.closing(self.client()) as client:
                    for container in client.containers(all=True):
                        client.remove_container(container["Id"], force=True)
                self.end(signal.SIGTERM)
        finally:
            self._first.stdin.close()
            self._first.wait(_WITHIN_S)
            self._first.stdout.close()
            if self._enter is not None:
                self._enter.wait(_WITHIN_S)

    def log_text(self) -> str:
        return (self._root / "log").read_text(errors="replace")[-5000:]

    def _answers(self) -> bool:
        # The client would leave its socket open where nobody listens.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked, contextlib.suppress(OSError):
            asked.settimeout(_WITHIN_S)
            asked.connect(str(self.socket))
            asked.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in asked.recv(100)
        return False


def _child(pid: int) -> int:
    """The only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextlib.contextmanager
def own_engine(*, live_restore: bool) -> Iterator[OwnEngine]:
    """An engine at work; nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="clary-dockerd-"))
    try:
        engine = OwnEngine(root, live_restore=live_restore)
        try:
            engine.start()
            yield engine
        finally:
            engine.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)
