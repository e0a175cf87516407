"""What things are called in the input cache, and what room they take there: pure, used by the other `cache_…` modules.

A name says everything that decides the bytes: another endpoint, bucket, key or ETag is another entry.
"""

import hashlib

import msgspec

from clary.storage.selection import Selection

_BLOCK_BYTES = 4096
_ENTRY_BYTES = 256  # a name in a directory, and the line in a tree's index


class IndexedFile(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A file of a tree, or of a fill: the object that it is, where it lies, and its size in bytes."""

    name: str
    path: str
    size_bytes: int


def object_name(endpoint_url: str, bucket: str, key: str, etag: str) -> str:
    """The name of an object as it was listed. Raises `UnicodeEncodeError` for a key that is no text."""
    return hashlib.sha256(msgspec.json.encode((endpoint_url, bucket, key, etag))).hexdigest()


def tree_name(endpoint_url: str, bucket: str, selection: Selection) -> str:
    """The name of a whole selection, laid out. Raises `UnicodeEncodeError` for keys that are no text."""
    return hashlib.sha256(msgspec.json.encode((endpoint_url, bucket, selection))).hexdigest()


def indexed(endpoint_url: str, bucket: str, selection: Selection) -> tuple[IndexedFile, ...]:
    """The objects of a selection by their names in the cache, in its order."""
    return tuple(
        IndexedFile(
            name=object_name(endpoint_url, bucket, item.key, item.etag),
            path=item.relative_path,
            size_bytes=item.size_bytes,
        )
        for item in selection.objects
    )


def directories_of(selection: Selection) -> list[str]:
    """All directories of a selection, each after the one that it is in; "" for the top, which is the first."""
    found = {""}
    for path in (*selection.directories, *(item.relative_path.rpartition("/")[0] for item in selection.objects)):
        directory = path
        while directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return sorted(found)


def object_space(size_bytes: int) -> int:
    """The disk space that an object is reckoned with, in bytes: whole blocks."""
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def tree_space(files: int, directories: int) -> int:
    """What a tree takes beside its objects: of these it has no more than further names."""
    return files * _ENTRY_BYTES + (directories + 3) * _BLOCK_BYTES
