"""The file systems that channels may name, by FileSystemId, each a directory of this machine; the setting `file_systems`.

Called by `data_checks`. Whether it is EFS or FSx for Lustre that a directory stands for makes no difference here. SageMaker
asks for a VpcConfig, through whose network it reaches the file system; nothing of the kind is needed to reach a directory.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from clary.aws.errors import ValidationException
from clary.base.beneath import open_beneath
from clary.jobs.model import Channel, FileSystemDataSource


class FileSystems:
    """Looks at the directories on behalf of a request."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots

    async def check(self, channel: Channel, source: FileSystemDataSource) -> None:
        """Raise `ValidationException` for a file system or a directory in it that is not there (inferred texts)."""
        about = f"Input channel '{channel.channel_name}'"
        root = self._roots.get(source.file_system_id)
        if root is None:
            known = ", ".join(sorted(self._roots)) or "none"
            raise ValidationException(
                f"{about}: no directory of this machine stands for the file system {source.file_system_id}; known are: "
                f"{known}. Name its directory in the setting file_systems: {source.file_system_id}=/directory."
            )
        try:
            await asyncio.to_thread(_open, root, source.directory_path)
        except OSError as error:
            raise ValidationException(
                f"{about}: the DirectoryPath '{source.directory_path}' cannot be mounted from the file system "
                f"{source.file_system_id}: {error.strerror}."
            ) from None


def _open(root: Path, path: str) -> None:
    fd, _ = open_beneath(root, path)
    os.close(fd)
