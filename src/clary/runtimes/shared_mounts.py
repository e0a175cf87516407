"""Mounts of directories that others fill: opened where they really are, or refused.

Called by the runtimes, at the last moment before they mount.
"""

import os
from pathlib import Path

from clary.base.beneath import open_beneath
from clary.runtimes.port import CannotStart, Mount


def open_shared(mount: Mount) -> tuple[int, Path]:
    """A descriptor (O_PATH) of a mount's directory, and its path without links. Raises `CannotStart`."""
    root = Path(mount.within or "/")
    try:
        return open_beneath(root, str(Path(mount.source).relative_to(root)))
    except (OSError, ValueError) as error:
        raise CannotStart(f"{mount.source} cannot be mounted as {mount.target}: {error}") from None


def real_source(mount: Mount) -> Mount:
    """The mount with its source as it is without links, for an engine that takes no descriptors. Raises `CannotStart`."""
    if mount.within is None:
        return mount
    fd, real = open_shared(mount)
    os.close(fd)
    return Mount(source=str(real), target=mount.target, read_only=mount.read_only, within=mount.within)
