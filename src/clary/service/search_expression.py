"""A SearchExpression of a request, checked beyond what the API model says, as `clary.jobs.search` has it.

Called by `search`. Source: API model, SearchRequest and SearchExpression; the text about CONTAINS is SageMaker's, the
others are inferred.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from clary.aws.errors import ValidationException
from clary.jobs.search import Both, Condition, Either, Expression, InvalidSearch, OneElement, condition
from clary.jobs.search_spans import Operator
from clary.service.search_properties import resolve, resolve_list

ELEMENTS_MAX = 50
CONTAINS_MAX = 1

_Params = Mapping[str, Any]


def parse(params: _Params) -> Expression:
    """The expression, every property resolved. Raises `ValidationException`."""
    elements = list(_elements(params))
    if len(elements) > ELEMENTS_MAX:
        raise ValidationException(
            "The maximum number of recursive SubExpressions, NestedFilters, and Filters that can be included in a "
            f"SearchExpression is {ELEMENTS_MAX}; this one has {len(elements)}."
        )
    if sum(element.get("Operator") == Operator.CONTAINS for element in elements) > CONTAINS_MAX:
        raise ValidationException(f"'CONTAINS' operator usage limit of {CONTAINS_MAX} exceeded.")
    return _expression(params)


def _elements(params: _Params) -> Iterator[_Params]:
    """Everything that counts towards the limit; a stack, since a request may be nested deeper than Python likes."""
    waiting = [params]
    while waiting:
        expression = waiting.pop()
        nested = expression.get("NestedFilters", ())
        subexpressions = expression.get("SubExpressions", ())
        yield from expression.get("Filters", ())
        yield from nested
        yield from subexpressions
        for group in nested:
            yield from group["Filters"]
        waiting.extend(subexpressions)


def _expression(params: _Params) -> Expression:
    parts: list[Expression] = [_condition(filter_) for filter_ in params.get("Filters", ())]
    parts += [_one_element(nested) for nested in params.get("NestedFilters", ())]
    parts += [_expression(sub) for sub in params.get("SubExpressions", ())]
    if not parts:
        raise ValidationException("A SearchExpression must have at least one subexpression, filter, or nested filter.")
    if params.get("Operator") == "Or":
        return Either(parts=tuple(parts))
    return Both(parts=tuple(parts))


def _condition(params: _Params) -> Condition:
    operator = params.get("Operator")
    try:
        return condition(resolve(params["Name"]), operator and Operator(operator), params.get("Value"))
    except InvalidSearch as error:
        raise ValidationException(str(error)) from None


def _one_element(params: _Params) -> OneElement:
    path = resolve_list(params["NestedPropertyName"])
    conditions = tuple(_condition(filter_) for filter_ in params["Filters"])
    for wanted in conditions:
        below = wanted.property.path
        if below[: len(path)] != path or len(below) == len(path):
            raise ValidationException(
                f"The nested filter on {wanted.property.name} must name a property of {params['NestedPropertyName']}, "
                f"beginning with '{params['NestedPropertyName']}.'."
            )
    return OneElement(path=path, conditions=conditions)
