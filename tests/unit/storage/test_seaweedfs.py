"""The embedded store is supervised: it comes back, is adopted, and lets nobody in by a side door."""

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from clary.base.clock import SystemClock
from clary.storage import seaweedfs
from clary.storage.seaweedfs import EmbeddedS3, StoreUnavailable
from weed import running_store, s3_client

pytest_plugins = ["weed"]

_SERVER = """
import asyncio, sys
from pathlib import Path
from clary.base.clock import SystemClock
from clary.storage.seaweedfs import EmbeddedS3

async def main():
    store = EmbeddedS3(Path(sys.argv[1]), clock=SystemClock())
    await store.start()
    print(store.pid, store.endpoint_url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def _wait(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)  # the process that we wait for tells nobody
    return found


def _gone(pid):
    return seaweedfs._start_ticks(pid) is None


@contextlib.contextmanager
def _killed_server(home):
    """A store whose server was killed with SIGKILL; yields (pid of the store, its endpoint)."""
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(home)], stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline().split()
        assert line, "the server did not start"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    try:
        yield int(line[0]), line[1]
    finally:
        for left in seaweedfs._running_on(home / "s3" / "data"):
            os.kill(left, signal.SIGKILL)
            _wait(lambda pid=left: _gone(pid))


def test_killed_store_comes_back_with_its_data(tmp_path):
    """After kill -9 of the store it runs again on the same port, and what was acknowledged is there."""
    with running_store(tmp_path) as store:
        client = store.client()
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="plain", Body=b"before")
        client.put_object(Bucket="bucket", Key="sealed", Body=b"secret", ServerSideEncryption="AES256")
        before, endpoint = store.embedded.pid, store.endpoint_url
        os.kill(before, signal.SIGKILL)
        _wait(lambda: store.embedded.pid not in {None, before})
        store.loop.run(store.embedded.wait_ready())
        assert store.endpoint_url == endpoint
        assert client.get_object(Bucket="bucket", Key="plain")["Body"].read() == b"before"
        assert client.get_object(Bucket="bucket", Key="sealed")["Body"].read() == b"secret"
        assert (tmp_path / "s3").stat().st_mode & 0o777 == 0o700


def test_stop_leaves_no_process_and_no_socket(tmp_path):
    """After `stop` nothing of the store runs, listens or lies in the temporary directory; a second start finds the data."""
    with running_store(tmp_path) as store:
        store.client().create_bucket(Bucket="bucket")
        pid, ports = store.embedded.pid, store.embedded.ports
        _wait(lambda: all(path.exists() for path in ports.sockets()))  # the last service starts after the S3 endpoint
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in ports.sockets())
    assert _gone(pid)
    assert ports.free()
    assert not any(path.exists() for path in ports.sockets())
    with running_store(tmp_path) as store:
        assert store.embedded.ports == ports
        assert [bucket["Name"] for bucket in store.client().list_buckets()["Buckets"]] == ["bucket"]


def test_store_of_a_killed_server_answers_and_is_adopted(tmp_path):
    """While the server is away the store goes on; the next server takes the same process over and stops it in the end."""
    with _killed_server(tmp_path) as (pid, endpoint):
        kept = seaweedfs.files.load_secrets(tmp_path / "s3")
        client = s3_client(endpoint, kept.access_key_id, kept.secret_access_key)
        client.create_bucket(Bucket="while-away")
        with running_store(tmp_path) as store:
            assert (store.embedded.pid, store.endpoint_url) == (pid, endpoint)
            os.kill(pid, signal.SIGKILL)  # an adopted store is supervised as our own is
            _wait(lambda: store.embedded.pid not in {None, pid})
            store.loop.run(store.embedded.wait_ready())
            assert store.client().head_bucket(Bucket="while-away")
        assert _gone(pid)


def test_store_with_another_command_line_is_replaced_on_the_same_ports(tmp_path, monkeypatch):
    """After an upgrade that changes an option the old store is stopped, and the new one answers where it did."""
    with _killed_server(tmp_path) as (pid, endpoint):
        command = seaweedfs.files.command
        monkeypatch.setattr(seaweedfs.files, "command", lambda *args: [*command(*args), "-volume.compactionMBps=50"])
        with running_store(tmp_path) as store:
            assert _gone(pid)
            assert store.embedded.pid != pid
            assert store.endpoint_url == endpoint


def test_store_that_asks_another_kms_is_replaced_on_the_same_ports(tmp_path):
    """It reads where its KMS is at its start alone. That nobody answers there keeps it from nothing but encryption."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        kms_url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with _killed_server(tmp_path) as (pid, endpoint), running_store(tmp_path, kms_url=kms_url) as store:
            assert _gone(pid)
            assert store.embedded.pid != pid
            assert store.endpoint_url == endpoint
            store.client().create_bucket(Bucket="bucket")
            store.client().put_object(Bucket="bucket", Key="k", Body=b"x")


