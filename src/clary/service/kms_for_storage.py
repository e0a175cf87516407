"""KMS for the embedded store alone: what it asks for when objects are under SSE-KMS. Made by `app`, before the store starts.

A door of its own, because the store asks at its start already, before the gateway can answer, and because it outlives a
killed server and goes on asking where it was told: at a port that stays the same, whatever the listener's is.
"""

from collections.abc import Callable

from clary.aws.gateway import Gateway
from clary.aws.handlers import Handler, Service
from clary.aws.sigv4 import Credential
from clary.base.clock import Clock

_ASKED_FOR = ("Decrypt", "DescribeKey", "GenerateDataKey")


def kms_for_storage(
    handlers: dict[str, Handler], *, store: Callable[[], Credential], clock: Clock, account_id: str, region: str
) -> Gateway:
    """The application: those of KMS's handlers, for the holder of the store's credential and nobody else."""

    def find(access_key_id: str, session_token: str | None) -> Credential | None:
        found = store()
        return found if session_token is None and access_key_id == found.access_key_id else None

    return Gateway(
        services=[Service(name="kms", handlers={name: handlers[name] for name in _ASKED_FOR})],
        credentials=find,
        clock=clock,
        account_id=account_id,
        region=region,
    )
