"""CloudWatch's filter patterns: from the text of a pattern to a test of a message. `log_filter` calls it. Pure.

    compile_pattern('ERROR -"connection reset"')      terms, quoted phrases, exclusions
    compile_pattern('?ERROR ?WARN')                    any of the terms
    compile_pattern('%loss=[0-9.]+%')                  a regular expression
    compile_pattern('{ $.loss < 0.5 }')                JSON events: see `filter_json`
    compile_pattern('[level = ERROR, rest]')           space-delimited events: see `filter_fields`

Case counts, and a term is found inside longer words too. Source: CloudWatch Logs user guide, "Filter pattern syntax".
"""

import re

from clary.service.filter_fields import compile_fields
from clary.service.filter_json import compile_json
from clary.service.filter_syntax import InvalidPattern, Predicate, invalid_characters, regex_search, unquoted

__all__ = ["InvalidPattern", "compile_pattern"]

_TERM = re.compile(r"""\s*(?P<sign>-\s*|\?)?(?:(?P<phrase>"(?:[^"\\]|\\.)+")|(?P<word>\w+))(?=\s|$)""")
_WORD = re.compile(r"\s*[-?]?\w*")


def compile_pattern(pattern: str) -> Predicate[str]:
    """Whether a message matches; an empty pattern matches all. Raises `InvalidPattern`."""
    pattern = pattern.strip()
    if not pattern:
        return lambda _: True
    if pattern[0] == "{":
        return compile_json(_inside(pattern, "{", "}"))
    if pattern[0] == "[":
        return compile_fields(_inside(pattern, "[", "]"))
    if pattern[0] == "%":
        if pattern[-1] != "%" or len(pattern) < 3 or "%" in pattern[1:-1]:
            raise InvalidPattern("A regular expression stands between two % and, in unstructured patterns, alone")
        return regex_search(pattern[1:-1])
    return _terms(pattern)


def _inside(pattern: str, opening: str, closing: str) -> str:
    if pattern[-1] != closing or len(pattern) < 2:
        raise InvalidPattern(f"If a filter pattern starts with '{opening}' it must end with '{closing}'")
    return pattern[1:-1]


def _terms(pattern: str) -> Predicate[str]:
    needed: list[str] = []
    barred: list[str] = []
    optional: list[str] = []
    place = 0
    while place < len(pattern):
        match = _TERM.match(pattern, place)
        if match is None:
            raise _not_a_term(pattern, place)
        term = match["word"] or unquoted(match["phrase"])
        sign = (match["sign"] or "").strip()
        # A phrase of blanks alone matches everything, as the guide's `" "` does.
        if term.strip() or sign:
            {"-": barred, "?": optional, "": needed}[sign].append(term)
        place = match.end()
    if needed or barred:  # then terms with a question mark count for nothing, as documented
        return lambda message: all(term in message for term in needed) and not any(term in message for term in barred)
    return lambda message: not optional or any(term in message for term in optional)


def _not_a_term(pattern: str, place: int) -> InvalidPattern:
    rest = pattern[place:].lstrip()
    if rest.startswith('""'):
        return invalid_characters('""')
    word = _WORD.match(pattern, place)
    end = place if word is None else word.end()
    if pattern[end : end + 1] == '"':
        return InvalidPattern("A quoted phrase stands apart from other terms and needs its closing quote")
    return invalid_characters(pattern[end : end + 1] or rest[:1])
