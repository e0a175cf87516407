"""Algorithms in a dictionary: the store of tests that are about something else, and the model of the other adapter."""

import msgspec

from clary.jobs.algorithm import Algorithm
from clary.store.algorithm_port import (
    AlgorithmCursor,
    AlgorithmNameTaken,
    AlgorithmPage,
    AlgorithmQuery,
    AlgorithmSortBy,
    AlgorithmSummary,
    NoSuchAlgorithm,
    StaleAlgorithm,
)


class MemoryAlgorithmStore:
    """See `algorithm_port.AlgorithmStore`."""

    def __init__(self) -> None:
        self._algorithms: dict[str, Algorithm] = {}  # by the name in lower case

    async def create(self, algorithm: Algorithm) -> None:
        """See `algorithm_port.AlgorithmStore`."""
        taken = self._algorithms.setdefault(algorithm.algorithm_name.lower(), algorithm)
        if taken is not algorithm:
            raise AlgorithmNameTaken(taken.algorithm_arn)

    async def get(self, algorithm_name: str) -> Algorithm:
        """See `algorithm_port.AlgorithmStore`."""
        return self._find(algorithm_name)

    async def commit(self, algorithm: Algorithm) -> Algorithm:
        """See `algorithm_port.AlgorithmStore`."""
        kept = self._find(algorithm.algorithm_name)
        if kept.version != algorithm.version:
            raise StaleAlgorithm(algorithm.algorithm_name)
        written = msgspec.structs.replace(algorithm, version=algorithm.version + 1)
        self._algorithms[algorithm.algorithm_name.lower()] = written
        return written

    async def delete(self, algorithm_name: str) -> None:
        """See `algorithm_port.AlgorithmStore`."""
        if self._algorithms.pop(algorithm_name.lower(), None) is None:
            raise NoSuchAlgorithm(algorithm_name)

    async def list(self, query: AlgorithmQuery, *, limit: int, after: AlgorithmCursor | None = None) -> AlgorithmPage:
        """See `algorithm_port.AlgorithmStore`."""

        def key(algorithm: Algorithm) -> tuple[str | int, str]:
            by_name = query.sort_by is AlgorithmSortBy.NAME
            return (algorithm.algorithm_name if by_name else algorithm.creation_time), algorithm.algorithm_name

        found = sorted((a for a in self._algorithms.values() if _fits(a, query)), key=key, reverse=query.descending)
        if after is not None:
            passed = (after.value, after.name)
            found = [a for a in found if (key(a) < passed if query.descending else key(a) > passed)]
        shown = found[:limit]
        cursor = None
        if len(found) > limit:
            value, name = key(shown[-1])
            cursor = AlgorithmCursor(value=value, name=name)
        return AlgorithmPage(summaries=tuple(map(_summary, shown)), cursor=cursor)

    def _find(self, algorithm_name: str) -> Algorithm:
        algorithm = self._algorithms.get(algorithm_name.lower())
        if algorithm is None:
            raise NoSuchAlgorithm(algorithm_name)
        return algorithm


def _fits(algorithm: Algorithm, query: AlgorithmQuery) -> bool:
    return (
        (query.name_contains is None or query.name_contains in algorithm.algorithm_name)
        and (query.creation_time_after is None or algorithm.creation_time > query.creation_time_after)
        and (query.creation_time_before is None or algorithm.creation_time < query.creation_time_before)
    )


def _summary(algorithm: Algorithm) -> AlgorithmSummary:
    return AlgorithmSummary(
        algorithm_name=algorithm.algorithm_name,
        algorithm_arn=algorithm.algorithm_arn,
        algorithm_description=algorithm.request.algorithm_description,
        creation_time=algorithm.creation_time,
        algorithm_status=algorithm.algorithm_status,
    )
