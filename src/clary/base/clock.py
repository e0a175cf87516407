"""The time, in one place.

An `Instant` is milliseconds since the Unix epoch in UTC, the resolution of SageMaker's timestamps. Everything that needs
the time is given a `Clock`; only `SystemClock` asks the machine, so that a test can hold time still or jump.
"""

import time
from typing import NewType, Protocol

Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch, UTC."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """The present instant."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> Instant:
        """The present instant."""
        return Instant(time.time_ns() // 1_000_000)


class FixedClock:
    """A clock that stands still until it is moved: for tests and for replaying recorded requests."""

    def __init__(self, at: int = 1_700_000_000_000) -> None:
        self._at = at

    def now(self) -> Instant:
        """The instant it was set to."""
        return Instant(self._at)

    def advance(self, seconds: float) -> None:
        """Move on by that many seconds."""
        self._at += round(seconds * 1000)


def later(at: Instant, seconds: float) -> Instant:
    """The instant that many seconds after `at`."""
    return Instant(at + round(seconds * 1000))
