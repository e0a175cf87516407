"""The home's small files, atomic writes and locks."""

import subprocess
import sys

import pytest

from clary.base.files import AlreadyLocked, exclusive_lock, is_locked, write_atomically
from clary.base.home import Home, ServerInfo


def test_credentials_are_generated_once_and_only_the_owner_may_read_them(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()

    first = home.credentials()

    assert home.credentials() == first
    assert (tmp_path / "home" / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert len(first.access_key_id) == 20
    assert len(first.secret_access_key) == 40


def test_the_token_key_outlives_a_restart(tmp_path):
    assert Home(tmp_path).token_key() == Home(tmp_path).token_key()


def test_where_the_server_listens_is_remembered(tmp_path):
    info = ServerInfo(url="http://x", s3_endpoint_url="http://y", region="us-east-1", account_id="0" * 12)

    assert Home(tmp_path).server() is None
    Home(tmp_path).note_server(info)
    assert Home(tmp_path).server() == info


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file"

    write_atomically(path, b"one" * 1000)
    write_atomically(path, b"two")

    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "directory"
    path.mkdir()

    with pytest.raises(OSError):
        write_atomically(path, b"data")

    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]


HOLDER = """
import signal, sys
from pathlib import Path
from clary.base.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("holding", flush=True)
    signal.pause()
"""


def test_a_lock_is_held_by_one_and_given_back_when_its_holder_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "lock"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"holding\n"
        assert is_locked(tmp_path / "lock")
        with pytest.raises(AlreadyLocked), exclusive_lock(tmp_path / "lock"):
            pass
    finally:
        holder.kill()
        holder.communicate()

    assert not is_locked(tmp_path / "lock")
    with exclusive_lock(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")


def test_a_lock_that_nobody_ever_took_is_free(tmp_path):
    assert not is_locked(tmp_path / "never")
