"""A port that stays the same over restarts."""

import socket

import pytest

from clary.base.kept_port import kept_listener


def port_of(listener):
    return listener.getsockname()[1]


def test_the_port_is_the_same_the_next_time(tmp_path):
    path = tmp_path / "port"
    with kept_listener(path) as listener:
        first = port_of(listener)
        with socket.create_connection(listener.getsockname(), timeout=30):
            pass
    with kept_listener(path) as listener:
        # Another process may have got it in between, which is no failure of ours.
        assert port_of(listener) == first or path.read_bytes() != str(first).encode()


@pytest.mark.parametrize("said", [b"", b"junk", None])
def test_another_port_is_taken_where_the_old_one_cannot_be_had(tmp_path, said):
    """It is somebody else's, or the file is damaged; the file tells the new one."""
    path = tmp_path / "port"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        path.write_bytes(str(port_of(other)).encode() if said is None else said)
        with kept_listener(path) as listener:
            assert port_of(listener) != port_of(other)
            assert path.read_bytes() == str(port_of(listener)).encode()
