"""What an error of the storage means for a job: a failure in AWS's words, or a reason to try again. Pure.

Called by the steps that move data. None means that the store may come back by itself, and the work should wait for it.
Source of the texts: FailureReasons of SageMaker jobs; where none was seen, S3's own words follow the same beginning.
"""

import errno

from clary.jobs.failure import JobFailure, client_error, internal_error
from clary.runtimes.port import VolumeTrouble
from clary.storage.port import StorageError, Unreachable
from clary.storage.selection import SelectionError
from clary.storage.transfer import InsufficientDisk


def download_failure(error: Exception) -> JobFailure | None:
    """Why a channel cannot be staged; None to try again. Raises `error` itself if it is none of the storage's."""
    match error:
        case Unreachable():
            return None
        case InsufficientDisk() | VolumeTrouble() | OSError(errno=errno.ENOSPC) | OSError(errno=errno.EDQUOT):
            return client_error("Data download failed:Insufficient disk space")
        case StorageError() | SelectionError():
            return client_error(f"Data download failed:{error}")
    raise error


def upload_failure(error: Exception, what: str = "Artifact upload failed") -> JobFailure | None:
    """Why an artifact cannot be uploaded; None to try again. Raises `error` itself if it is none of the storage's."""
    match error:
        case Unreachable():
            return None
        case StorageError(status=403) | StorageError(status=401):
            return client_error(f"{what}:Error 7: {error}")
        case StorageError():
            return client_error(f"{what}:{error}")
        case OSError(errno=errno.EACCES) | OSError(errno=errno.EPERM):
            return client_error(f"{what}:{error.strerror}: {error.filename}")
        case VolumeTrouble():
            return internal_error(f"{what}:{error}")
    raise error


def sync_failure(error: Exception) -> JobFailure | None:
    """Why the last checkpoints cannot be uploaded or deleted, as `upload_failure` (the words are inferred).

    A directory that is no directory any more was put aside by the program. A full disk of this machine is waited for.
    """
    match error:
        case OSError(errno=errno.ENOTDIR) | OSError(errno=errno.ELOOP):
            return client_error("Checkpoint upload failed:LocalPath is no directory any more")
        case OSError(errno=errno.ENOSPC) | OSError(errno=errno.EDQUOT):
            return None
    return upload_failure(error, "Checkpoint upload failed")


def empty_listing(s3_uri: str) -> JobFailure:
    """Nothing is below the URI any more (something was, when the job was created)."""
    return client_error(f'Data download failed:No S3 objects found under S3 URL "{s3_uri}" given in input data source.')
