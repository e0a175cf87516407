"""The environments of the clients: pinned, made once whoever asks, and again if the making was cut short."""

import re
import threading

import pytest

from clients import environments
from clients.environments import CLIENTS, LOCKS, CannotMake, interpreter


@pytest.mark.parametrize("client", CLIENTS)
def test_a_lock_file_pins_what_is_asked_for(client):
    """Every package has a version and hashes; the client itself has the version that is named."""
    text = (LOCKS / f"{client}.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
    asked = [line for line in (LOCKS / f"{client}.in").read_text().splitlines() if not line.startswith("#")]

    assert all(re.match(r"[a-z0-9._-]+==\S+", block) and "--hash=sha256:" in block for block in blocks)
    assert all(any(block.startswith(name) for block in blocks) for name in asked)
    assert not re.search(r"^(torch|nvidia-|mlflow)", text, re.MULTILINE)  # gigabytes that no scenario needs


@pytest.mark.parametrize("sources", sorted(LOCKS.glob("*.sources")), ids=lambda path: path.stem)
def test_what_is_built_from_source_is_pinned(sources):
    """Every line has a version and a hash, and belongs to a client that is installed."""
    lines = [line for line in sources.read_text().splitlines() if not line.startswith("#")]

    assert sources.stem in CLIENTS
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


@pytest.fixture
def making(monkeypatch, tmp_path):
    """Makes environments of a lock file of our own, without installing anything; answers what was made."""
    made = []

    def make(place, lock):
        made.append(place)
        place.mkdir(parents=True)
        if lock.read_text() == "bad":
            raise CannotMake("no such package")

    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "one.lock").write_text("good")
    monkeypatch.setattr(environments, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(environments, "_make", make)
    monkeypatch.setenv("CLIENT_ENVIRONMENTS", str(tmp_path / "cache"))
    return made


def test_an_environment_is_made_once(making):
    """Whoever comes while it is made waits; whoever comes later finds it."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(interpreter("one"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(making) == 1
    assert set(found) == {interpreter("one")} == {making[0] / "bin" / "python"}


def test_another_lock_file_is_another_environment(making, tmp_path):
    """The old one is removed, so that the cache does not grow."""
    old = interpreter("one")
    (tmp_path / "locks" / "one.lock").write_text("better")
    new = interpreter("one")

    assert (new != old, old.parents[1].exists(), new.parents[1].exists()) == (True, False, True)


def test_other_sources_are_another_environment(making, tmp_path):
    """What is built from source counts like what is locked."""
    old = interpreter("one")
    (tmp_path / "locks" / "one.sources").write_text("more")

    assert interpreter("one") != old


def test_a_making_that_failed_is_tried_again(making, tmp_path):
    """Half an environment is never taken for a whole one."""
    (tmp_path / "locks" / "one.lock").write_text("bad")
    for _ in range(2):
        with pytest.raises(CannotMake, match="no such package"):
            interpreter("one")

    assert len(making) == 2
