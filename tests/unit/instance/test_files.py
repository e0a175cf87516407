"""The files by which an instance talks to the outside: reports, wishes, grants, and the job's failure file."""

import os
import stat

import msgspec
import pytest

from clary.base.clock import FixedClock, Instant
from clary.base.telemetry import get_logger
from clary.instance.failure_file import failure_text
from clary.instance.grants import Grants
from clary.instance.progress import channel_progress
from clary.instance.reporting import Reporter
from clary.instance.state import AgentStarted, Ready, State, after
from clary.instance.waker import Waker
from clary.instance.wishes import WishesFile
from clary.jobs.task import Snapshot, StopReason, StorageGrant, Wishes
from clary.storage.port import AccessDenied
from clary.storage.transfer import Progress
from unit.instance.scenes import make_task

T = Instant(1_000_000)
LOG = get_logger("instance")
STARTED = after(State(), AgentStarted(at=T))
READY = after(STARTED, Ready(at=T))


@pytest.fixture
def reports(tmp_path):
    """A reporter, and what it has written."""
    fifo = tmp_path / "hints"
    os.mkfifo(fifo)
    path = tmp_path / "snapshot.json"
    reporter = Reporter(path, fifo, make_task().instance_name, LOG)

    def report(state, *, message=None, now=T, downloading=None):
        reporter.report(state, message=message, metrics=(), now=Instant(now), downloading=downloading)
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)

    report.fifo = fifo
    return report


def test_a_moment_is_told_at_once_and_progress_twice_a_second(reports):
    """A message alone waits for half a second since the last report; a new state waits for nothing."""
    first = reports(STARTED)
    assert reports(READY, message="1").ready_at == T
    assert reports(READY, message="2", now=T + 499).message == "1"
    last = reports(READY, message="2", now=T + 500)

    assert last.message == "2"
    assert first.sequence < last.sequence


def test_how_far_a_download_is_stands_in_the_report_in_numbers(reports):
    """And no longer in the next one, when it is over."""
    progress = channel_progress(
        "train", Progress(objects_done=1, objects_total=2, bytes_done=30, bytes_total=40), bytes_per_s=5.0
    )

    assert reports(READY, downloading=progress).downloading == progress
    assert reports(READY, now=T + 500).downloading is None


def test_the_same_report_is_not_written_twice(reports):
    """Nothing new, no new sequence number."""
    one = reports(READY)

    assert reports(READY, now=T + 10_000) == one


def test_sequence_numbers_rise_from_one_program_to_the_next(tmp_path):
    """Without anything of the last reports being left."""
    state, numbers = State(), []
    for _ in range(3):
        state = after(state, AgentStarted(at=T))
        reporter = Reporter(tmp_path / "s", None, "i", LOG)
        for message in ("a", "b"):
            reporter.report(state, message=message, metrics=(), now=Instant(T + 1000 * len(numbers)))
            numbers.append(msgspec.json.decode((tmp_path / "s").read_bytes(), type=Snapshot).sequence)

    assert numbers == sorted(set(numbers))


