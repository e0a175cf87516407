"""What the controller wants done, as data: decided by `decide`, carried out by `act`."""

import msgspec

from clary.jobs.task import Wishes


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """See that the host's instance program runs."""

    host: str


class Renew(msgspec.Struct, frozen=True, kw_only=True):
    """Give the host new credentials."""

    host: str


class Tell(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the host what is wanted of it."""

    host: str
    wishes: Wishes


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Give the host's instance back; of an earlier `attempt` if one is named."""

    host: str
    attempt: int | None = None


Intent = Launch | Renew | Tell | Release
