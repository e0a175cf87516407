"""The files that pages need beside themselves: read once, served from memory. Used by `app`."""

import hashlib
from importlib import resources

import msgspec

from clary.console import paths

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
}


class StaticFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file; `version` is made of its content."""

    content: bytes
    content_type: str
    version: str


class StaticFiles:
    """The files of the package's directory `static`, by their names; licences and notes of theirs are none of them."""

    def __init__(self) -> None:
        self._files: dict[str, StaticFile] = {}
        for entry in resources.files("clary.console").joinpath("static").iterdir():
            content_type = _TYPES.get(entry.name.rpartition(".")[2])
            if content_type is not None and entry.is_file():
                content = entry.read_bytes()
                version = hashlib.sha256(content).hexdigest()[:16]
                self._files[entry.name] = StaticFile(content=content, content_type=content_type, version=version)
        self.addresses = {name: paths.static(name, file.version) for name, file in self._files.items()}
        """Where each of them is, by its name."""

    def find(self, name: str) -> StaticFile | None:
        """The file of that name."""
        return self._files.get(name)
