"""The journal: what is noted stays noted, what is half-noted never happened."""

import pytest

from clary.base.clock import Instant
from clary.instance import state
from clary.instance.journal import Journal
from clary.jobs.failure import client_error
from clary.jobs.task import Phase, ProgramEnd, StopReason

T = Instant(1_000)
LIFE = [
    state.AgentStarted(at=T),
    state.Ready(at=Instant(1)),
    state.ChannelStaged(at=T, channel_name="train"),
    state.InputReady(at=T),
    state.StandingBy(at=Instant(2)),
    state.PeersReady(at=T),
    state.ProgramStarting(at=Instant(2), log_stream="job/algo-1-1"),
    state.ProgramStarted(at=Instant(3)),
    state.AgentLeft(at=T),
    state.AgentStarted(at=T),
    state.AgentSettled(at=T),
    state.Stopping(at=Instant(4), reason=StopReason.STOP_TRAINING_JOB),
    state.Terminated(at=T),
    state.Killing(at=T),
    state.Ended(at=Instant(5), exit_code=137, failure_text="oh"),
    state.UploadBegun(at=T),
    state.ArtifactUploaded(at=T, artifact="model", uri="s3://m/model.tar.gz"),
    state.Failed(at=T, failure=client_error("no")),
    state.Uploaded(at=T),
    state.Finished(at=Instant(6)),
]


def write(path, entries):
    journal = Journal(path)
    for entry in entries:
        journal.note(entry)
    journal.close()
    return journal.state


def read(path):
    journal = Journal(path)
    journal.close()
    return journal.state


def test_a_new_program_knows_what_the_last_one_noted(tmp_path):
    """Every kind of entry comes back, and gives the same state."""
    written = write(tmp_path / "j", LIFE)

    assert read(tmp_path / "j") == written
    assert written == state.State(
        starts=2,
        ready_at=Instant(1),
        staged_channels=frozenset({"train"}),
        input_ready=True,
        standing_by_at=Instant(2),
        peers_ready=True,
        program_start_at=Instant(2),
        log_stream="job/algo-1-1",
        program_started=True,
        stopping_at=Instant(4),
        stop_reason=StopReason.STOP_TRAINING_JOB,
        terminated=True,
        killing=True,
        ended_at=Instant(5),
        program_end=ProgramEnd(exit_code=137, failure_text="oh"),
        failure=client_error("no"),
        upload_begun=True,
        artifacts=(("model", "s3://m/model.tar.gz"),),
        uploaded=True,
        finished_at=Instant(6),
    )


def test_each_prefix_gives_a_phase_that_only_advances(tmp_path):
    """Wherever the life is cut, the phase is known, and never goes back."""
    order = list(Phase)
    phases = []
    known = state.State()
    for entry in LIFE:
        known = state.after(known, entry)
        phases.append(known.phase)

    assert phases == sorted(phases, key=order.index)
    assert set(phases) == set(order)


def test_moments_are_set_once():
    """A step that is taken again after a crash does not move what has been reported."""
    known = state.State()
    for entry in LIFE:
        known = state.after(known, entry)
    again = known
    for entry in (
        state.Ready(at=Instant(99)),
        state.StandingBy(at=Instant(99)),
        state.ProgramStarting(at=Instant(99), log_stream="other"),
        state.Stopping(at=Instant(99), reason=StopReason.PEER_ENDED),
        state.Ended(at=Instant(99), exit_code=0),
        state.Failed(at=Instant(99), failure=client_error("later")),
        state.Finished(at=Instant(99)),
    ):
        again = state.after(again, entry)

    assert again == known


@pytest.mark.parametrize("torn", [b'{"what":"rea', b"\0\0\0\n", b'{"what":"nonsense","at":1}\n'])
def test_a_torn_end_never_happened(tmp_path, torn):
    """What a crash left behind the last whole entry is cut off, and the next entry stands in its place."""
    path = tmp_path / "j"
    before = write(path, LIFE[:2])
    with path.open("ab") as file:
        file.write(torn)

    assert read(path) == before
    assert write(path, [LIFE[2]]) == read(path)
    assert path.read_bytes().count(b"\n") == 3


def test_damage_in_the_middle_is_no_torn_end(tmp_path):
    """Entries behind a damaged one are not dropped in silence."""
    path = tmp_path / "j"
    write(path, LIFE[:1])
    with path.open("ab") as file:
        file.write(b"nonsense\n")
        file.write(b'{"what":"agent left","at":1}\n')

    with pytest.raises(Exception, match="JSON"):
        Journal(path)


def test_starts_without_an_effect_are_counted():
    """Each start adds one, any other entry begins anew."""
    known = state.State()
    for entry in (LIFE[0], LIFE[0], LIFE[1], LIFE[0]):
        known = state.after(known, entry)

    assert (known.starts, known.barren_starts) == (3, 1)
