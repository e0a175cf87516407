"""Reading objects while a program waits for their bytes, whatever becomes of the store and of our credentials meanwhile.

Used by `pipes` and `fast_file`. A store that cannot be reached is waited for, and so are new credentials where the old ones
have ended; everything else that the store answers is for the caller.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from clary.base.clock import Clock
from clary.base.telemetry import Logger
from clary.instance.channel_plan import StorageFor
from clary.instance.decisions import try_again_s
from clary.instance.grants import Grants
from clary.storage.port import AccessDenied, ObjectInfo, ObjectStorage, Unreachable
from clary.storage.reading import ReadObject
from clary.storage.seal import Seal
from clary.storage.uri import S3Location

T = TypeVar("T")


class Patience:
    """Waits for storage. Thread-safe. `wait` takes seconds, and answers whether there is anything left to do then."""

    def __init__(
        self,
        *,
        storage_for: StorageFor,
        grants: Grants,
        clock: Clock,
        log: Logger,
        wait: Callable[[float], bool],
    ) -> None:
        self._storage_for = storage_for
        self._grants = grants
        self._clock = clock
        self._log = log
        self._wait = wait
        self._lock = threading.Lock()
        self._storages: dict[S3Location, ObjectStorage] = {}

    def storage_of(self, entry: ReadObject) -> "PatientStorage":
        """The storage of an object."""
        return PatientStorage(self, S3Location(bucket=entry.bucket, key=entry.key))

    def head(self, location: S3Location) -> ObjectInfo:
        """See `ObjectStorage`."""
        return self.attempt(location, lambda storage: storage.head(location.bucket, location.key))

    def attempt(self, location: S3Location, attempt: Callable[[ObjectStorage], T]) -> T:
        """Try until the storage answers. Raises what it answers, unless the credentials were about to be renewed."""
        failures = 0
        while True:
            begun_at = self._clock.now()
            try:
                return attempt(self._granted(location))
            except (Unreachable, AccessDenied) as error:
                outdated = self._grants.may_be_outdated("read", location.bucket, location.key, since=begun_at)
                if isinstance(error, AccessDenied) and not outdated:
                    raise
                failures += 1
                self._log.warning("object not read", uri=str(location), error=str(error), failures=failures)
                if not self._wait(try_again_s(failures)):
                    raise

    def _granted(self, location: S3Location) -> ObjectStorage:
        """The storage by which an object may be read: one for all that a grant opens, for the sake of its connections."""
        place = S3Location(bucket=location.bucket, key=self._grants.find("read", location.bucket, location.key).prefix)
        with self._lock:
            if place not in self._storages:
                self._storages[place] = self._storage_for("read", place)
            return self._storages[place]


class PatientStorage:
    """Reads an object of a storage that may be away for a while."""

    def __init__(self, patience: Patience, location: S3Location) -> None:
        self._patience = patience
        self._location = location

    def get(
        self, bucket: str, key: str, *, etag: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes | memoryview:
        """See `ObjectStorage`."""
        return self._patience.attempt(
            self._location, lambda storage: storage.get(bucket, key, etag=etag, start=start, length=length)
        )

    def seal(self, bucket: str, key: str, etag: str, *, sure: bool = False) -> Seal | None:
        """See `ObjectStorage`."""
        return self._patience.attempt(self._location, lambda storage: storage.seal(bucket, key, etag, sure=sure))
