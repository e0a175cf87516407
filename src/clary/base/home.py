"""The home: the one directory in which all state lies, and what of it concerns more than one room.

    home/
      credentials.json   the key pair for clients, generated at the first start (0600)
      server.json        where the server listens, for `clary env`
      server.lock        held by the running server
      token.key          seals page tokens, temporary credentials and the console's sessions
      jobs.db            the jobs (store)
      logs/              log groups and streams (logs)
      instances/         one directory for each ML instance (compute)
      run/               pipes
      tls/               the generated certificate of the TLS listener, and its key
      s3/                the embedded object store (storage)
      kms/               the keys of KMS (keys)
      cache/             objects of File mode channels, for the next job (storage); only if it is switched on

Used by `app` and `cli`. Rooms get their own directories passed in.
"""

import secrets
import string
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.clock import Instant
from clary.base.files import write_atomically


class ClientCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The key pair that clients sign with, and the id of the user that it stands for."""

    access_key_id: str
    secret_access_key: str
    user_id: str


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, or last did.

    `tls_url` is the same over TLS, None without such a listener; `ca_bundle` the file with the certificate that clients
    must be told to trust, None for an operator's own.
    """

    url: str
    s3_endpoint_url: str
    region: str
    account_id: str
    tls_url: str | None = None
    ca_bundle: str | None = None


class Home:
    """Paths below one directory, and the small files in it. Directories are made by `prepare`, for the owner alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "server.lock"
        self.database = root / "jobs.db"
        self.logs = root / "logs"
        self.s3 = root / "s3"
        self.kms = root / "kms"
        self.tls = root / "tls"
        self._credentials = root / "credentials.json"
        self._server = root / "server.json"
        self._token_key = root / "token.key"

    def prepare(self) -> None:
        """Make the directory. Raises OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def credentials(self) -> ClientCredentials:
        """The key pair; generated if there is none yet."""
        if not self._credentials.exists():
            generated = ClientCredentials(
                access_key_id="AKIA" + _random(16, string.ascii_uppercase + "234567"),
                secret_access_key=_random(40, string.ascii_letters + string.digits),
                user_id="AIDA" + _random(17, string.ascii_uppercase + "234567"),
            )
            write_atomically(self._credentials, msgspec.json.encode(generated))
        return typed.from_json(self._credentials.read_bytes(), ClientCredentials)

    def created_at(self) -> Instant:
        """When the key pair was generated, which is when the home came into being."""
        return Instant(self._credentials.stat().st_mtime_ns // 1_000_000)

    def token_key(self) -> bytes:
        """The key that seals page tokens and the like; generated if there is none yet."""
        if not self._token_key.exists():
            write_atomically(self._token_key, secrets.token_bytes(32))
        return self._token_key.read_bytes()

    def server(self) -> ServerInfo | None:
        """Where the server listens, or last did; None if none ever ran here."""
        try:
            return typed.from_json(self._server.read_bytes(), ServerInfo)
        except FileNotFoundError:
            return None

    def note_server(self, info: ServerInfo) -> None:
        """Remember where the server listens."""
        write_atomically(self._server, msgspec.json.encode(info))


def _random(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