def test_a_hint_goes_to_whoever_listens_and_waits_for_nobody(reports):
    """Without a reader, or with a full pipe, a report is written all the same."""
    reports(STARTED)
    reader = os.open(reports.fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        reports(READY)
        assert os.read(reader, 100) == f"{make_task().instance_name}\n".encode()
        with pytest.raises(BlockingIOError):
            while True:
                os.write(reader, b"x" * 4096)
        assert reports(READY, message="m", now=T + 500).message == "m"
    finally:
        os.close(reader)


def test_wishes_are_read_when_they_change(tmp_path):
    """What cannot be read leaves the last wishes standing."""
    path = tmp_path / "wishes.json"
    wishes = WishesFile(path, LOG)
    assert wishes.read() == Wishes()
    path.write_text('{"stop":"PeerEnded"}')
    assert wishes.read() == Wishes(stop=StopReason.PEER_ENDED)
    path.write_text('{"stop"')
    assert wishes.read() == Wishes(stop=StopReason.PEER_ENDED)
    path.write_text('{"stop":"PeerEnded","upload":true}')
    assert wishes.read().upload


def grant(access, prefix, expiration=T, key="AK"):
    return StorageGrant(
        access=access,
        bucket="b",
        prefix=prefix,
        access_key_id=key,
        secret_access_key="S",
        session_token="",
        expiration=Instant(expiration),
    )


def test_a_grant_opens_what_begins_with_its_prefix(tmp_path):
    """Reading is not writing; without a grant the answer is the store's own."""
    path = tmp_path / "grants.json"
    path.write_bytes(msgspec.json.encode([grant("read", "in/"), grant("write", "out/")]))
    grants = Grants(path, FixedClock(T))

    assert grants.find("read", "b", "in/x").prefix == "in/"
    for access, bucket, key in (("write", "b", "in/x"), ("read", "c", "in/x"), ("read", "b", "other")):
        with pytest.raises(AccessDenied, match=r"^AccessDenied \(403\)"):
            grants.find(access, bucket, key)


def test_an_exact_grant_opens_its_key_alone(tmp_path):
    """A manifest's grant must not be taken for that of the objects which it names."""
    path = tmp_path / "grants.json"
    exact = msgspec.structs.replace(grant("read", "data", T + 1), exact=True)
    path.write_bytes(msgspec.json.encode([exact, grant("read", "data/")]))
    grants = Grants(path, FixedClock(T))

    assert grants.find("read", "b", "data").exact
    assert not grants.find("read", "b", "data/x").exact
    with pytest.raises(AccessDenied):
        grants.find("read", "b", "data2")


def test_a_refusal_may_come_from_credentials_that_are_outdated(tmp_path):
    """They have ended by now, or were replaced since the request began; not so if they hold."""
    path = tmp_path / "grants.json"
    clock = FixedClock(T)
    path.write_bytes(msgspec.json.encode([grant("read", "", T + 1000)]))
    grants = Grants(path, clock)

    assert not grants.may_be_outdated("read", "b", "k", since=T)
    clock.advance(1)
    assert grants.may_be_outdated("read", "b", "k", since=T)
    path.write_bytes(msgspec.json.encode([grant("read", "", T + 99_000, key="renewed")]))
    assert grants.find("read", "b", "k").access_key_id == "renewed"
    assert grants.may_be_outdated("read", "b", "k", since=T)
    assert not grants.may_be_outdated("read", "b", "k", since=Instant(T + 1001))


def test_the_failure_file_is_read_to_its_1024th_character(tmp_path):
    """Characters, not bytes; what is no text becomes U+FFFD, and NUL goes."""
    (tmp_path / "output").mkdir()
    failure = tmp_path / "output" / "failure"
    assert failure_text(tmp_path) == ""
    failure.write_text("€" * 5000)
    assert failure_text(tmp_path) == "€" * 1024
    failure.write_bytes(b"a\xff\0b\n")
    assert failure_text(tmp_path) == "a�b\n"


def test_a_failure_file_that_is_none_is_no_trap(tmp_path):
    """A link, a FIFO, a directory, a link above it, a huge file: answered at once, and nothing of others is read."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "failure").write_text("secret")
    output = tmp_path / "opt_ml" / "output"
    output.mkdir(parents=True)
    failure = output / "failure"
    for make in (
        lambda: failure.symlink_to(secret / "failure"),
        lambda: os.mkfifo(failure),
    ):
        make()
        assert failure_text(tmp_path / "opt_ml") == ""
        failure.unlink()
    with failure.open("wb") as file:
        file.truncate(1 << 40)
    assert failure_text(tmp_path / "opt_ml") == ""
    failure.unlink()
    failure.mkdir()
    assert failure_text(tmp_path / "opt_ml") == ""
    failure.rmdir()
    output.rmdir()
    output.symlink_to(secret)
    assert failure_text(tmp_path / "opt_ml") == ""


def test_a_waker_wakes_once_for_many_calls():
    """A wake before the sleep ends it at its beginning; then it is used up."""
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.wait(60)
    waker.leave()
    waker.wait(60)
    waker.wait(0.001)

    assert waker.leaving


def test_reports_are_private(reports, tmp_path):
    """Nobody else on the machine reads a job's report."""
    reports(READY)

    assert stat.S_IMODE((tmp_path / "snapshot.json").stat().st_mode) == 0o600
