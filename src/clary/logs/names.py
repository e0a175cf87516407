"""Where a group and its streams lie below the root of the file store, and how to list them in order.

A stream `job/algo-1-1699307977` of group `/aws/x` lies in `<root>/%2Faws%2Fx/job/=algo-1-1699307977`: one directory a
component, so that a prefix that ends in a slash is one small directory however many jobs the group holds, and `=` before
the last, so that a stream `job` can live beside it. Names beginning with `@` are the store's own: below `<root>/@metrics`
lie the metric series, one directory an owner.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

_MAX_FILE_NAME = 250
_EMPTY = "%"  # no component is encoded so
_METRICS = "@metrics"


def _encode(component: str) -> str:
    encoded = quote(component, safe="", errors="surrogatepass") or _EMPTY
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]  # neither `..` nor a hidden file
    if len(encoded) > _MAX_FILE_NAME:
        raise ValueError(f"a component of this name has more than {_MAX_FILE_NAME} bytes when encoded: {component}")
    return encoded


def _decode(name: str) -> str:
    return "" if name == _EMPTY else unquote(name, errors="surrogatepass")


def group_directory(root: Path, group: str) -> Path:
    """Where a group lies. Raises ValueError for a name too long to be a file's."""
    return root / _encode(group)


def stream_directory(root: Path, group: str, stream: str) -> Path:
    """Where a stream lies. Raises ValueError for a name too long to be a file's."""
    *parents, last = stream.split("/")
    return group_directory(root, group).joinpath(*map(_encode, parents), "=" + _encode(last))


def group_names(root: Path) -> list[str]:
    """The names of all groups, ascending."""
    return sorted(_decode(name) for name in _listdir(root) if not name.startswith(("@", ".")))


def stream_names(directory: Path, *, prefix: str, after: str | None, descending: bool) -> Iterator[str]:
    """Names of the streams below a group's directory that begin with `prefix`, in order, beyond `after`.

    Only the directories that the answer needs are read. A name is given also for a stream that is only being made.
    """
    return _walk(os.fspath(directory), "", prefix, after, descending=descending)


def series_directory(root: Path, owner: str) -> Path:
    """Where the metric series of an owner lie. Raises ValueError for a name too long to be a file's."""
    return root / _METRICS / _encode(owner)


def series_writer_file(directory: Path, writer: str) -> Path:
    """The file of points of one of an owner's writers. Raises ValueError for a name too long to be a file's."""
    return directory / f"{_encode(writer)}.points"


def series_owners(root: Path) -> list[str]:
    """All owners of metric series, sorted."""
    return sorted(_decode(name) for name in _listdir(root / _METRICS) if not name.startswith("."))


def _walk(directory: str, base: str, prefix: str, after: str | None, *, descending: bool) -> Iterator[str]:
    component, slash, _ = prefix[len(base) :].partition("/")
    if slash:
        try:
            yield from _walk(
                f"{directory}/{_encode(component)}", f"{base}{component}/", prefix, after, descending=descending
            )
        except ValueError:
            return  # no stream can have such a name
        return
    # A directory sorts as its name with the slash that follows it, which is where its streams sort.
    entries = sorted(
        (base + _decode(name[1:]), "") if name.startswith("=") else (base + _decode(name) + "/", name)
        for name in _listdir(directory)
        if not name.startswith(("@", "."))
    )
    for key, name in reversed(entries) if descending else entries:
        if not key.startswith(prefix):
            continue
        if name:
            if after is None or after.startswith(key) or (key < after) == descending:
                yield from _walk(f"{directory}/{name}", key, prefix, after, descending=descending)
        elif after is None or (key < after if descending else key > after):
            yield key


def _listdir(directory: str | Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 (a Path object for each of a million names is slow)
    except (FileNotFoundError, NotADirectoryError):
        return []
