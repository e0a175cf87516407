"""Which objects a channel gets, and under which names: pure decisions, no I/O.

Called when a channel is staged or mounted. `select_prefix` plans an S3Prefix from a listing, `arrange` whatever else has
names (`suffix_path` gives those of a manifest's objects), `shard` deals the objects out to hosts, `channel_manifest` writes the list that stands beside the channel's directory. `transfer` carries the plan
out.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from clary.storage.port import ObjectInfo

_NAME_MAX_BYTES = 255  # Linux: NAME_MAX

T = TypeVar("T")


class SelectionError(Exception):
    """The objects cannot be laid out as files."""


class UnsafeKey(SelectionError):
    """A key whose local name would leave the channel's directory, or is no file name at all."""


class FileAndDirectory(SelectionError):
    """One object would have to be a file and another a file below it."""


class SelectedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object and its place: `relative_path` is below the channel's directory, with "/" between its parts."""

    key: str
    size_bytes: int
    etag: str
    relative_path: str


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What to put into one directory: `objects` in the order of their keys' UTF-8 bytes, no two with one path.

    `directories` are directories that exist for their own sake (folder markers), whether or not a file lies below.
    """

    objects: tuple[SelectedObject, ...]
    directories: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The sum of the objects' sizes."""
        return sum(item.size_bytes for item in self.objects)


def relative_path(prefix: str, key: str) -> str:
    """The local path of `key` when an S3Prefix channel selects `prefix`; "" for the marker of the prefix itself.

    Cut the prefix and a slash where that is possible, else all up to the last slash of the prefix, so that
    "data/train" gives "x" for "data/train/x" and "train-2/y" for "data/train-2/y" (observed; the last row inferred).
    """
    if not key.startswith(prefix):
        raise ValueError(f"{key!r} does not begin with {prefix!r}")
    if prefix == "" or prefix.endswith("/"):
        return key[len(prefix) :]
    if key.startswith(prefix + "/"):
        return key[len(prefix) + 1 :]
    return key[prefix.rfind("/") + 1 :]


def suffix_path(prefix: str, key: str) -> str:
    """The local path of `key` when a ManifestFile names it below `prefix`: the suffix (inferred).

    A slash with which it begins is cut, so that a prefix may do without the one at its end, as for `relative_path`.
    """
    return key[len(prefix) :].removeprefix("" if prefix.endswith("/") else "/")


def checked_path(path: str, key: str) -> str:
    """`path` itself if it names a file strictly below a directory, else `UnsafeKey`.

    Job code chooses keys, and the paths are opened outside the sandbox: "..", an absolute path or an empty part must
    not get through, nor must it be bent into something else, which could overwrite another object's file.
    """
    for part in path.split("/"):
        if part in {"", ".", ".."} or "\0" in part or len(part.encode("utf-8", "replace")) > _NAME_MAX_BYTES:
            raise UnsafeKey(f"the key {key!r} cannot be a file name below the channel's directory")
    return path


def arrange(items: Iterable[tuple[ObjectInfo, str]]) -> Selection:
    """Lay objects out at the given relative paths. Raises `UnsafeKey`, `FileAndDirectory`.

    Objects whose path ends with a slash or is empty are folder markers: directories, not files (inferred). Of two
    objects with one path the one with the greater key wins (inferred).
    """
    files: dict[str, SelectedObject] = {}
    directories: dict[str, None] = {}
    for info, path in sorted(items, key=lambda item: item[0].key.encode("utf-8", "surrogatepass")):
        if path == "" or path.endswith("/"):
            if info.size_bytes:
                raise UnsafeKey(f"the key {info.key!r} names a folder but holds {info.size_bytes} bytes")
            if path:
                directories[checked_path(path.removesuffix("/"), info.key)] = None
            continue
        files.pop(path, None)  # so that the later object also takes the later place
        files[path] = SelectedObject(
            key=info.key, size_bytes=info.size_bytes, etag=info.etag, relative_path=checked_path(path, info.key)
        )
    _refuse_files_that_are_directories(files, directories)
    return Selection(objects=tuple(files.values()), directories=tuple(directories))


def select_prefix(prefix: str, objects: Iterable[ObjectInfo]) -> Selection:
    """The plan of an S3Prefix channel over the objects that were listed for `prefix`, as for one host that gets all."""
    return arrange((info, relative_path(prefix, info.key)) for info in objects)


def shard(objects: Sequence[T], host_index: int, host_count: int) -> tuple[T, ...]:
    """The share of host number `host_index` (from 0): object i goes to host i mod n (observed, ShardedByS3Key).

    A host beyond the number of objects gets none.
    """
    if not 0 <= host_index < host_count:
        raise ValueError(f"host {host_index} of {host_count}")
    return tuple(objects[host_index::host_count])


def channel_manifest(prefix: str, bucket: str, keys: Iterable[str]) -> str:
    """The text of `<channel>-manifest`: the prefix, then the URI of each object of the whole channel (observed).

    Every line ends with a newline. `keys` are those of all hosts, not a host's shard.
    """
    return "".join([f"{prefix}\n", *(f"s3://{bucket}/{key}\n" for key in keys)])


def _refuse_files_that_are_directories(files: dict[str, SelectedObject], directories: Iterable[str]) -> None:
    clean: set[str] = set()  # directories already looked at: a listing has many files and few directories
    for path, itself in [*((path, False) for path in files), *((path, True) for path in directories)]:
        directory = path if itself else path.rpartition("/")[0]
        while directory and directory not in clean:
            if directory in files:
                raise FileAndDirectory(
                    f"the key {files[directory].key!r} is an object and also a folder of other objects"
                )
            clean.add(directory)
            directory = directory.rpartition("/")[0]
