"""Which channels the algorithm takes, in which content types, and which files of a channel are data.

Used by the training program before it reads a byte of data. Source: the public XGBoost container's channel rules.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from clary_algorithms.container import Channel, CustomerError, log

TRAIN = "train"
VALIDATION = "validation"
_CODE = "code"

DEFAULT_CONTENT_TYPE = "text/libsvm"
#: Directory levels of a channel whose files are read; the channel's own directory is the first.
MAX_DEPTH = 3


class Format(Enum):
    """The formats that the program reads."""

    CSV = "csv"
    LIBSVM = "libsvm"


_FORMATS = {
    "csv": Format.CSV,
    "text/csv": Format.CSV,
    "libsvm": Format.LIBSVM,
    "text/libsvm": Format.LIBSVM,
    "text/x-libsvm": Format.LIBSVM,
}
_NOT_READ_HERE = ("parquet", "application/x-parquet", "recordio-protobuf", "application/x-recordio-protobuf")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A channel that passed the rules."""

    name: str
    directory: Path
    format: Format


def validate(channels: Mapping[str, Channel]) -> tuple[Source, Source | None]:
    """The training and the validation channel. Raises `CustomerError` for any other set of channels."""
    if TRAIN not in channels:
        raise CustomerError(f"Missing required channel: {TRAIN}")
    for name in channels:
        if name == _CODE:
            raise CustomerError("Channel 'code' is not available: this program runs no user script")
        if name not in (TRAIN, VALIDATION):
            raise CustomerError(f"Extraneous channel found: {name}")
    # The container reads both channels in the type of the first, so that many requests give no type for the second.
    train_type = channels[TRAIN].content_type or DEFAULT_CONTENT_TYPE
    train = _source(channels[TRAIN], train_type)
    validation = channels.get(VALIDATION)
    if validation is None:
        return train, None
    return train, _source(validation, validation.content_type or train_type)


def _source(channel: Channel, content_type: str) -> Source:
    if channel.input_mode == "Pipe":
        raise CustomerError(
            f"Channel configuration for '{channel.name}' channel is not supported: Pipe mode. "
            "Please use File or FastFile mode."
        )
    return Source(name=channel.name, directory=channel.directory, format=content_format(content_type))


def content_format(content_type: str) -> Format:
    """The format behind a ContentType such as `text/csv; label_size=1; charset=utf8`. Raises `CustomerError`."""
    name, *parameters = (part.strip() for part in content_type.lower().split(";"))
    if name in _NOT_READ_HERE:
        raise CustomerError(
            f"{content_type} is not available in this build of the algorithm. Please use text/csv or text/libsvm."
        )
    if name not in _FORMATS:
        accepted = ", ".join((*_FORMATS, *_NOT_READ_HERE))
        raise CustomerError(f"{content_type} is not an accepted ContentType: {accepted}.")
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if _FORMATS[name] is Format.CSV and key.strip() == "label_size" and value.strip() != "1":
            raise CustomerError(
                f"{content_type} is not an accepted csv ContentType. Optional parameter label_size must be equal to 1"
            )
    return _FORMATS[name]


def data_files(directory: Path) -> list[Path]:
    """The channel's data files in the order of their paths, empty ones left out.

    Raises `CustomerError` for a hidden file anywhere below the directory; a missing directory holds no files.
    """
    found: list[Path] = []
    for parent, directories, names in os.walk(directory, followlinks=True):
        directories.sort()
        for name in names:
            if name.startswith("."):
                raise CustomerError(
                    f"Hidden file found in the data path! Remove that before training. ({Path(parent) / name})"
                )
        depth = len(Path(parent).relative_to(directory).parts) + 1
        if depth > MAX_DEPTH:
            if names:
                log(f"Files in {parent} are not read: the folder is deeper than {MAX_DEPTH} levels", "WARNING")
            continue
        found.extend(Path(parent) / name for name in names if _is_data(name))
    return sorted(path for path in found if path.stat().st_size > 0)


def _is_data(name: str) -> bool:
    is_cache = ".cache" in name and ("dtrain" in name or "dval" in name)
    return not name.startswith("_") and not is_cache
