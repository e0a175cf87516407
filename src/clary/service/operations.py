"""All operations that Clary answers, by service: what the gateway is built from."""

from clary.aws.handlers import Service
from clary.service import identity
from clary.service.log_streams import LogStreams
from clary.service.training_jobs import TrainingJobs

OPERATIONS: dict[str, frozenset[str]] = {
    "sagemaker": frozenset({"CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob"}),
    "logs": frozenset({"DescribeLogStreams", "GetLogEvents"}),
    "sts": frozenset({"GetCallerIdentity"}),
}
"""What Clary claims to answer, by service; `services` holds itself to it."""


def services(training_jobs: TrainingJobs, log_streams: LogStreams) -> tuple[Service, ...]:
    """The services, each with its operations. Raises ValueError if they are not those that are claimed."""
    handlers = {
        "sagemaker": training_jobs.handlers(),
        "logs": log_streams.handlers(),
        "sts": identity.handlers(),
    }
    if {name: frozenset(served) for name, served in handlers.items()} != OPERATIONS:
        raise ValueError("the operations that are served are not those that are claimed")
    return tuple(Service(name=name, handlers=served) for name, served in handlers.items())
