"""What the training program is started with. Pure; called by `run_training`."""

from clary.jobs.task import InstanceTask
from clary.runtimes.port import Container

_TRAIN = ("train",)


def argv(task: InstanceTask) -> tuple[str, ...]:
    """What is executed: Docker's rules, with `train` in the place of the image's command.

    ContainerEntrypoint replaces the image's entrypoint and drops `train`; ContainerArguments replace `train`. Source:
    API model, AlgorithmSpecification; the developer guide on how SageMaker runs a training image.
    """
    if task.container_entrypoint:
        return task.container_entrypoint + task.container_arguments
    return task.program.entrypoint + (task.container_arguments or _TRAIN)


def container(task: InstanceTask, image: str) -> Container:
    """What a container engine is to start: `image` with what the task puts in the place of its entrypoint and command.

    The name of the network is the same on all hosts of the attempt. Source: as `argv`.
    """
    if task.container_entrypoint:
        entrypoint, arguments = task.container_entrypoint, task.container_arguments
    else:
        entrypoint, arguments = None, task.container_arguments or _TRAIN
    return Container(
        name=task.instance_name,
        image=image,
        network=f"{task.training_job_name}-a{task.attempt}",
        entrypoint=entrypoint,
        arguments=arguments,
    )
