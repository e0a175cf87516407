"""Every member of UpdateTrainingJob, and what becomes of it; see `members` for what the words mean.

Checked by `training_job_changes`; a test walks the API model and fails on a member that no row covers.
"""

from clary.service.members import Effect, Member, refused_rows

UPDATE_MEMBERS: tuple[Member, ...] = (
    Member(path="TrainingJobName", effect=Effect.ACTS, why="Says which job is meant."),
    Member(
        path="ProfilerConfig",
        effect=Effect.RECORDED,
        why="There is no profiler; Describe shows each member as it was given last.",
    ),
    Member(path="ProfilerRuleConfigurations", effect=Effect.REFUSED, why="there is no profiler to evaluate rules"),
    Member(path="ResourceConfig.KeepAlivePeriodInSeconds", effect=Effect.REFUSED, why="warm pools are not there yet"),
    Member(path="RemoteDebugConfig.EnableRemoteDebug", effect=Effect.REFUSED, why="there is no remote debugging"),
)

REFUSED_UPDATE_MEMBERS = refused_rows(UPDATE_MEMBERS)
