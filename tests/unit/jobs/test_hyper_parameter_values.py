"""Texts against the types and ranges of hyperparameters."""

import pytest

from clary.jobs.algorithm import (
    CategoricalParameterRangeSpecification,
    ContinuousParameterRangeSpecification,
    HyperParameterSpecification,
    IntegerParameterRangeSpecification,
    ParameterRange,
    ParameterType,
)
from clary.jobs.hyper_parameter_values import problem_with

ONE_TO_NINE = ParameterRange(
    integer_parameter_range_specification=IntegerParameterRangeSpecification(min_value="1", max_value="9")
)
FRACTION = ParameterRange(
    continuous_parameter_range_specification=ContinuousParameterRangeSpecification(min_value="0", max_value="1e-1")
)
COLOURS = ParameterRange(
    categorical_parameter_range_specification=CategoricalParameterRangeSpecification(values=("red", "blue"))
)


def problem(value, kind, allowed=None):
    return problem_with(value, HyperParameterSpecification(name="h", type=ParameterType(kind), range=allowed))


@pytest.mark.parametrize(
    ("value", "kind", "allowed"),
    [
        ("5", "Integer", None),
        ("-5", "Integer", None),
        ("+007", "Integer", ONE_TO_NINE),
        ("1", "Integer", ONE_TO_NINE),
        ("9", "Integer", ONE_TO_NINE),
        ("9" * 300, "Integer", None),
        ("5", "Continuous", None),
        (".5", "Continuous", None),
        ("-1.5E+3", "Continuous", None),
        ("0", "Continuous", FRACTION),
        ("0.1", "Continuous", FRACTION),
        ("0.10000", "Continuous", FRACTION),
        ("red", "Categorical", COLOURS),
        ("anything", "Categorical", None),
        ("", "FreeText", None),
        ("äny thing", "FreeText", None),
    ],
)
def test_a_value_of_the_type_and_in_the_range_is_taken(value, kind, allowed):
    """Bounds are inclusive, and compared exactly."""
    assert problem(value, kind, allowed) is None


@pytest.mark.parametrize("value", ["", " 5", "5 ", "5.0", "1e3", "1_000", "five", "٥", "0x5", "NaN"])
def test_what_is_no_whole_number_is_no_integer(value):
    """Nor what Python alone would take for one."""
    assert problem(value, "Integer") == "must be an integer"


@pytest.mark.parametrize(
    "value", ["", " 1", "1,5", "nan", "inf", "-Infinity", "1e", "1_0", ".", "1e9999999999999999999"]
)
def test_what_is_no_finite_number_is_not_continuous(value):
    """NaN and infinity are none."""
    assert problem(value, "Continuous") == "must be a number"


@pytest.mark.parametrize(
    ("value", "kind", "allowed", "text"),
    [
        ("0", "Integer", ONE_TO_NINE, "must be an integer between 1 and 9"),
        ("10", "Integer", ONE_TO_NINE, "must be an integer between 1 and 9"),
        ("0.100000000000000000000000000000000000001", "Continuous", FRACTION, "must be a number between 0 and 1e-1"),
        ("-1e-300", "Continuous", FRACTION, "must be a number between 0 and 1e-1"),
        ("Red", "Categorical", COLOURS, "must be one of [red, blue]"),
    ],
)
def test_what_lies_outside_the_range_is_told_the_range(value, kind, allowed, text):
    """However little it lies outside."""
    assert problem(value, kind, allowed) == text
