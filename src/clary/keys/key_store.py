"""The keys on disk: one file for each, one for all aliases, all of mode 0600, each written whole or not at all.

    kms/
      keys/<key id>.json
      aliases.json

Whoever has the files has the keys, as with the rest of the home. What is under a lost key is lost: so a damaged file stops
the start, and a key goes only when its deletion was asked for and its date has come. Once a change is answered it is on
disk. Everything is held in memory too, so that reads cost nothing. Thread-safe; one process at a time, which the lock of the
home sees to.
"""

import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.clock import Clock
from clary.base.files import sync_directory, write_atomically
from clary.keys.key import S3_ALIAS, Alias, Key
from clary.keys.sealing import MATERIAL_BYTES


class KeysUnavailable(Exception):
    """The keys cannot be read; the text says which file, and what helps."""


class KeyStore:
    """The keys under a directory, which is made if it is missing. Raises `KeysUnavailable`, OSError."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self._keys_directory = directory / "keys"
        self._aliases_path = directory / "aliases.json"
        self._clock = clock
        self._lock = threading.RLock()
        directory.mkdir(mode=0o700, exist_ok=True)
        self._keys_directory.mkdir(mode=0o700, exist_ok=True)
        self._keys = {key.key_id: key for key in map(_read_key, sorted(self._keys_directory.glob("*.json")))}
        self._aliases = {alias.name: alias for alias in _read_aliases(self._aliases_path)}
        if not any(key.managed for key in self._keys.values()):
            self.create(
                description="Default key that protects my S3 objects when no other key is defined", managed=True
            )

    def all(self) -> list[Key]:
        """All keys, by their ids."""
        with self._lock:
            self._delete_due()
            return [self._keys[key_id] for key_id in sorted(self._keys)]

    def find(self, key_id: str) -> Key | None:
        """The key with that id; None if there is none, or none any more."""
        with self._lock:
            self._delete_due()
            return self._keys.get(key_id)

    def aliases(self) -> list[Alias]:
        """All aliases, by their names; that of the managed key is among them."""
        with self._lock:
            self._delete_due()
            managed = next(key for key in self._keys.values() if key.managed)
            own = Alias(
                name=S3_ALIAS,
                key_id=managed.key_id,
                creation_date=managed.creation_date,
                last_updated_date=managed.creation_date,
            )
            return sorted([own, *self._aliases.values()], key=lambda alias: alias.name)

    def find_alias(self, name: str) -> Alias | None:
        """The alias of that name, "alias/…"."""
        return next((alias for alias in self.aliases() if alias.name == name), None)

    def create(self, *, description: str = "", tags: dict[str, str] | None = None, managed: bool = False) -> Key:
        """A new key."""
        key = Key(
            key_id=str(uuid.uuid4()),
            material=secrets.token_bytes(MATERIAL_BYTES),
            creation_date=self._clock.now(),
            description=description,
            managed=managed,
            tags=tags or {},
        )
        self._write(key)
        return key

    def change(self, key_id: str, change: Callable[[Key], Key]) -> Key | None:
        """The key as `change` has made it, kept; None if there is no such key. What `change` raises changes nothing."""
        with self._lock:
            key = self.find(key_id)
            if key is None:
                return None
            changed = change(key)
            self._write(changed)
            return changed

    def change_aliases(self, change: Callable[[Mapping[str, Alias]], dict[str, Alias]]) -> None:
        """Keep the aliases, by their names, that `change` makes of those there are; the managed key's is not among them."""
        with self._lock:
            self._delete_due()
            self._write_aliases(change(self._aliases))

    def _write(self, key: Key) -> None:
        with self._lock:
            write_atomically(self._path_of(key.key_id), msgspec.json.encode(key))
            self._keys[key.key_id] = key

    def _write_aliases(self, aliases: dict[str, Alias]) -> None:
        write_atomically(self._aliases_path, msgspec.json.encode(list(aliases.values())))
        self._aliases = aliases

    def _delete_due(self) -> None:
        """Delete the keys whose date has come. Their aliases go first: none may name a key that is gone."""
        now = self._clock.now()
        due = {key.key_id for key in self._keys.values() if key.deletion_date is not None and key.deletion_date <= now}
        if not due:
            return
        left = {name: alias for name, alias in self._aliases.items() if alias.key_id not in due}
        if left != self._aliases:
            self._write_aliases(left)
        for key_id in due:
            self._path_of(key_id).unlink(missing_ok=True)
            del self._keys[key_id]
        sync_directory(self._keys_directory)

    def _path_of(self, key_id: str) -> Path:
        return self._keys_directory / f"{key_id}.json"


def _read_key(path: Path) -> Key:
    try:
        return typed.from_json(path.read_bytes(), Key)
    except msgspec.MsgspecError as error:
        raise _damaged(path, error) from error


def _read_aliases(path: Path) -> list[Alias]:
    try:
        return typed.from_json(path.read_bytes(), list[Alias])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> KeysUnavailable:
    return KeysUnavailable(f"{path} is damaged ({error}): restore it from a backup; what is under its keys needs them")
