"""Filter patterns for JSON events: `{ $.user.id = 1 && $.latency > 0.5 }`. `filter_pattern` calls it. Pure.

A selector that leads to an object, an array, true, false, null or nowhere satisfies no comparison, != included; IS and
NOT EXISTS ask for those. An event that is not JSON matches nothing. Source: CloudWatch Logs user guide, "Filter pattern
syntax", JSON log events.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from clary.service.filter_syntax import InvalidPattern, Parser, Predicate

MAX_WILDCARD_SELECTORS = 3
"""In one pattern; a selector may hold one wildcard. Source: the guide, quotas."""

_STEP = re.compile(r"""\.?(?:(\*)|\[(\*)\]|\[(\d+)\]|\['([^']+)'\]|\["([^"]+)"\]|([\w-]+))""")
_IS: dict[str, Callable[[Any], bool]] = {
    "NULL": lambda value: value is None,
    "TRUE": lambda value: value is True,
    "FALSE": lambda value: value is False,
}
_decode = msgspec.json.Decoder().decode


class _Anything:
    """The step `*` of a selector."""


_ANYTHING = _Anything()
_Step = str | int | _Anything


def compile_json(inside: str) -> Predicate[str]:
    """Whether an event matches. Raises `InvalidPattern`."""
    parser = _JsonParser(inside)
    matches = parser.any_of(parser.condition)
    if parser.peek().kind != "end":
        raise InvalidPattern(f"The pattern goes on with {parser.peek().text} where && or || was expected")

    def event_matches(message: str) -> bool:
        try:
            return matches(_decode(message))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False

    return event_matches


class _JsonParser(Parser):
    wildcard_selectors = 0

    def condition(self) -> Predicate[Any]:
        """A selector and what is asked of it."""
        token = self.take()
        if token.kind != "selector":
            raise InvalidPattern(f"A property selector such as $.name was expected before {token.text}")
        steps = self._steps(token.text)
        word = self.peek().text.upper() if self.peek().kind == "word" else ""
        if word == "IS":
            self.take()
            asked = self.take().text
            if asked.upper() not in _IS:
                raise InvalidPattern(f"IS {asked} is not supported: IS stands before NULL, TRUE or FALSE")
            holds = _IS[asked.upper()]
            return lambda event: any(holds(value) for value in _select(event, steps))
        if word == "NOT":
            self.take()
            if self.take().text.upper() != "EXISTS":
                raise InvalidPattern("NOT stands before EXISTS")
            return lambda event: not any(True for _ in _select(event, steps))
        compares = self.comparison()
        return lambda event: any(compares(value) for value in _select(event, steps) if type(value) in {str, int, float})

    def _steps(self, selector: str) -> list[_Step]:
        steps: list[_Step] = []
        for star, any_item, index, quoted, quoted_twice, name in _STEP.findall(selector, 1):
            steps.append(_ANYTHING if star or any_item else int(index) if index else quoted or quoted_twice or name)
        wildcards = steps.count(_ANYTHING)
        if wildcards > 1:
            raise InvalidPattern(f"The property selector {selector} holds more than one wildcard")
        self.wildcard_selectors += wildcards
        if self.wildcard_selectors > MAX_WILDCARD_SELECTORS:
            raise InvalidPattern(f"A filter pattern may hold at most {MAX_WILDCARD_SELECTORS} wildcard selectors")
        return steps


def _select(value: Any, steps: list[_Step], at: int = 0) -> Iterator[Any]:
    """The values that the steps lead to: at most one without a wildcard."""
    if at == len(steps):
        yield value
        return
    step = steps[at]
    if isinstance(step, _Anything):
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for child in children:
            yield from _select(child, steps, at + 1)
    elif isinstance(step, int):
        if isinstance(value, list) and step < len(value):
            yield from _select(value[step], steps, at + 1)
    elif isinstance(value, dict) and step in value:
        yield from _select(value[step], steps, at + 1)
