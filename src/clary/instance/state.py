"""What has been done on this instance: the entries of its journal, and the state that they add up to. Pure.

Each entry is one fact with its instant. `after` folds an entry into the state; the same entries always give the same
state, so that a restarted instance program knows what its predecessor knew. Written by the steps through `journal`,
read by `decisions` and turned into reports by `snapshot`.
"""

import msgspec

from clary.base.clock import Instant
from clary.jobs.failure import JobFailure
from clary.jobs.task import Phase, ProgramEnd, StopReason


class _Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", omit_defaults=True):
    at: Instant


class AgentStarted(_Entry, frozen=True, kw_only=True, tag="agent started"):
    """An instance program took up the work."""


class AgentLeft(_Entry, frozen=True, kw_only=True, tag="agent left"):
    """The instance program was told to go; whatever runs goes on."""


class AgentSettled(_Entry, frozen=True, kw_only=True, tag="agent settled"):
    """The instance program has watched the program for a while without harm."""


class Ready(_Entry, frozen=True, kw_only=True, tag="ready"):
    """/opt/ml stands."""


class ImageProvided(_Entry, frozen=True, kw_only=True, tag="image provided"):
    """The training image is on this machine; `image` names exactly it, whatever its tag comes to mean."""

    image: str


class ChannelStaged(_Entry, frozen=True, kw_only=True, tag="channel staged"):
    """All of this host's objects of one channel are in place."""

    channel_name: str


class CheckpointsRestored(_Entry, frozen=True, kw_only=True, tag="checkpoints restored"):
    """All checkpoints that were in S3 are in place."""


class InputReady(_Entry, frozen=True, kw_only=True, tag="input ready"):
    """All channels are there."""


class StandingBy(_Entry, frozen=True, kw_only=True, tag="standing by"):
    """All that this host's program needs is here; other hosts may still be at it."""


class PeersReady(_Entry, frozen=True, kw_only=True, tag="peers ready"):
    """The other hosts have theirs, too."""


class ProgramStarting(_Entry, frozen=True, kw_only=True, tag="program starting"):
    """The program is about to be started; its log stream is chosen."""

    log_stream: str


class ProgramStarted(_Entry, frozen=True, kw_only=True, tag="program started"):
    """The runtime has the program."""


class Stopping(_Entry, frozen=True, kw_only=True, tag="stopping"):
    """The instance was told to end its program early, or never to start it."""

    reason: StopReason


class Terminated(_Entry, frozen=True, kw_only=True, tag="terminated"):
    """The program got SIGTERM."""


class Killing(_Entry, frozen=True, kw_only=True, tag="killing"):
    """The program is about to get SIGKILL."""


class Ended(_Entry, frozen=True, kw_only=True, tag="ended"):
    """The program has ended and all it said is stored; or it never will start (`exit_code` None), or is lost."""

    exit_code: int | None = None
    failure_text: str = ""
    out_of_memory: bool = False
    lost: bool = False


class Failed(_Entry, frozen=True, kw_only=True, tag="failed"):
    """The instance itself failed. Only the first failure counts."""

    failure: JobFailure


class CheckpointsSynced(_Entry, frozen=True, kw_only=True, tag="checkpoints synced"):
    """S3 holds the checkpoints that the program has left; or else it cannot, for this reason, which fails the job."""

    failure: JobFailure | None = None


class UploadBegun(_Entry, frozen=True, kw_only=True, tag="upload begun"):
    """Artifacts are on their way."""


class ArtifactUploaded(_Entry, frozen=True, kw_only=True, tag="artifact uploaded"):
    """One artifact is in S3, at `uri`."""

    artifact: str
    uri: str


class Uploaded(_Entry, frozen=True, kw_only=True, tag="uploaded"):
    """All artifacts that there are to upload are in S3, or were given up."""


class Finished(_Entry, frozen=True, kw_only=True, tag="finished"):
    """Nothing more will happen."""


