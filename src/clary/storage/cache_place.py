"""The directory of the input cache: what lies where, its lock and its book of space. Used by the other `cache_…` modules.

    objects/ab/ab12…    an object, whole and checked, by its name (`cache_names`)
    trees/NAME/         a selection: lower/files/ (hard links to the objects), index, used (its time is that of the last use),
                        users/ (files that name a path each: the tree is in use for as long as one of these paths is there)
    fills/TOKEN/        a download under way: lock (held while its process lives), claims, files/
    doomed/             what is being deleted
    lock, ledger.json   the lock of all this, and how much space is taken or promised
    boot, synced.json   the start of the machine that all this belongs to, and what is sure to be on the disk (`cache_durability`)

Whoever changes what others rely on holds the lock, for moments: never while bytes are moved. It dies with its holder.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import awaited_lock, write_atomically
from clary.storage.cache_names import IndexedFile

_LOCKED_WITHIN_S = 30.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The space that is taken or promised, in bytes: never less than what is there."""

    space_bytes: int


class TreeIndex(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree holds; `directories` is their number."""

    files: tuple[IndexedFile, ...]
    directories: int


class CachePlace:
    """Paths below `root`, and what is done to them under the lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.trees = root / "trees"
        self.fills = root / "fills"
        self.doomed = root / "doomed"
        self.synced = root / "synced.json"
        self._boot = root / "boot"
        self._ledger = root / "ledger.json"
        self._lock = root / "lock"

    def prepare(self) -> None:
        """Make the directories, for us alone. Raises `PermissionError` if others may write to what is there already."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.root.stat()
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o022:
            raise PermissionError(f"others may write to {self.root}")
        for directory in (self.objects, self.trees, self.fills, self.doomed):
            directory.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock. Raises `TimeoutError` after half a minute: somebody holds it who does not go on."""
        with awaited_lock(self._lock, within_s=_LOCKED_WITHIN_S):
            yield

    def object_path(self, name: str) -> str:
        """Where an object lies; a text, as there are thousands."""
        return f"{self.objects}/{name[:2]}/{name}"

    def add_object(self, source: str, file: IndexedFile) -> bool:
        """Have a whole file as an object, too; whether that is new. `FileNotFoundError` if there is no such file."""
        target = self.object_path(file.name)
        try:
            os.link(source, target)
        except FileExistsError:
            return False
        except FileNotFoundError:
            Path(target).parent.mkdir(mode=0o700, exist_ok=True)
            try:
                os.link(source, target)
            except FileExistsError:
                return False
        return True

    def ledger(self) -> Ledger | None:
        """The book; None if there is none."""
        try:
            return typed.from_json(self._ledger.read_bytes(), Ledger)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_ledger(self, space_bytes: int) -> None:
        """Put down what is taken or promised. Under the lock."""
        ledger = Ledger(space_bytes=max(0, space_bytes))
        write_atomically(self._ledger, msgspec.json.encode(ledger), durable=False)

    def book(self, change_bytes: int) -> None:
        """Put down a change. Under the lock."""
        ledger = self.ledger()
        self.write_ledger((ledger.space_bytes if ledger else 0) + change_bytes)

    def is_of_this_boot(self) -> bool:
        """Whether the machine has not been started anew since somebody looked after what is here."""
        try:
            return self._boot.read_text() == boot_id()
        except OSError:
            return False

    def note_boot(self) -> None:
        """Somebody has looked after what is here. Under the lock."""
        write_atomically(self._boot, boot_id().encode())

    def tree_files(self, name: str) -> Path:
        """The directory that a tree is, as a channel has it. Nothing lies beside it."""
        return self.trees / name / "lower" / "files"

    def index(self, name: str) -> TreeIndex:
        """What a tree holds; of a damaged one nothing is known."""
        try:
            return typed.from_msgpack((self.trees / name / "index").read_bytes(), TreeIndex)
        except (OSError, msgspec.DecodeError):
            return TreeIndex(files=(), directories=0)

    def names(self, directory: Path) -> list[str]:
        """What lies in one of the directories."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(directory))
        return []

    def doom(self, directory: Path) -> Path:
        """Take a directory away from its place, for deletion; where it is now."""
        gone = self.doomed / uuid.uuid4().hex
        directory.rename(gone)
        return gone

    def delete(self, doomed: Iterable[Path]) -> None:
        """Delete what was doomed. Without the lock, as it takes its time."""
        for directory in doomed:
            shutil.rmtree(directory, ignore_errors=True)


def boot_id() -> str:
    """What is different after each start of the machine. Source: proc(5)."""
    return _BOOT_ID.read_text().strip()


def add_user(tree: Path, user: Path) -> None:
    """Note that a tree, a directory of `trees`, is in use for as long as the path `user` is there."""
    _user_record(tree, user).write_bytes(os.fsencode(user))


def remove_user(tree: Path, user: Path) -> None:
    """The opposite."""
    _user_record(tree, user).unlink(missing_ok=True)


def _user_record(tree: Path, user: Path) -> Path:
    return tree / "users" / hashlib.sha256(os.fsencode(user)).hexdigest()[:32]
