"""What the two bracketed forms of a filter pattern have in common: tokens, values, and conditions joined by && and ||.

`filter_json` reads `{ $.x = 1 }` with it and `filter_fields` reads `[a, b = 1]`; `filter_pattern` is the door. Pure.
Source: CloudWatch Logs user guide, "Filter pattern syntax".
"""

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import re2

T = TypeVar("T")
Predicate = Callable[[T], bool]
Value = str | int | float
"""What a condition is held against: a string or number of a JSON event, or a field of a space-delimited one."""

MAX_REGEXES = 2
"""In one pattern. Source: the guide, quotas."""

_DEPTH = (
    32  # parentheses in parentheses; each level takes frames of Python's stack, and a pattern may have 1,024 of them
)
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<selector>\$(?:\.\*|\.[\w-]+|\.?\[(?:\d{1,9}|\*|'[^']+'|"[^"]+")\])+)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<regex>%(?:[^%\\]|\\.)+%)
      | (?P<ellipsis>\.\.\.)
      | (?P<operator>&&|\|\||!=|<=|>=|[=<>(),])
      | (?P<word>[\w.*+-]+)
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII).fullmatch
_REGEX = re.compile(
    r"(?:[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|*+. ]|\\(?:[dDsSwW]|x[0-9A-Fa-f]{2}|[:_#=@/;,\-^$?\[\]{}|*+.\\]))+"
)
_NO_LEAST = re.compile(r"(?<!\\)\{,(?=\d+\})")


class InvalidPattern(Exception):
    """The pattern breaks the language, or uses what is not supported; the text says which."""


class Token(NamedTuple):
    """A piece of a pattern: `kind` is the name of its group in `_TOKEN`, "end" after the last."""

    kind: str
    text: str


def invalid_characters(text: str) -> InvalidPattern:
    """AWS's words for what no term may hold, as observed."""
    return InvalidPattern(f"Invalid character(s) in term '{text}'")


class Parser:
    """Reads the inside of a bracketed pattern, token by token."""

    def __init__(self, text: str) -> None:
        """Raises `InvalidPattern` for what is no token."""
        self._tokens: list[Token] = []
        self._at = 0
        self._depth = 0
        self._regexes = 0
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise invalid_characters(text[place:].lstrip()[:1])
            self._tokens.append(Token(match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def peek(self, ahead: int = 0) -> Token:
        """The next token, or one further on."""
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else Token("end", "the end of the pattern")

    def take(self) -> Token:
        """The next token, which then is behind us."""
        token = self.peek()
        self._at += 1
        return token

    def takes(self, *texts: str) -> bool:
        """Take the next token if it is one of these operators."""
        found = self.peek().kind == "operator" and self.peek().text in texts
        self._at += found
        return found

    def any_of(self, condition: Callable[[], Predicate[T]]) -> Predicate[T]:
        """Conditions joined by || (binds less) and && (binds more), with parentheses; `condition` reads one."""
        options = [self._all_of(condition)]
        while self.takes("||"):
            options.append(self._all_of(condition))
        return options[0] if len(options) == 1 else lambda event: any(option(event) for option in options)

    def comparison(self) -> Predicate[Value]:
        """An operator and what it compares with."""
        operator = self.take()
        if operator.kind != "operator" or operator.text not in {"=", "!=", "<", "<=", ">", ">="}:
            raise InvalidPattern(f"A comparison was expected before {operator.text}")
        operand = self.take()
        if operand.kind not in {"string", "regex", "word"}:
            raise InvalidPattern(f"A value was expected before {operand.text}")
        if operator.text in {"<", "<=", ">", ">="}:
            return _order(operator.text, operand)
        equals = self._equality(operand)
        return equals if operator.text == "=" else lambda value: not equals(value)

    def _all_of(self, condition: Callable[[], Predicate[T]]) -> Predicate[T]:
        parts = [self._one(condition)]
        while self.takes("&&"):
            parts.append(self._one(condition))
        return parts[0] if len(parts) == 1 else lambda event: all(part(event) for part in parts)

    def _one(self, condition: Callable[[], Predicate[T]]) -> Predicate[T]:
        if not self.takes("("):
            return condition()
        self._depth += 1
        if self._depth > _DEPTH:
            raise InvalidPattern(f"Parentheses may be nested {_DEPTH} deep")
        inner = self.any_of(condition)
        if not self.takes(")"):
            raise InvalidPattern(f"A closing parenthesis was expected before {self.peek().text}")
        self._depth -= 1
        return inner

    def _equality(self, operand: Token) -> Predicate[Value]:
        if operand.kind == "regex":
            self._regexes += 1
            if self._regexes > MAX_REGEXES:
                raise InvalidPattern(f"A filter pattern may hold at most {MAX_REGEXES} regular expressions")
            found = regex_search(operand.text[1:-1])
            return lambda value: found(str(value))
        if operand.kind == "word" and _NUMBER(operand.text):
            wanted = _number(operand.text)
            return lambda value: _number(value) == wanted
        text = unquoted(operand.text) if operand.kind == "string" else operand.text
        return _wildcard(text)


def regex_search(pattern: str) -> Predicate[str]:
    """Whether the expression occurs in a text; RE2 runs it, in linear time. Raises `InvalidPattern`."""
    if not _REGEX.fullmatch(pattern):
        rest = pattern[match.end() :] if (match := _REGEX.match(pattern)) else pattern
        raise invalid_characters(rest[:1])
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(_NO_LEAST.sub("{0,", pattern), options).search
    except re2.error:
        raise InvalidPattern(f"The regular expression %{pattern}% cannot be read") from None
    return lambda text: search(text) is not None


def unquoted(text: str) -> str:
    """The text between double quotes, where a backslash takes the meaning off the next character."""
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _order(operator: str, operand: Token) -> Predicate[Value]:
    if operand.kind != "word" or not _NUMBER(operand.text):
        raise InvalidPattern(f"The operator {operator} needs a number, not {operand.text}")
    bound = _number(operand.text)
    if bound is None:
        raise InvalidPattern(f"{operand.text} is no number")
    match operator:
        case "<":
            return lambda value: (number := _number(value)) is not None and number < bound
        case "<=":
            return lambda value: (number := _number(value)) is not None and number <= bound
        case ">":
            return lambda value: (number := _number(value)) is not None and number > bound
        case _:
            return lambda value: (number := _number(value)) is not None and number >= bound


def _wildcard(text: str) -> Predicate[Value]:
    """Equality with a text in which an asterisk at either end stands for anything; in the middle it is itself."""
    if text == "*":
        return lambda _: True
    starts, ends = not text.startswith("*"), not text.endswith("*")
    core = text[not starts : len(text) - (not ends)]
    if starts and ends:
        return lambda value: str(value) == core
    if starts:
        return lambda value: str(value).startswith(core)
    if ends:
        return lambda value: str(value).endswith(core)
    return lambda value: core in str(value)


def _number(value: Value) -> int | float | None:
    """The number that a value is, or that its text says (inferred for texts); None for any other text."""
    if not isinstance(value, str):
        return value
    if not _NUMBER(value) or len(value) > 100:  # longer ones are no measurements, and slow to read
        return None
    return float(value) if set(value) & set(".eE") else int(value)
