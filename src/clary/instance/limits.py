"""How much of this machine an ML instance gets: what its type has, where the machine has more. Pure.

`program_limits` is asked when the program is started, `volume_bytes` when its disk is made. Source of "instance types
with NVMe storage use it and ignore VolumeSizeInGB": API model, ResourceConfig.VolumeSizeInGB.
"""

from clary.jobs.instance_types import instance_type
from clary.jobs.task import InstanceTask
from clary.runtimes.port import Limits

PIDS = 16_384
"""Half of what Linux allows a small machine in all (kernel.pid_max is 32,768 up to 32 processors): a program that forks
without end leaves the machine alive, and no training comes near."""

_GIB = 1 << 30


def program_limits(task: InstanceTask, *, cpus: int, memory_bytes: int) -> Limits:
    """What the program may use of a machine with so many processors and so much memory.

    A type that is not known, or has more than the machine, limits nothing; nor does any if the operator wants it so. The
    GPUs are the type's in any case.
    """
    found = instance_type(task.instance_type)
    if found is None:
        return Limits(pids=PIDS)
    if not task.limited:
        return Limits(pids=PIDS, gpus=found.gpus)
    return Limits(
        cpus=float(found.vcpus) if found.vcpus < cpus else None,
        memory_bytes=found.memory_bytes if found.memory_bytes < memory_bytes else None,
        pids=PIDS,
        gpus=found.gpus,
    )


def volume_bytes(task: InstanceTask) -> int | None:
    """The size of the instance's disk; None if nothing but this machine's limits it. AWS's GB are GiB here, as EBS has it."""
    found = instance_type(task.instance_type)
    if task.volume_size_in_gb is None or (found is not None and found.local_storage):
        return None
    return task.volume_size_in_gb * _GIB
