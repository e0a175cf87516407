"""The state machine of a training job, as data.

AWS shows two statuses. Only the secondary one is stored; `STATUS_OF` gives the primary one. `TRANSITIONS` says which
event leads from where to where; a pair that is missing there cannot happen. `transitions.apply` is the only code that
moves a job, and the diagram in the docs is drawn from these tables.

Source: API model, DescribeTrainingJobResponse.SecondaryStatus and SecondaryStatusTransition.
"""

from enum import StrEnum


class TrainingJobStatus(StrEnum):
    """Where a job stands, coarsely (Source: API model, TrainingJobStatus)."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


class SecondaryStatus(StrEnum):
    """Where a job stands, in detail (Source: API model, SecondaryStatus; the values that Clary emits)."""

    STARTING = "Starting"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    UPLOADING = "Uploading"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    COMPLETED = "Completed"
    FAILED = "Failed"


class Event(StrEnum):
    """What can befall a job."""

    INSTANCES_READY = "instances ready"
    INPUT_READY = "input ready"
    PROGRAM_ENDED = "program ended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOP = "stop"
    STOPPED = "stopped"
    RUNTIME_EXCEEDED = "runtime exceeded"
    RESTART = "restart"


STATUS_OF: dict[SecondaryStatus, TrainingJobStatus] = {
    SecondaryStatus.STARTING: TrainingJobStatus.IN_PROGRESS,
    SecondaryStatus.DOWNLOADING: TrainingJobStatus.IN_PROGRESS,
    SecondaryStatus.TRAINING: TrainingJobStatus.IN_PROGRESS,
    SecondaryStatus.UPLOADING: TrainingJobStatus.IN_PROGRESS,
    SecondaryStatus.STOPPING: TrainingJobStatus.STOPPING,
    SecondaryStatus.STOPPED: TrainingJobStatus.STOPPED,
    SecondaryStatus.MAX_RUNTIME_EXCEEDED: TrainingJobStatus.STOPPED,
    SecondaryStatus.COMPLETED: TrainingJobStatus.COMPLETED,
    SecondaryStatus.FAILED: TrainingJobStatus.FAILED,
}

TRANSITIONS: dict[SecondaryStatus, dict[Event, SecondaryStatus]] = {
    SecondaryStatus.STARTING: {
        Event.INSTANCES_READY: SecondaryStatus.DOWNLOADING,
        Event.FAILED: SecondaryStatus.FAILED,
        Event.STOP: SecondaryStatus.STOPPING,
        Event.RESTART: SecondaryStatus.STARTING,
    },
    SecondaryStatus.DOWNLOADING: {
        Event.INPUT_READY: SecondaryStatus.TRAINING,
        Event.FAILED: SecondaryStatus.FAILED,
        Event.STOP: SecondaryStatus.STOPPING,
        Event.RESTART: SecondaryStatus.STARTING,
    },
    SecondaryStatus.TRAINING: {
        Event.PROGRAM_ENDED: SecondaryStatus.UPLOADING,
        Event.FAILED: SecondaryStatus.FAILED,
        Event.STOP: SecondaryStatus.STOPPING,
        Event.RESTART: SecondaryStatus.STARTING,
    },
    SecondaryStatus.UPLOADING: {
        Event.SUCCEEDED: SecondaryStatus.COMPLETED,
        Event.FAILED: SecondaryStatus.FAILED,
        Event.STOP: SecondaryStatus.STOPPING,
        Event.RESTART: SecondaryStatus.STARTING,
    },
    SecondaryStatus.STOPPING: {
        Event.STOPPED: SecondaryStatus.STOPPED,
        Event.RUNTIME_EXCEEDED: SecondaryStatus.MAX_RUNTIME_EXCEEDED,
        Event.FAILED: SecondaryStatus.FAILED,
    },
    SecondaryStatus.STOPPED: {},
    SecondaryStatus.MAX_RUNTIME_EXCEEDED: {},
    SecondaryStatus.COMPLETED: {},
    SecondaryStatus.FAILED: {},
}

TERMINAL: frozenset[SecondaryStatus] = frozenset(status for status, moves in TRANSITIONS.items() if not moves)
"""The statuses that a job never leaves."""

MESSAGES: dict[SecondaryStatus, str] = {
    SecondaryStatus.STARTING: "Starting the training job",
    SecondaryStatus.DOWNLOADING: "Downloading input data",
    SecondaryStatus.TRAINING: "Training image download completed. Training in progress.",
    SecondaryStatus.UPLOADING: "Uploading generated training model",
    SecondaryStatus.STOPPING: "Stopping the training job",
    SecondaryStatus.STOPPED: "Training job stopped",
    SecondaryStatus.MAX_RUNTIME_EXCEEDED: "Training job runtime exceeded MaxRuntimeInSeconds provided",
    SecondaryStatus.COMPLETED: "Training job completed",
    SecondaryStatus.FAILED: "Training job failed",
}
"""The first StatusMessage of each status. Each differs from its neighbours': clients detect progress by comparing them."""

DOWNLOADING_IMAGE_MESSAGE = "Downloading the training image"
"""While Downloading, before the input data (observed in 2023 and later). How far it is may follow, after a colon."""

LAUNCHING_MESSAGE = "Launching requested ML instances"
PREPARING_MESSAGE = "Preparing the instances for training"
WAITING_MESSAGE = "Waiting for free ML instances"
