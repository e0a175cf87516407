"""The model validator: holds the parameters of a request against the shapes of the service model.

botocore's own validator checks what a client should send; this one checks everything that the model says: required
members, JSON types, bounds of numbers, lengths, patterns, enums, unions, at any depth, and words the answer as AWS does.
The gateway calls `Validators.validate`. Each shape is compiled to a closure once, so that a request costs only look-ups.

A wrong JSON type is a `SerializationException` at once, as the service cannot read such a body at all (inferred). All
other violations are gathered into one `ValidationException`. Members that the model does not know are dropped, at every
depth; a null counts as absent. Wording and paths: public error reports of SageMaker and its sibling services; texts that
were not seen are marked (inferred).
"""

from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from clary.aws import scalars
from clary.aws.errors import AwsError, ValidationException
from clary.aws.patterns import Pattern, compile_pattern

# More is of no use to a caller, and would let a small request ask for an enormous answer.
VIOLATIONS_MAX = 100
_SHOWN_MAX_CHARACTERS = 1024

Violation = list[str]
"""What is wrong: the value as shown ("" = left out), the constraint, then the path from the innermost element outwards."""

Check = Callable[[Any, list[Violation]], Any]
"""Takes a value of the shape, gives it back cleaned, and adds its violations."""


class Validators:
    """The compiled validators of a service model's shapes."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._patterns: dict[str, Pattern] = {}

    def validate(self, shape: StructureShape, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters without unknown members. Raises `AwsError` (SerializationException, ValidationException)."""
        violations: list[Violation] = []
        try:
            cleaned: dict[str, Any] = self._check(shape)(params, violations)
        except RecursionError:
            raise AwsError(code="SerializationException", message="The request is nested too deeply.") from None
        if violations:
            raise ValidationException(_message(violations))
        return cleaned

    def _check(self, shape: Shape) -> Check:
        check = self._checks.get(shape.name)
        if check is None:

            def later(value: Any, violations: list[Violation]) -> Any:
                return self._checks[shape.name](value, violations)

            self._checks[shape.name] = later  # a shape may contain itself: its insides meet this until it is made
            check = self._checks[shape.name] = self._compile(shape)
        return check

    def _compile(self, shape: Shape) -> Check:
        if isinstance(shape, StructureShape):
            return self._structure(shape)
        if isinstance(shape, ListShape):
            return self._list(shape)
        if isinstance(shape, MapShape):
            return self._map(shape)
        if isinstance(shape, StringShape):
            return self._string(shape)
        return _scalar(shape)

    def _structure(self, shape: StructureShape) -> Check:
        members = {name: self._check(member) for name, member in shape.members.items()}
        required = frozenset(shape.required_members)
        is_union = bool(shape.metadata.get("union"))
        find = members.get

        def check(value: Any, violations: list[Violation]) -> dict[str, Any]:
            if type(value) is not dict:
                scalars.refuse(value, "a structure")
            cleaned = {}
            before = len(violations)
            for name, item in value.items():
                member = find(name)
                if member is not None and item is not None:
                    cleaned[name] = member(item, violations)
                    if len(violations) != before:
                        _prefix(violations, before, name)
                        before = len(violations)
            if not required <= cleaned.keys():
                for name in shape.required_members:
                    if name not in cleaned:
                        _add(violations, ["null", "Member must not be null", _lower_first(name)])
            if is_union and len(cleaned) != 1:
                _add(violations, ["", "Exactly one member of the union must be set"])  # (inferred)
            return cleaned

        return check

    def _list(self, shape: ListShape) -> Check:
        element = self._check(shape.member)
        # Elements without members have no path of their own: AWS shows the whole list and all rules of an element.
        rules = None if isinstance(shape.member, StructureShape | ListShape | MapShape) else _rules(shape.member)
        sensitive = _is_sensitive(shape, shape.member)
        in_length = _length_check(shape, sensitive=sensitive)

        def check(value: Any, violations: list[Violation]) -> list[Any]:
            if type(value) is not list:
                scalars.refuse(value, "a list")
            in_length(value, violations)
            cleaned = []
            before = len(violations)
            for position, item in enumerate(value, 1):
                if item is None:
                    _add(violations, ["null", "Member must not be null", f"{position}.member"])
                    continue
                inside = len(violations)
                cleaned.append(element(item, violations))
                if len(violations) != inside:
                    _prefix(violations, inside, f"{position}.member")
            if rules is not None and len(violations) != before:
                del violations[before:]
                _add(violations, ["" if sensitive else _shown(value), f"Member must satisfy constraint: [{rules}]"])
            return cleaned

        return check

    def _map(self, shape: MapShape) -> Check:
        key_check, value_check = self._check(shape.key), self._check(shape.value)
        key_rules, value_rules = _rules(shape.key), _rules(shape.value)
        sensitive = _is_sensitive(shape, shape.key, shape.value)
        in_length = _length_check(shape, sensitive=sensitive)

        def check(value: Any, violations: list[Violation]) -> dict[str, Any]:
            if type(value) is not dict:
                scalars.refuse(value, "a map")
            in_length(value, violations)
            cleaned = {}
            of_keys: list[Violation] = []
            of_values: list[Violation] = []
            for key, item in value.items():
                key_check(key, of_keys)
                if item is None:
                    of_values.append([])
                else:
                    cleaned[key] = value_check(item, of_values)
            shown = "" if sensitive or not (of_keys or of_values) else _shown(value)
            if of_keys:
                _add(violations, [shown, f"Map keys must satisfy constraint: [{key_rules}]"])
            if of_values:
                _add(violations, [shown, f"Map value must satisfy constraint: [{value_rules}]"])
            return cleaned

        return check

    def _string(self, shape: StringShape) -> Check:
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
        enum = frozenset(shape.enum)
        text_of_pattern: str | None = shape.metadata.get("pattern")
        show = _left_out if _is_sensitive(shape) else _shown
        ceiling = float("inf") if high is None else high
        pattern: Pattern | None = None

        def check(value: Any, violations: list[Violation]) -> str:
            nonlocal pattern
            if type(value) is not str:
                scalars.refuse(value, "a String")
            length = len(value)
            if length > ceiling:
                _add(violations, [show(value), _AT_MOST.format(high)])
            elif length < low:
                _add(violations, [show(value), _AT_LEAST.format(low)])
            if text_of_pattern is not None:
                if pattern is None:  # compiled when it is first needed: all of them would keep the server from starting
                    pattern = self._pattern(text_of_pattern)
                if (pattern.is_linear or length <= ceiling) and not pattern.matches(value):
                    _add(violations, [show(value), _pattern_rule(text_of_pattern)])
            if enum and value not in enum:
                _add(violations, [show(value), _enum_rule(shape)])
            return value

        return check

    def _pattern(self, text: str) -> Pattern:
        pattern = self._patterns.get(text)
        if pattern is None:
            pattern = self._patterns[text] = compile_pattern(text)
        return pattern


