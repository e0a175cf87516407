"""Settings: one table of them, and one place where they are read.

A setting comes from, in this order: the command line, the environment (`CLARY_` and the name in capitals), the TOML file
that `config` names (default: config.toml in the home, if it is there), the default. An unknown name in the file, or a
value of the wrong kind, is refused: a setting with a slip of the pen must not be ignored.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class InvalidSetting(Exception):
    """A setting is not what it should be; the text says which and why."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting by name, with its default as text and what it is for."""

    name: str
    default: str
    help: str


def _default_instances() -> str:
    return str(max(4, 2 * (os.cpu_count() or 1)))


SETTINGS: tuple[Setting, ...] = (
    Setting(name="home", default="~/.clary", help="directory of all state"),
    Setting(
        name="config", default="", help="TOML file with settings; default: config.toml in the home, if it is there"
    ),
    Setting(name="listen", default="127.0.0.1:7243", help="address and port of the API; port 0: any free one"),
    Setting(name="tls_listen", default="", help="address and port of the same API over TLS; empty: none"),
    Setting(
        name="tls_certificate",
        default="",
        help="PEM file of the certificate of the TLS listener, followed by its chain; empty: one made here, kept in the home",
    ),
    Setting(name="tls_key", default="", help="PEM file of the private key of `tls_certificate`"),
    Setting(name="account_id", default="000000000000", help="AWS account id in ARNs, 12 digits"),
    Setting(name="region", default="us-east-1", help="AWS region in ARNs and answers"),
    Setting(name="instances", default=_default_instances(), help="how many ML instances may run at the same time"),
    Setting(
        name="images", default="", help="TOML file with rules of the image catalogue that come before the built-in ones"
    ),
    Setting(
        name="instance_limits",
        default="on",
        help="on: a container gets the processors and the memory of its InstanceType, where this machine has more; off: "
        "all that this machine has",
    ),
    Setting(
        name="volumes",
        default="auto",
        help="whether VolumeSizeInGB is a limit: auto: where this machine can (Linux, as root, with loop devices); "
        "required: else CreateTrainingJob is refused; off: never",
    ),
    Setting(
        name="container_engine",
        default="auto",
        help="Docker Engine API that runs training images: a URL such as unix:///run/docker.sock; auto: DOCKER_HOST, else "
        "Docker's or Podman's socket where there is one; none: images need a rule of the catalogue",
    ),
    Setting(
        name="ecr_profile",
        default="",
        help="profile of ~/.aws/config whose credentials log in at Amazon ECR when an image is pulled; empty: Docker's own "
        "configuration does, as for all other registries",
    ),
    Setting(
        name="file_systems",
        default="",
        help="directories of this machine that stand for EFS and FSx for Lustre file systems: FileSystemId=DIRECTORY, "
        "several separated by spaces or line ends",
    ),
    Setting(
        name="input_cache_bytes",
        default="0",
        help="how much disk the cache of File mode channels may take: objects that a job brought are there for the next one; "
        "0: no cache",
    ),
    Setting(
        name="input_cache",
        default="",
        help="directory of that cache, which other users may not write to; empty: cache in the home",
    ),
    Setting(
        name="verify_multipart_etags",
        default="off",
        help="on: objects that were uploaded in parts without a CRC-32 are held against their ETags; that costs some 1.5 "
        "seconds of a processor for each GB, and refuses what the embedded store composed of other objects (see semantics.md); "
        "off: they are not",
    ),
    Setting(
        name="fast_file",
        default="refuse",
        help="what becomes of channels of the input mode FastFile where this machine can mount nothing (FUSE): refuse: "
        "CreateTrainingJob is refused; download: all of them is brought before the program starts, as in File mode",
    ),
    Setting(name="s3_port", default="0", help="port of the embedded S3; 0: a free one, kept from then on"),
    Setting(name="body_limit_bytes", default="1048576", help="largest request body of the API, S3 excepted"),
    Setting(
        name="throttle_rps",
        default="",
        help="requests a second that each service takes before it answers ThrottlingException: a number, or by class of "
        "operations, such as create=1 read=20 write=5; empty: no limit",
    ),
    Setting(name="throttle_burst", default="10", help="how many requests of a class may come at once when throttled"),
    Setting(name="log_level", default="info", help="debug, info, warning or error"),
)


