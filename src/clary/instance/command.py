"""The command line of the training program. Pure; called by `run_training`."""

from clary.jobs.task import InstanceTask

_TRAIN = ("train",)


def argv(task: InstanceTask) -> tuple[str, ...]:
    """What is executed: Docker's rules, with `train` in the place of the image's command.

    ContainerEntrypoint replaces the image's entrypoint and drops `train`; ContainerArguments replace `train`. Source:
    API model, AlgorithmSpecification; the developer guide on how SageMaker runs a training image.
    """
    if task.container_entrypoint:
        return task.container_entrypoint + task.container_arguments
    return task.program.entrypoint + (task.container_arguments or _TRAIN)
