"""Filter patterns for space-delimited events: `[ip, user, ..., status = 4*, bytes > 1000]`. `filter_pattern` calls it. Pure.

An event's fields are its words; what stands between brackets or double quotes is one field. Without an ellipsis each name
takes one field and the last one all that is left, which must be one at least: so `[w1=ERROR, w2]` finds the events whose
first word is ERROR. Source: CloudWatch Logs user guide, "Filter pattern syntax", space-delimited log events.
"""

import re
from typing import NamedTuple

from clary.service.filter_syntax import InvalidPattern, Parser, Predicate, Token, Value

_FIELD = re.compile(r"""\[([^\]]*)\](?=\s|$)|"((?:[^"\\]|\\.)*)"(?=\s|$)|(\S+)""")
_NAME = re.compile(r"[A-Za-z_][\w-]*").fullmatch


class _Field(NamedTuple):
    text: str
    start: int


def compile_fields(inside: str) -> Predicate[str]:
    """Whether an event matches. Raises `InvalidPattern`."""
    if not inside.strip():
        return lambda _: True
    parser = Parser(inside)
    wanted: list[Predicate[Value] | None] = []
    ellipsis = None
    while True:
        if parser.peek().kind == "ellipsis":
            if ellipsis is not None:
                raise InvalidPattern("A filter pattern may hold one ellipsis")
            ellipsis = len(wanted)
            parser.take()
        else:
            wanted.append(_field(parser))
        if not parser.takes(","):
            break
    if parser.peek().kind != "end":
        raise InvalidPattern(f"The pattern goes on with {parser.peek().text} where a comma was expected")
    if ellipsis is None:
        return _exact(wanted)
    before, after = wanted[:ellipsis], wanted[ellipsis:]

    def event_matches(message: str) -> bool:
        fields = [field.text for field in _fields(message)]
        if len(fields) < len(wanted):
            return False
        return _hold(before, fields) and _hold(after, fields[len(fields) - len(after) :])

    return event_matches


def _field(parser: Parser) -> Predicate[Value] | None:
    """A name, with conditions or without; nothing at all is a field without a name."""
    if _ends_field(parser.peek()):
        return None
    if _ends_field(parser.peek(1)):
        _named(parser, parser.peek().text)
        return None
    ahead = 0
    while parser.peek(ahead).text == "(":
        ahead += 1
    name = parser.peek(ahead).text

    def condition() -> Predicate[Value]:
        _named(parser, name)
        return parser.comparison()

    return parser.any_of(condition)


def _ends_field(token: Token) -> bool:
    return token.kind == "end" or token == Token("operator", ",")


def _named(parser: Parser, name: str) -> None:
    token = parser.take()
    if token.kind != "word" or not _NAME(token.text):
        raise InvalidPattern(f"The name of a field was expected before {token.text}")
    if token.text != name:
        raise InvalidPattern(f"The conditions of the field {name} name another one, {token.text}")


def _exact(wanted: list[Predicate[Value] | None]) -> Predicate[str]:
    def event_matches(message: str) -> bool:
        fields = _fields(message)
        if len(fields) < len(wanted):
            return False
        texts = [field.text for field in fields[: len(wanted)]]
        if len(fields) > len(wanted):
            texts[-1] = message[fields[len(wanted) - 1].start :]
        return _hold(wanted, texts)

    return event_matches


def _hold(wanted: list[Predicate[Value] | None], fields: list[str]) -> bool:
    return all(holds is None or holds(field) for holds, field in zip(wanted, fields, strict=False))


def _fields(message: str) -> list[_Field]:
    return [_Field(match[match.lastindex or 0], match.start()) for match in _FIELD.finditer(message)]
