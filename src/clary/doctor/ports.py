"""Whether the server can listen where the settings say, or does so already.

Called by `examination`. `listening_finding` is pure; `gather_listening` binds each address for a moment.
"""

import errno
import os
import socket
from urllib.parse import urlsplit

import msgspec

from clary.base.files import is_locked
from clary.base.home import Home
from clary.doctor.finding import Finding, missing, ok


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """An address from the settings. `error`: why it cannot be bound, as errno; `ours`: our own server has it."""

    setting: str
    host: str
    port: int
    error: int | None
    ours: bool


def listening_finding(facts: Listening) -> Finding:
    """Whether `clary serve` gets the address."""
    where = f"[{facts.host}]:{facts.port}" if ":" in facts.host else f"{facts.host}:{facts.port}"
    if facts.ours:
        return ok(facts.setting, f"{where} is where the server of this home listens now")
    if facts.error is None:
        return ok(facts.setting, f"{where} is free" if facts.port else f"any free port of {facts.host}")
    other = "choose another with --listen" if facts.setting == "listen" else f"change the setting {facts.setting}"
    if facts.error == errno.EADDRINUSE:
        return missing(facts.setting, f"{where} is taken by another program", f"{other}, or see who has it: ss -ltnp")
    if facts.error == errno.EADDRNOTAVAIL:
        return missing(facts.setting, f"{facts.host} is no address of this machine", other)
    if facts.error == errno.EACCES:
        return missing(facts.setting, f"ports below 1024 are not for you ({where})", other)
    return missing(facts.setting, f"{where}: {os.strerror(facts.error)}", other)


def gather_listening(setting: str, host: str, port: int, home: Home) -> Listening:
    """Try it."""
    return Listening(
        setting=setting, host=host, port=port, error=_bound(host, port), ours=port in _our_ports(home) and port != 0
    )


def _bound(host: str, port: int) -> int | None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error.errno or errno.EIO
    return None


def _our_ports(home: Home) -> set[int]:
    """Where the server of this home listens; none if it does not run, or the home is not ours to look into."""
    try:
        info = home.server() if is_locked(home.lock) else None
    except (OSError, msgspec.DecodeError):
        return set()
    urls = (info.url, info.tls_url, info.s3_endpoint_url) if info else ()
    return {port for url in urls if url and (port := urlsplit(url).port)}
