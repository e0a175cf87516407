"""All operations that Clary answers, by service: what the gateway is built from."""

from clary.aws.handlers import Service
from clary.service import identity
from clary.service.log_streams import LogStreams
from clary.service.training_jobs import TrainingJobs


def services(training_jobs: TrainingJobs, log_streams: LogStreams) -> tuple[Service, ...]:
    """The services, each with its operations."""
    return (
        Service(name="sagemaker", handlers=training_jobs.handlers()),
        Service(name="logs", handlers=log_streams.handlers()),
        Service(name="sts", handlers=identity.handlers()),
    )