def test_ports_taken_meanwhile_are_replaced(tmp_path):
    """When somebody else has taken a port since the last start, the store starts on others, with its data."""
    with running_store(tmp_path) as store:
        store.client().create_bucket(Bucket="bucket")
        ports = store.embedded.ports
    with socket.create_server(("127.0.0.1", ports.master)), running_store(tmp_path) as store:
        assert not set(store.embedded.ports.all()) & {ports.master}
        assert store.client().head_bucket(Bucket="bucket")


def test_second_server_on_one_home_is_refused(tmp_path):
    """Two servers never supervise one data directory, and the refused one leaves the store alone."""
    with running_store(tmp_path) as store:
        pid = store.embedded.pid
        second = EmbeddedS3(tmp_path, clock=SystemClock())
        with pytest.raises(StoreUnavailable, match="another server uses"):
            store.loop.run(second.start())
        assert store.embedded.pid == pid


def test_unusable_program_and_disk(tmp_path):
    """A program that cannot run, and a home that cannot be written, are named with what helps."""
    fake = tmp_path / "weed"
    fake.write_text("#!/bin/sh\necho no such option >&2; exit 3\n")
    with pytest.raises(StoreUnavailable, match="chmod"):
        _start(EmbeddedS3(tmp_path / "a", clock=SystemClock(), binary=fake))
    fake.chmod(0o700)
    with pytest.raises(StoreUnavailable, match=r"ended with 3 .*no such option"):
        _start(EmbeddedS3(tmp_path / "a", clock=SystemClock(), binary=fake))
    fake.write_bytes(b"\x7fELF")
    with pytest.raises(StoreUnavailable, match="cannot be started"):
        _start(EmbeddedS3(tmp_path / "a", clock=SystemClock(), binary=fake))
    with pytest.raises(StoreUnavailable, match="is missing"):
        _start(EmbeddedS3(tmp_path / "a", clock=SystemClock(), binary=tmp_path / "nothing"))
    (tmp_path / "file").write_text("a file where a directory should be")
    with pytest.raises(StoreUnavailable, match="free the disk or choose another home"):
        _start(EmbeddedS3(tmp_path / "file", clock=SystemClock()))


def _start(store):
    asyncio.run(store.start())


def test_log_of_the_program_is_bounded(tmp_path):
    """A log over 10 MB is begun anew at the start, and one old part is kept."""
    (tmp_path / "s3").mkdir()
    log = tmp_path / "s3" / "weed.log"
    log.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    with running_store(tmp_path):
        assert log.stat().st_size < 1024 * 1024
        assert (tmp_path / "s3" / "weed.log.1").stat().st_size == 10 * 1024 * 1024 + 1