Entry = (
    AgentStarted
    | AgentLeft
    | AgentSettled
    | Ready
    | ImageProvided
    | ChannelStaged
    | InputReady
    | CheckpointsRestored
    | StandingBy
    | PeersReady
    | ProgramStarting
    | ProgramStarted
    | Stopping
    | Terminated
    | Killing
    | Ended
    | Failed
    | CheckpointsSynced
    | UploadBegun
    | ArtifactUploaded
    | Uploaded
    | Finished
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the instance stands.

    `starts` counts the instance programs that worked here; `barren_starts` those of them, up to now, after whose start
    nothing else was noted. `program_start_at` is the moment at which the program was first about to be started.
    `checkpoint_failure` fails the job, too, but not before its artifacts are uploaded.
    """

    starts: int = 0
    barren_starts: int = 0
    ready_at: Instant | None = None
    image: str | None = None
    staged_channels: frozenset[str] = frozenset()
    input_ready: bool = False
    checkpoints_restored: bool = False
    standing_by_at: Instant | None = None
    peers_ready: bool = False
    program_start_at: Instant | None = None
    log_stream: str | None = None
    program_started: bool = False
    stopping_at: Instant | None = None
    stop_reason: StopReason | None = None
    terminated: bool = False
    killing: bool = False
    ended_at: Instant | None = None
    program_end: ProgramEnd | None = None
    lost: bool = False
    failure: JobFailure | None = None
    checkpoints_synced: bool = False
    checkpoint_failure: JobFailure | None = None
    upload_begun: bool = False
    artifacts: tuple[tuple[str, str], ...] = ()
    uploaded: bool = False
    finished_at: Instant | None = None

    @property
    def phase(self) -> Phase:
        """What the instance is doing."""
        if self.finished_at is not None:
            return Phase.FINISHED
        if self.upload_begun:
            return Phase.UPLOADING
        if self.ended_at is not None:
            return Phase.ENDED
        if self.program_started:
            return Phase.TRAINING
        return Phase.PREPARING if self.ready_at is None else Phase.DOWNLOADING

    @property
    def exit_code(self) -> int | None:
        """The program's exit code; None while it runs, and if it never ran."""
        return None if self.program_end is None else self.program_end.exit_code


def after(state: State, entry: Entry) -> State:
    """The state once `entry` has happened. A moment that is set already stays as it is."""
    replace = msgspec.structs.replace
    match entry:
        case AgentStarted():
            return replace(state, starts=state.starts + 1, barren_starts=state.barren_starts + 1)
        case AgentLeft() | AgentSettled():
            pass
        case Ready():
            state = replace(state, ready_at=_first(state.ready_at, entry.at))
        case ImageProvided():
            state = replace(state, image=state.image or entry.image)
        case ChannelStaged():
            state = replace(state, staged_channels=state.staged_channels | {entry.channel_name})
        case InputReady():
            state = replace(state, input_ready=True)
        case CheckpointsRestored():
            state = replace(state, checkpoints_restored=True)
        case StandingBy():
            state = replace(state, standing_by_at=_first(state.standing_by_at, entry.at))
        case PeersReady():
            state = replace(state, peers_ready=True)
        case ProgramStarting():
            state = replace(
                state,
                program_start_at=_first(state.program_start_at, entry.at),
                log_stream=state.log_stream or entry.log_stream,
            )
        case ProgramStarted():
            state = replace(state, program_started=True)
        case Stopping():
            if state.stopping_at is None:
                state = replace(state, stopping_at=entry.at, stop_reason=entry.reason)
        case Terminated():
            state = replace(state, terminated=True)
        case Killing():
            state = replace(state, killing=True)
        case Ended():
            if state.ended_at is None:
                end = ProgramEnd(
                    exit_code=entry.exit_code, failure_text=entry.failure_text, out_of_memory=entry.out_of_memory
                )
                state = replace(state, ended_at=entry.at, program_end=end, lost=entry.lost)
        case Failed():
            state = replace(
                state,
                failure=state.failure or entry.failure,
                ended_at=_first(state.ended_at, entry.at),
                program_end=state.program_end or ProgramEnd(exit_code=None),
            )
        case CheckpointsSynced():
            state = replace(state, checkpoints_synced=True, checkpoint_failure=entry.failure)
        case UploadBegun():
            state = replace(state, upload_begun=True)
        case ArtifactUploaded():
            state = replace(state, artifacts=(*state.artifacts, (entry.artifact, entry.uri)))
        case Uploaded():
            state = replace(state, uploaded=True)
        case Finished():
            state = replace(state, finished_at=_first(state.finished_at, entry.at))
    return replace(state, barren_starts=0)


def _first(known: Instant | None, at: Instant) -> Instant:
    return at if known is None else known
