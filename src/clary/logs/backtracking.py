"""Which regular expressions may take exponential time in Python's engine. Pure.

Python's `re` tries alternatives one after the other. Where one unbounded repetition stands inside another, as in
`(a+)+b`, a line of thirty characters can hold it for hours. RE2 cannot be held so, whatever the pattern, but knows no
look-around and no back-references.
"""

from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any


def nests_repetitions(regex: str) -> bool:
    """Whether an unbounded repetition contains another one that it may have to take back. Raises re.error.

    A cheap test of the parse tree: it leaves alone what is slow in other ways, such as `(a|a)*`, whose branches
    overlap, or `.*.*.*x`, which is slow by a power of the line's length only.
    """
    return _nests(parser.parse(regex), inside=False)


def _nests(nodes: Iterable[tuple[Any, Any]], *, inside: bool) -> bool:
    for code, argument in nodes:
        if code in (codes.ATOMIC_GROUP, codes.POSSESSIVE_REPEAT):
            body = argument if code is codes.ATOMIC_GROUP else argument[2]
            if _nests(body, inside=False):  # never taken back once matched, so only what is within it counts
                return True
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            _, most, body = argument
            unbounded = most is codes.MAXREPEAT
            if (unbounded and inside) or _nests(body, inside=inside or unbounded):
                return True
        elif any(_nests(body, inside=inside) for body in _bodies(code, argument)):
            return True
    return False


def _bodies(code: Any, argument: Any) -> list[Iterable[tuple[Any, Any]]]:
    """The patterns within a node of any other kind."""
    if code is codes.SUBPATTERN:
        return [argument[3]]
    if code is codes.BRANCH:
        return list(argument[1])
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [argument[1]]
    if code is codes.GROUPREF_EXISTS:
        return [body for body in argument[1:] if body is not None]
    return []