def _listening(pid):
    """The (address in hex, port) of each TCP socket on which the process listens, and the remote ends of all others."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening, remote = set(), set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                if fields[3] == "0A":
                    listening.add((address, int(port, 16)))
                else:
                    remote.add(fields[2].partition(":")[0])
    return listening, remote


def test_all_sockets_are_on_loopback(weed_store, weed_bucket):
    """The program listens on its ten ports of 127.0.0.1 alone, speaks to 127.0.0.1 alone, and sends no statistics."""
    weed_store.client().put_object(Bucket=weed_bucket, Key="k", Body=b"x")
    _wait(lambda: len(_listening(weed_store.embedded.pid)[0]) >= 10)
    listening, remote = _listening(weed_store.embedded.pid)
    assert listening == {("0100007F", port) for port in weed_store.embedded.ports.all()}
    assert remote <= {"0100007F"}
    line = Path(f"/proc/{weed_store.embedded.pid}/cmdline").read_bytes().split(b"\0")
    assert b"-master.telemetry=false" in line


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("filer", "GET", "/"),
        ("filer", "GET", "/buckets/{bucket}/k"),
        ("filer", "PUT", "/buckets/{bucket}/k"),
        ("filer", "DELETE", "/buckets/{bucket}?recursive=true"),
        ("filer", "GET", "/etc/iam/identity.json"),
        ("volume", "GET", "/1,0123456789"),
        ("volume", "PUT", "/1,0123456789"),
        ("volume", "DELETE", "/1,0123456789"),
        ("volume", "GET", "/ui/index.html"),
        ("master", "GET", "/col/delete?collection={bucket}"),
        ("master", "GET", "/dir/assign"),
        ("master", "GET", "/dir/status"),
        ("master", "POST", "/submit"),
        ("admin", "GET", "/"),
        ("s3", "GET", "/{bucket}/k"),
        ("s3", "PUT", "/{bucket}/k"),
        ("s3", "GET", "/"),
    ],
)
def test_side_doors_are_shut(weed_store, weed_bucket, service, method, path):
    """Without credentials no port of the store gives, takes or deletes anything."""
    client = weed_store.client()
    client.put_object(Bucket=weed_bucket, Key="k", Body=b"mine")
    port = getattr(weed_store.embedded.ports, service)
    body = b"theirs" if method in {"PUT", "POST"} else None
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path.format(bucket=weed_bucket)}", data=body, method=method
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
    refused = {"master": 400, "admin": 404, "s3": 403}  # master: "Client sent an HTTP request to an HTTPS server."
    assert refusal.value.code == refused.get(service, 401)
    refusal.value.close()
    assert client.get_object(Bucket=weed_bucket, Key="k")["Body"].read() == b"mine"


def test_grpc_ports_demand_our_certificate(weed_store, weed_bucket):
    """`weed shell`, which needs no password of its own, can neither look nor delete on the gRPC ports and sockets."""
    client = weed_store.client()
    client.put_object(Bucket=weed_bucket, Key="k", Body=b"mine")
    ports = weed_store.embedded.ports
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    addresses = [(socket.AF_INET, ("127.0.0.1", port)) for port in ports.all()[5:]]
    addresses += [(socket.AF_UNIX, str(path)) for path in ports.sockets()]
    for family, address in addresses:
        with socket.socket(family) as connection:
            connection.settimeout(5)
            connection.connect(address)
            connection.sendall(preface)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b"", address
    shell = subprocess.Popen(
        [seaweedfs.files.find_binary(), "shell", f"-master=127.0.0.1:{ports.master}", f"-filer=127.0.0.1:{ports.filer}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={"HOME": "/nonexistent"}, cwd="/",
    )  # fmt: skip
    try:
        said, _ = shell.communicate(f"fs.rm /buckets/{weed_bucket}/k\nfs.ls /buckets\n".encode(), timeout=3)
    except subprocess.TimeoutExpired:  # it goes on trying for ever
        shell.kill()
        said, _ = shell.communicate()
    assert weed_bucket.encode() not in said
    assert client.get_object(Bucket=weed_bucket, Key="k")["Body"].read() == b"mine"


def test_more_buckets_than_the_default_allows(weed_store):
    """Each bucket takes a volume of its own, and by default there is no room for a 61st."""
    client = weed_store.client()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: weed_store.bucket(), range(65)))
        list(pool.map(lambda name: client.put_object(Bucket=name, Key="k", Body=b"x"), names))
