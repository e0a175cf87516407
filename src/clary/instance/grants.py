"""The temporary credentials that this instance was given, and which of them opens what.

Used by the steps that move data, from their background threads. The file is replaced when credentials are renewed, and
read again whenever it is another one, so that a transfer of many hours goes on with new keys.
"""

import contextlib
import threading
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.clock import Clock, Instant
from clary.instance.watched_file import WatchedFile
from clary.jobs.task import StorageGrant
from clary.storage.port import AccessDenied


class Grants:
    """The grants of an instance. Thread-safe."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = WatchedFile(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._grants: list[StorageGrant] = []
        self._renewed_at = Instant(0)

    def find(self, access: str, bucket: str, key: str) -> StorageGrant:
        """The grant to "read" or "write" keys that begin with `key`. Raises `AccessDenied` if there is none."""
        with self._lock:
            data = self._file.changed()
            if data is not None:
                with contextlib.suppress(msgspec.DecodeError):  # then the last ones stand, as long as they hold
                    grants = typed.from_json(data, list[StorageGrant])
                    if self._grants:
                        self._renewed_at = self._clock.now()
                    self._grants = grants
            fitting = [
                grant
                for grant in self._grants
                if grant.access == access and grant.bucket == bucket and _covers(grant, key)
            ]
        if not fitting:
            raise AccessDenied(
                f"AccessDenied (403): the job's role gives no permission to {access} s3://{bucket}/{key}",
                code="AccessDenied",
                status=403,
            )
        return max(fitting, key=lambda grant: grant.expiration)

    def may_be_outdated(self, access: str, bucket: str, key: str, *, since: Instant) -> bool:
        """Whether a refusal in a request begun at `since` may come from credentials that have ended or were replaced."""
        try:
            grant = self.find(access, bucket, key)
        except AccessDenied:
            return False
        return grant.expiration <= self._clock.now() or self._renewed_at >= since


def _covers(grant: StorageGrant, key: str) -> bool:
    return key == grant.prefix if grant.exact else key.startswith(grant.prefix)
