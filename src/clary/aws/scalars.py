"""JSON scalars as the service model types them, and the refusal of anything else.

Used by the validator. A wrong JSON type ends in `SerializationException`, in the words of AWS's JSON reader (inferred).
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NoReturn

from clary.aws.errors import AwsError

_INTEGER_BITS = {"integer": 31, "long": 63}


def refuse(value: object, wanted: str) -> NoReturn:
    """Say that a value of this JSON type stands where another is wanted ("a String", "a list"). Raises `AwsError`."""
    if isinstance(value, dict):
        message = "Start of structure or map found where not expected."
    elif isinstance(value, list):
        message = "Start of list found where not expected"
    else:
        kind = {bool: str(value).upper(), str: "STRING", type(None): "NULL"}.get(type(value), "NUMBER")
        message = f"{kind}_VALUE can not be converted to {wanted}"
    raise AwsError(code="SerializationException", message=message)


def _integer(type_name: str) -> Callable[[Any], int]:
    limit = 1 << _INTEGER_BITS[type_name]
    wanted = "an Integer" if type_name == "integer" else "a Long"

    def convert(value: Any) -> int:
        if type(value) is float and value.is_integer():  # some clients write 1e3
            value = int(value)
        if type(value) is not int or not -limit <= value < limit:
            refuse(value, wanted)
        return value

    return convert


def _number(value: Any) -> float:
    if (type(value) is not float and type(value) is not int) or not math.isfinite(value):
        refuse(value, "a Double")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        refuse(value, "a Boolean")
    return value


def _timestamp(value: Any) -> float:
    """Seconds since the epoch, from a number or an ISO 8601 text; a text without a zone is UTC."""
    seconds = math.nan
    if type(value) is float or type(value) is int:
        seconds = float(value)
    elif type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            refuse(value, "a Timestamp")
    if not -62135596800 <= seconds < 253402300800:  # years 1 to 9999: what every client can show
        refuse(value, "a Timestamp")
    return seconds


def _blob(value: Any) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            pass
    refuse(value, "a Blob")


CONVERSIONS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "integer": _integer("integer"),
        "long": _integer("long"),
        "float": _number,
        "double": _number,
        "boolean": _boolean,
        "timestamp": _timestamp,
        "blob": _blob,
    }
)
"""Type of the service model -> the conversion from JSON. Each raises `AwsError` (SerializationException)."""