_AT_MOST = "Member must have length less than or equal to {}"
_AT_LEAST = "Member must have length greater than or equal to {}"
_NOT_ABOVE = "Member must have value less than or equal to {}"
_NOT_BELOW = "Member must have value greater than or equal to {}"


def _scalar(shape: Shape) -> Check:
    convert = scalars.CONVERSIONS[shape.type_name]
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is None and high is None:
        return lambda value, _: convert(value)
    if shape.type_name == "blob":
        return lambda value, violations: _checked_length(convert(value), violations, low or 0, high)

    def check(value: Any, violations: list[Violation]) -> Any:
        number = convert(value)
        if high is not None and number > high:
            _add(violations, [f"'{number}'", _NOT_ABOVE.format(high)])
        elif low is not None and number < low:
            _add(violations, [f"'{number}'", _NOT_BELOW.format(low)])
        return number

    return check


def _checked_length(value: bytes, violations: list[Violation], low: int, high: int | None) -> bytes:
    if high is not None and len(value) > high:
        _add(violations, ["", _AT_MOST.format(high)])
    elif len(value) < low:
        _add(violations, ["", _AT_LEAST.format(low)])
    return value


def _length_check(shape: Shape, *, sensitive: bool) -> Callable[[Any, list[Violation]], None]:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")

    def check(value: Any, violations: list[Violation]) -> None:
        if high is not None and len(value) > high:
            _add(violations, ["" if sensitive else _shown(value), _AT_MOST.format(high)])
        elif len(value) < low:
            _add(violations, ["" if sensitive else _shown(value), _AT_LEAST.format(low)])

    return check


def _rules(shape: Shape) -> str:
    """Every rule of a shape, as AWS lists them for the entries of a map and for the plain elements of a list."""
    rules = []
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    at_most, at_least = (_AT_MOST, _AT_LEAST) if isinstance(shape, StringShape) else (_NOT_ABOVE, _NOT_BELOW)
    if high is not None:
        rules.append(at_most.format(high))
    if low is not None or (high is not None and isinstance(shape, StringShape)):
        rules.append(at_least.format(low or 0))
    if shape.metadata.get("pattern") is not None:
        rules.append(_pattern_rule(shape.metadata["pattern"]))
    if isinstance(shape, StringShape) and shape.enum:
        rules.append(_enum_rule(shape))
    return ", ".join([*rules, "Member must not be null"])


def _pattern_rule(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _enum_rule(shape: StringShape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _is_sensitive(*shapes: Shape) -> bool:
    return any(shape.metadata.get("sensitive") for shape in shapes)


def _shown(value: Any) -> str:
    """A value as Java prints it, in quotes; "" (left out) when it is long or holds structures."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        text = f"[{', '.join(map(str, value))}]"
    elif isinstance(value, dict) and all(isinstance(item, str | int) for item in value.values()):
        text = f"{{{', '.join(f'{key}={item}' for key, item in value.items())}}}"
    else:
        return ""
    return f"'{text}'" if len(text) <= _SHOWN_MAX_CHARACTERS else ""


def _left_out(_: object) -> str:
    return ""


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def _prefix(violations: list[Violation], start: int, name: str) -> None:
    for violation in violations[start:]:
        violation.append(_lower_first(name))


def _add(violations: list[Violation], violation: Violation) -> None:
    if len(violations) < VIOLATIONS_MAX:
        violations.append(violation)


def _message(violations: list[Violation]) -> str:
    items = []
    for shown, constraint, *path in violations:
        value = f"Value {shown}" if shown else "Value"
        items.append(f"{value} at '{'.'.join(reversed(path))}' failed to satisfy constraint: {constraint}")
    plural = "" if len(items) == 1 else "s"
    return f"{len(items)} validation error{plural} detected: {'; '.join(items)}"
