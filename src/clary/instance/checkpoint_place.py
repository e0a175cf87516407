"""Where a job's checkpoints lie on this instance, and where its program sees them. Pure.

Called by whoever restores, mounts or synchronises them. A directory right below /opt/ml is one of that mount: a program
may remove it, make it anew, and rename files into it. Any other has a mount of its own, which nobody can swap for a link.
"""

from pathlib import Path, PurePosixPath

from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import CheckpointConfig
from clary.runtimes.port import Mount
from clary.storage.uri import S3Location, parse_s3_uri

_OPT_ML = PurePosixPath("/opt/ml")


def objects(config: CheckpointConfig) -> S3Location:
    """What the keys of all checkpoints begin with: all below S3Uri, and nothing whose name only begins alike (inferred)."""
    return parse_s3_uri(config.s3_uri).child("")


def directory(config: CheckpointConfig, files: InstanceFiles) -> Path:
    """The directory on this machine."""
    path = _path(config)
    return files.opt_ml / path.name if path.parent == _OPT_ML else files.checkpoints


def mounts(config: CheckpointConfig | None, files: InstanceFiles) -> tuple[Mount, ...]:
    """What has to be mounted beside /opt/ml."""
    if config is None or _path(config).parent == _OPT_ML:
        return ()
    return (Mount(source=str(files.checkpoints), target=str(_path(config)), read_only=False),)


def _path(config: CheckpointConfig) -> PurePosixPath:
    return PurePosixPath("/" + config.directory.strip("/"))
