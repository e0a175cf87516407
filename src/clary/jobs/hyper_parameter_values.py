"""Whether a text is a value that a hyperparameter of an algorithm takes. Pure.

Called by `service` for default values when an algorithm is created, and for a job's values when the job is. Source: API
model, HyperParameterSpecification; what counts as a number is inferred: a whole number has no fraction and no exponent,
and NaN and infinity are none.
"""

import re
from decimal import Decimal, InvalidOperation

from clary.jobs.algorithm import HyperParameterSpecification, ParameterRange, ParameterType

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_integer(text: str) -> Decimal | None:
    """The whole number that a text is, exactly; None if it is none."""
    return Decimal(text) if _INTEGER.fullmatch(text) else None


def parse_number(text: str) -> Decimal | None:
    """The finite number that a text is, exactly; None if it is none."""
    try:
        return Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:  # an exponent that no machine knows
        return None


def problem_with(value: str, specification: HyperParameterSpecification) -> str | None:
    """Why the value is not allowed, as the end of a sentence ("must be an integer"); None if it is.

    The specification has passed `service.algorithm_rules`: its range is of its type, and its bounds are numbers.
    """
    allowed = specification.range or ParameterRange()
    if specification.type is ParameterType.FREE_TEXT:
        return None
    if specification.type is ParameterType.CATEGORICAL:
        categories = allowed.categorical_parameter_range_specification
        if categories is None or value in categories.values:
            return None
        return f"must be one of [{', '.join(categories.values)}]"
    bounds = allowed.integer_parameter_range_specification or allowed.continuous_parameter_range_specification
    is_integer = specification.type is ParameterType.INTEGER
    number = parse_integer(value) if is_integer else parse_number(value)
    what = "an integer" if is_integer else "a number"
    if number is None:
        return f"must be {what}"
    if bounds is not None and not Decimal(bounds.min_value) <= number <= Decimal(bounds.max_value):
        return f"must be {what} between {bounds.min_value} and {bounds.max_value}"
    return None
