"""What the runtime notes of a program in the program's directory. Used by `runtime` and `follower`."""

from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import write_atomically
from clary.runtimes.port import Mount


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Written before the container is made: what it is called, and what its follower needs to know.

    `output_base` is the size of the output file before; `made`: it has been created, so that its absence means its loss.
    """

    url: str
    name: str
    network: str
    image: str
    boot_id: str
    output: str
    output_base: int
    mounts: tuple[Mount, ...]
    made: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the program ended, for good; `exit_code` None: it is lost."""

    exit_code: int | None
    out_of_memory: bool = False


class Files:
    """What the runtime keeps in the program's directory."""

    def __init__(self, directory: Path) -> None:
        self.marker = directory / "container.json"
        self.status = directory / "status.jsonl"  # locked by a follower

    def read_marker(self) -> Marker | None:
        """What was noted before the container was made; None if nothing was."""
        try:
            return typed.from_json(self.marker.read_bytes(), Marker)
        except FileNotFoundError:
            return None

    def write_marker(self, marker: Marker) -> None:
        """Note it, durably."""
        write_atomically(self.marker, msgspec.json.encode(marker))

    def outcome(self) -> Outcome | None:
        """How the program ended; None if that is not noted yet."""
        try:
            return typed.from_json(self.status.read_bytes(), Outcome)
        except (FileNotFoundError, msgspec.DecodeError):  # empty, or cut short by a crash
            return None
