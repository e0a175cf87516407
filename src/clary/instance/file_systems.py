"""Channels that are directories of a shared file system: checked when channels are staged, mounted when the program starts.

Called by `stage_channels` and `run_training`. A job of an earlier time may find the file system gone or its directory
removed; the texts are modelled on SageMaker's for an EFS that cannot be mounted (inferred).
"""

import os
from pathlib import Path

from clary.base.beneath import open_beneath
from clary.instance.opt_ml import INPUT_DATA
from clary.jobs.failure import JobFailed, client_error
from clary.jobs.model import Channel, FileSystemDataSource
from clary.jobs.task import InstanceTask
from clary.runtimes.port import Mount


def provide_mount_point(task: InstanceTask, channel: Channel, source: FileSystemDataSource, opt_ml: Path) -> None:
    """Make the empty directory on which the program sees the file system. Raises `JobFailed` if that is not there."""
    about = f"Unable to mount file system: {source.file_system_id} directory path: {source.directory_path}"
    root = task.file_systems.get(source.file_system_id)
    if root is None:
        raise JobFailed(client_error(f"{about}. No directory of this machine stands for it (setting file_systems)."))
    try:
        fd, _ = open_beneath(Path(root), source.directory_path)
    except OSError as error:
        raise JobFailed(client_error(f"{about}. {error.strerror}")) from None
    os.close(fd)
    place = opt_ml / INPUT_DATA / channel.channel_name
    place.mkdir(exist_ok=True)
    place.chmod(0o755)


def mounts(task: InstanceTask) -> tuple[Mount, ...]:
    """What is mounted for the channels. Pure."""
    return tuple(
        Mount(
            source=str(Path(task.file_systems[source.file_system_id], source.directory_path.lstrip("/"))),
            target=f"/opt/ml/{INPUT_DATA}/{channel.channel_name}",
            read_only=source.file_system_access_mode != "rw",
            within=task.file_systems[source.file_system_id],
        )
        for channel in task.channels
        if (source := channel.file_system) is not None
    )