_FILE_SYSTEM_ID = r"fs-[0-9a-f]{8,18}"  # Source: API model, FileSystemId
_THROTTLE_CLASSES = ("create", "read", "write")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, read and checked. `listen_host` and `listen_port` are the parts of `listen`.

    `tls_listen` has the same two parts, None for no such listener; `tls_certificate` and `tls_key` are both there or none.
    """

    home: Path
    listen_host: str
    listen_port: int
    tls_listen: tuple[str, int] | None
    tls_certificate: Path | None
    tls_key: Path | None
    account_id: str
    region: str
    instances: int
    images: Path | None
    ecr_profile: str
    instance_limits: bool
    volumes: str
    container_engine: str
    file_systems: Mapping[str, Path]
    input_cache_bytes: int
    input_cache: Path
    verify_multipart_etags: bool
    fast_file: str
    s3_port: int
    body_limit_bytes: int
    throttle_rps: Mapping[str, float]
    throttle_burst: int
    log_level: str


def load(command_line: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """The settings. Raises `InvalidSetting`."""
    given = {name: value for name, value in command_line.items() if value is not None}
    for setting in SETTINGS:
        value = environment.get(f"CLARY_{setting.name.upper()}")
        if value is not None:
            given.setdefault(setting.name, value)
    defaults = {setting.name: setting.default for setting in SETTINGS}
    home = Path(given.get("home", defaults["home"])).expanduser().absolute()
    values = defaults | _file(given.get("config"), home) | given
    listen_host, listen_port = _listening("listen", values["listen"])
    if bool(values["tls_certificate"]) != bool(values["tls_key"]):
        raise InvalidSetting("tls_certificate and tls_key belong together: give both or none")
    if values["tls_certificate"] and not values["tls_listen"]:
        raise InvalidSetting("tls_certificate is of no use without tls_listen")
    return Settings(
        home=home,
        listen_host=listen_host,
        listen_port=listen_port,
        tls_listen=_listening("tls_listen", values["tls_listen"]) if values["tls_listen"] else None,
        tls_certificate=Path(values["tls_certificate"]).expanduser() if values["tls_certificate"] else None,
        tls_key=Path(values["tls_key"]).expanduser() if values["tls_key"] else None,
        account_id=_matching("account_id", values["account_id"], r"\d{12}", "12 digits"),
        region=_matching("region", values["region"], r"[a-z]{2}(-[a-z]+)+-\d+", "an AWS region such as eu-west-1"),
        instances=_number("instances", values["instances"], 1, 100_000),
        images=Path(values["images"]).expanduser() if values["images"] else None,
        instance_limits=_matching("instance_limits", values["instance_limits"], "on|off", "on or off") == "on",
        container_engine=_matching(
            "container_engine", values["container_engine"], r"auto|none|[a-z]+://\S+", "auto, none or a URL"
        ),
        volumes=_matching("volumes", values["volumes"], "auto|required|off", "auto, required or off"),
        ecr_profile=values["ecr_profile"],
        file_systems=_file_systems(values["file_systems"]),
        input_cache_bytes=_number("input_cache_bytes", values["input_cache_bytes"], 0, 1 << 53),
        input_cache=Path(values["input_cache"]).expanduser().absolute() if values["input_cache"] else home / "cache",
        verify_multipart_etags=_matching(
            "verify_multipart_etags", values["verify_multipart_etags"], "on|off", "on or off"
        )
        == "on",
        fast_file=_matching("fast_file", values["fast_file"], "refuse|download", "refuse or download"),
        s3_port=_number("s3_port", values["s3_port"], 0, 55535),
        body_limit_bytes=_number("body_limit_bytes", values["body_limit_bytes"], 1024, 1 << 30),
        throttle_rps=_rates(values["throttle_rps"]),
        throttle_burst=_number("throttle_burst", values["throttle_burst"], 1, 100_000),
        log_level=_matching("log_level", values["log_level"], "debug|info|warning|error", "a level of the log"),
    )


def _file(named: str | None, home: Path) -> dict[str, str]:
    path = Path(named).expanduser() if named else home / "config.toml"
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named:
            raise InvalidSetting(f"config: there is no file {path}") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting(f"{path}: {error}") from None
    known = {setting.name for setting in SETTINGS} - {"home", "config"}
    for name, value in document.items():
        if name not in known:
            raise InvalidSetting(f"{path}: there is no setting {name}; there are {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidSetting(f"{path}: {name} must be a text or a number")
    return {name: str(value) for name, value in document.items()}


def _listening(name: str, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    host = host.strip("[]")
    try:
        address = str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        raise InvalidSetting(f"{name}: {host!r} is no IP address; write 127.0.0.1:7243, say") from None
    return address, _number(name, port, 0, 65535)


def _number(name: str, value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"\d{1,16}", value) or not least <= int(value) <= most:
        raise InvalidSetting(f"{name}: {value!r} is no number from {least} to {most}")
    return int(value)


def _rates(value: str) -> dict[str, float]:
    """Requests a second by class of operations; one number stands for every class."""
    given = value.replace(",", " ").split()
    if len(given) == 1 and "=" not in given[0]:
        given = [f"{name}={given[0]}" for name in _THROTTLE_CLASSES]
    rates = {}
    for part in given:
        name, _, rate = part.partition("=")
        if name not in _THROTTLE_CLASSES or not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", rate) or not float(rate):
            classes = ", ".join(_THROTTLE_CLASSES)
            raise InvalidSetting(f"throttle_rps: {part!r} is no number above 0, or CLASS=NUMBER with {classes}")
        rates[name] = float(rate)
    return rates


def _file_systems(value: str) -> dict[str, Path]:
    """Directories by file system; a directory may have spaces in its name, as the next entry begins with an id."""
    found: dict[str, Path] = {}
    for entry in re.split(rf"\s+(?={_FILE_SYSTEM_ID}=)", value.strip()):
        name, _, directory = entry.partition("=")
        if not entry:
            continue
        if not re.fullmatch(_FILE_SYSTEM_ID, name) or not Path(directory).expanduser().is_absolute():
            raise InvalidSetting(f"file_systems: {entry!r} is not FileSystemId=/directory, as in fs-0123abcd=/srv/data")
        if name in found:
            raise InvalidSetting(f"file_systems: {name} is there twice")
        found[name] = Path(directory).expanduser()
    return found


def _matching(name: str, value: str, pattern: str, what: str) -> str:
    if not re.fullmatch(pattern, value):
        raise InvalidSetting(f"{name}: {value!r} is not {what}")
    return value
