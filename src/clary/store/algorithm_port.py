"""Where algorithms are kept: the port that `service` speaks, whatever the database.

When a write returns, it is durable. Any method may raise `errors.DatabaseUnavailable`. Adapters: `sqlite_algorithms` (in
the file of the training jobs, through the same writer) and `memory_algorithms` (for tests). Whoever opened the database
closes it.
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from clary.base.clock import Instant
from clary.jobs.algorithm import Algorithm, AlgorithmStatus


class AlgorithmNameTaken(Exception):
    """An algorithm with this name, letter case aside, exists already. Carries the ARN of that algorithm."""

    def __init__(self, algorithm_arn: str) -> None:
        super().__init__(algorithm_arn)
        self.algorithm_arn = algorithm_arn


class NoSuchAlgorithm(Exception):
    """No algorithm has this name."""


class StaleAlgorithm(Exception):
    """Somebody else wrote the algorithm since it was read: read it again, decide again."""


class AlgorithmSortBy(StrEnum):
    """What a list is sorted by (Source: API model, AlgorithmSortBy). Ties are broken by name."""

    NAME = "Name"
    CREATION_TIME = "CreationTime"


class AlgorithmQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which algorithms, in which order. Time bounds are exclusive (inferred); `name_contains` minds letter case (inferred).

    Names are sorted as ASCII is: capitals before small letters (inferred).
    """

    sort_by: AlgorithmSortBy = AlgorithmSortBy.CREATION_TIME
    descending: bool = False
    name_contains: str | None = None
    creation_time_after: Instant | None = None
    creation_time_before: Instant | None = None


class AlgorithmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of an algorithm."""

    algorithm_name: str
    algorithm_arn: str
    algorithm_description: str | None
    creation_time: Instant
    algorithm_status: AlgorithmStatus


class AlgorithmCursor(msgspec.Struct, frozen=True, kw_only=True):
    """The last algorithm of a page: the value that the list is sorted by, and its name."""

    value: str | int
    name: str


class AlgorithmPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some algorithms, and where to go on; `cursor` is None on the last page."""

    summaries: tuple[AlgorithmSummary, ...]
    cursor: AlgorithmCursor | None


class AlgorithmStore(Protocol):
    """Keeps algorithms. Safe to use from one event loop. A name finds its algorithm whatever the letter case, since an
    ARN carries it in lower case.
    """

    async def create(self, algorithm: Algorithm) -> None:
        """Keep a new algorithm, at the version that it has. Raises `AlgorithmNameTaken`; then nothing was written."""
        ...

    async def get(self, algorithm_name: str) -> Algorithm:
        """The algorithm of that name, letter case aside. Raises `NoSuchAlgorithm`."""
        ...

    async def commit(self, algorithm: Algorithm) -> Algorithm:
        """Replace the algorithm if it is still at `algorithm.version`; the answer carries the next version.

        Raises `StaleAlgorithm` (nothing was written) and `NoSuchAlgorithm`.
        """
        ...

    async def delete(self, algorithm_name: str) -> None:
        """Forget the algorithm of that name, letter case aside; the name is free again. Raises `NoSuchAlgorithm`."""
        ...

    async def list(self, query: AlgorithmQuery, *, limit: int, after: AlgorithmCursor | None = None) -> AlgorithmPage:
        """At most `limit` algorithms of the query, those after the cursor, which must come from the same query.

        Algorithms that come or go between two pages never repeat or hide another.
        """
        ...
