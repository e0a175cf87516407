"""How many requests an operation takes: token buckets, one for each service and class of operations.

`Chain` asks `Throttle.take` once it knows who calls what, so that a stranger uses up nothing. Pure: the time is passed in.
The classes follow AWS's quotas, which are tightest where something is made: "create", "read" (nothing changes), "write"
(all others). Source: Service Quotas of SageMaker ("Rate of CreateTrainingJob requests"); the classes are ours.
"""

from collections.abc import Mapping
from typing import Final

from clary.base.clock import Instant

_READING: Final = ("BatchGet", "Describe", "Filter", "Get", "List", "Search", "Simulate")


def class_of(operation: str) -> str:
    """The class of an operation, from its verb."""
    if operation.startswith("Create"):
        return "create"
    return "read" if operation.startswith(_READING) else "write"


class TokenBucket:
    """Takes `rate` requests a second in the long run, and up to `burst` at once."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at: Instant | None = None

    def take(self, now: Instant) -> bool:
        """Whether one more request may pass. A clock that was set back gives no tokens and takes none."""
        if self._at is not None:
            gained = max(0, now - self._at) / 1000 * self._rate
            self._tokens = min(float(self._burst), self._tokens + gained)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Throttle:
    """The buckets. `rates` gives requests a second by class; a class that is not there is not limited."""

    def __init__(self, rates: Mapping[str, float], *, burst: int) -> None:
        self._rates = rates
        self._burst = burst
        self._buckets: dict[tuple[str, str], TokenBucket] = {}

    def take(self, service: str, operation: str, now: Instant) -> bool:
        """Whether this request may pass."""
        if not self._rates:
            return True
        of = class_of(operation)
        rate = self._rates.get(of)
        if rate is None:
            return True
        bucket = self._buckets.get((service, of))
        if bucket is None:
            bucket = self._buckets[service, of] = TokenBucket(rate=rate, burst=self._burst)
        return bucket.take(now)
