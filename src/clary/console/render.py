"""Pages from typed contexts: Jinja2 over the package's own templates. Called by the routes; it asks nothing of the service.

Everything that a template prints is escaped, and a name that a context lacks is an error, not an empty string. A template
sees the fields of its context as variables. Times are drawn in UTC; `static/console.js` turns them into the reader's own.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from clary.base.clock import Instant

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_SPANS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def render(template: str, context: msgspec.Struct) -> bytes:
    """The page, or the part of one, in UTF-8."""
    fields = {name: getattr(context, name) for name in context.__struct_fields__}
    return _environment.get_template(template).render(fields).encode("utf-8", "replace")


def duration_words(seconds: float) -> str:
    """Such as "1 h 05 min", "42 s", "0.4 s": the two largest units that say something."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    rest = int(seconds + 0.5)
    counts = []
    for unit, size in _SPANS:
        count, rest = divmod(rest, size)
        counts.append((unit, count))
    for (unit, count), (next_unit, next_count) in pairwise(counts):
        if count:
            return f"{count} {unit} {next_count:02} {next_unit}"
    return f"{counts[-1][1]} s"


def bytes_words(count: float) -> str:
    """Such as "1.5 GB", in powers of 1000, as the bars of downloads count."""
    for unit in _UNITS[:-1]:
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def time_words(instant: Instant) -> str:
    """Such as "2026-07-01 12:00:05 UTC" of an instant in milliseconds."""
    return f"{_moment(instant):%Y-%m-%d %H:%M:%S} UTC"


def time_stamp(instant: Instant) -> str:
    """The instant for the attribute `datetime` of a time element."""
    return f"{_moment(instant):%Y-%m-%dT%H:%M:%S}.{instant % 1000:03}Z"


def number_words(number: float) -> str:
    """Six significant digits; a whole number without a point."""
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"


def json_text(value: object) -> str:
    """Indented JSON; instants and the like as msgspec encodes them."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _moment(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant / 1000, UTC)


_FILTERS: dict[str, Callable[[Any], str]] = {
    "duration": duration_words,
    "bytes": bytes_words,
    "time": time_words,
    "stamp": time_stamp,
    "number": number_words,
    "json": json_text,
}


def _make() -> Environment:
    environment = Environment(
        loader=PackageLoader("clary.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.filters.update(_FILTERS)
    return environment


_environment = _make()
