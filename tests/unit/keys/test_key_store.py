"""The keys on disk."""

import stat

import msgspec
import pytest

from clary.base.clock import FixedClock, later
from clary.keys.key import S3_ALIAS, Alias, KeyState
from clary.keys.key_store import KeyStore, KeysUnavailable

DAY_S = 86_400


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "kms"


@pytest.fixture
def store(directory, clock):
    return KeyStore(directory, clock=clock)


def alias(name, key, clock):
    return Alias(name=name, key_id=key.key_id, creation_date=clock.now(), last_updated_date=clock.now())


def disable(key):
    return msgspec.structs.replace(key, state=KeyState.DISABLED)


def test_everything_is_there_after_a_restart(store, directory, clock):
    """Keys with their material and state, aliases, and the same managed key."""
    key = store.create(description="d", tags={"a": "b"})
    store.change(key.key_id, disable)
    store.change_aliases(lambda aliases: {**aliases, "alias/mine": alias("alias/mine", key, clock)})
    again = KeyStore(directory, clock=clock)
    assert again.all() == store.all()
    assert again.find(key.key_id) == disable(key)
    assert again.aliases() == store.aliases()
    assert [found.name for found in again.aliases()] == [S3_ALIAS, "alias/mine"]


def test_files_are_private(store, directory):
    """They hold the keys themselves."""
    store.create()
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, directory / "keys")} == {0o700}


def test_there_is_one_managed_key_from_the_start(store, directory, clock):
    """And no second one is made."""
    managed = [key for key in store.all() if key.managed]
    assert len(managed) == 1
    assert store.find_alias(S3_ALIAS).key_id == managed[0].key_id
    assert KeyStore(directory, clock=clock).all() == store.all()


def test_a_key_tells_no_secret_of_itself(store):
    """Not in a log, not in a traceback."""
    key = store.create()
    assert "material" not in repr(key)
    assert repr(key.material) not in repr(key)


def test_a_change_that_is_refused_changes_nothing(store, directory, clock):
    key = store.create()

    def refuse(_key):
        raise ValueError

    with pytest.raises(ValueError):
        store.change(key.key_id, refuse)
    assert store.find(key.key_id) == KeyStore(directory, clock=clock).find(key.key_id) == key
    assert store.change("nobody", refuse) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_key_goes_when_its_date_has_come_and_not_before(store, directory, clock, restarted):
    """With its file and its aliases; the other keys stay."""
    doomed, kept = store.create(), store.create()
    date = later(clock.now(), 7 * DAY_S)
    store.change(doomed.key_id, lambda key: msgspec.structs.replace(key, deletion_date=date))
    named = {name: alias(name, key, clock) for name, key in (("alias/d", doomed), ("alias/k", kept))}
    store.change_aliases(lambda _: named)
    clock.advance(7 * DAY_S - 1)
    assert store.find(doomed.key_id) is not None
    clock.advance(1)
    if restarted:
        store = KeyStore(directory, clock=clock)
    assert store.find(doomed.key_id) is None
    assert store.find(kept.key_id) == kept
    assert [found.name for found in store.aliases()] == [S3_ALIAS, "alias/k"]
    assert not (directory / "keys" / f"{doomed.key_id}.json").exists()


@pytest.mark.parametrize("which", ["key", "aliases"])
def test_a_damaged_file_stops_the_start_and_is_left_alone(store, directory, clock, which):
    """What is under a key that is passed over would be lost for good."""
    path = directory / "aliases.json" if which == "aliases" else next((directory / "keys").iterdir())
    path.write_bytes(b"{")
    with pytest.raises(KeysUnavailable, match=path.name):
        KeyStore(directory, clock=clock)
    assert path.read_bytes() == b"{"
