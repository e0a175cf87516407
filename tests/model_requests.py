"""Requests drawn from a service model: `from model_requests import Drawer, broken_requests`.

Everything comes from one `random.Random`, so that its seed gives the case again. `Drawer.draw` gives a value that obeys
every rule of its shape. `broken_requests` walks **every** member at any depth and breaks each of its rules in turn, in a
request that is good otherwise.
"""

import re
import re._constants as sre
import re._parser as sre_parser
import string
from collections.abc import Iterator
from typing import Any, NamedTuple

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from clary.aws.patterns import compile_pattern

INTEGERS = {"integer": 2**31 - 1, "long": 2**63 - 1}
_SAMPLES = [
    "a", "1", "a-b", "s3://bucket/key", "https://host/path", "/opt/ml/input", "us-east-1a", "team",
    "arn:aws:iam::123456789012:role/service-role/Name", "arn:aws:lambda:us-east-1:123456789012:function:name",
    "arn:aws:sagemaker:us-east-1:123456789012:training-job/name", "arn:aws:sagemaker:us-east-1:123456789012:hub/h",
    "0123456789abcdef" * 4,
]  # fmt: skip
_ANY_TEXT = string.ascii_letters + string.digits + "-_.:/ ä€\U0001f600\"\\<&>'+%#"
_patterns: dict[str, Any] = {}


class Broken(NamedTuple):
    """A request with one broken rule: the path and the words that the answer must hold.

    `rule` is set for elements of lists and entries of maps, which AWS answers with the list of all their rules; it is one of
    them. `has_null` is set where a null does it, which no client serialises.
    """

    params: dict[str, Any]
    path: str
    words: str
    rule: str = ""
    has_null: bool = False


class Drawer:
    """Draws values. Optional members come with probability `fill`, less often with depth; without `hollow` no structure
    is empty.
    """

    def __init__(self, random, *, fill=0.4, hollow=True):
        self.random = random
        self.fill = fill
        self.hollow = hollow

    def draw(self, shape: Shape, forced: tuple[str, ...] = (), depth: int = 0) -> Any:
        """A value of the shape that has something at the path `forced`: names of members, "[]", "{}"."""
        if isinstance(shape, StructureShape):
            return self._structure(shape, forced, depth)
        if isinstance(shape, ListShape):
            size = self._size(shape, 1 if forced else 0)
            return [self.draw(shape.member, forced[1:], depth + 1) for _ in range(size)]
        if isinstance(shape, MapShape):
            wanted, found = self._size(shape, 1 if forced else 0), {}
            for _ in range(20 * wanted):
                if len(found) < wanted:
                    found[self.draw(shape.key)] = self.draw(shape.value, forced[1:], depth + 1)
            return found
        return self._scalar(shape)

    def _structure(self, shape, forced, depth):
        if shape.metadata.get("union"):
            name = forced[0] if forced else self.random.choice(sorted(shape.members))
            return {name: self.draw(shape.members[name], forced[1:], depth + 1)}
        found = {}
        for name, member in shape.members.items():
            wanted = name in shape.required_members or forced[:1] == (name,)
            if wanted or (depth < 6 and self.random.random() < self.fill / (1 + depth)):
                found[name] = self.draw(member, forced[1:] if forced[:1] == (name,) else (), depth + 1)
        if not found and not self.hollow and shape.members:
            name = self.random.choice([name for name, member in shape.members.items() if member.name != shape.name])
            found[name] = self.draw(shape.members[name], (), depth + 1)
        return found

    def _size(self, shape, least):
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 3)
        low = max(low, min(least, high))
        return self.random.randint(low, max(low, min(high, low + 2)))

    def _scalar(self, shape):
        random, rules = self.random, shape.metadata
        if isinstance(shape, StringShape):
            return random.choice(shape.enum) if shape.enum else self.text(shape)
        if shape.type_name == "boolean":
            return random.random() < 0.5
        if shape.type_name == "timestamp":
            return random.randint(0, 4_000_000_000)
        if shape.type_name == "blob":
            return random.randbytes(random.randint(rules.get("min", 0), min(rules.get("max", 20), 20)))
        if shape.type_name in INTEGERS:
            low = int(rules.get("min", -INTEGERS[shape.type_name] - 1))
            high = int(rules.get("max", INTEGERS[shape.type_name]))
            return random.choice([low, high, random.randint(low, high), max(low, min(high, random.randint(0, 100)))])
        low, high = rules.get("min", -1e9), rules.get("max", 1e9)
        return random.choice([float(low), float(high), random.uniform(low, high)])

    def text(self, shape: StringShape) -> str:
        """A text of the shape's length and pattern, often at one of the ends of its length."""
        random, rules = self.random, shape.metadata
        low, high = rules.get("min", 0), rules.get("max", 1_000_000)
        pattern = rules.get("pattern")
        if pattern is None:
            size = random.choice([low, min(high, low + 1), random.randint(low, max(low, min(high, 40)))])
            return "".join(random.choices(_ANY_TEXT, k=size))
        matches = _matcher(pattern)
        samples = [text for text in _SAMPLES if low <= len(text) <= high and matches(text)]
        for _ in range(60):
            text = _text_of(pattern, random, max(low, 1))
            if text is not None and low <= len(text) <= high and matches(text):
                return random.choice([text, text, *samples[:1]])
        if not samples:
            raise AssertionError(f"no text for {shape.name}: {pattern} of {low} to {high}")
        return random.choice(samples)


def broken_requests(shape: StructureShape, random, *, hollow=True) -> Iterator[Broken]:
    """Every member of the shape with each of its rules broken, one at a time."""
    drawer = Drawer(random, fill=0.1, hollow=hollow)
    for path, member, _ in members(shape):
        for make, words, rule in _breaks(member, drawer):
            params = drawer.draw(shape, path)
            place, key, where = _find(params, path)
            place[key] = make(place[key])
            yield Broken(params, ".".join(where), words, rule)
        if isinstance(member, ListShape):
            params = drawer.draw(shape, path)
            place, key, where = _find(params, path)
            place[key] = [*place[key][: member.metadata.get("max", 9) - 1], None]
            if isinstance(member.member, StructureShape | ListShape | MapShape):
                where.append(f"{len(place[key])}.member")
                yield Broken(params, ".".join(where), "Member must not be null", has_null=True)
            else:
                words = "Member must satisfy constraint: ["
                yield Broken(params, ".".join(where), words, "Member must not be null", has_null=True)
    for path, structure in [((), shape), *((path, member) for path, member, _ in members(shape))]:
        if isinstance(structure, StructureShape):
            for name in structure.required_members:
                params = drawer.draw(shape, (*path, name))
                place, key, where = _find(params, (*path, name))
                has_null = random.random() < 0.5
                if has_null:
                    place[key] = None  # counts as absent
                else:
                    del place[key]
                yield Broken(params, ".".join(where), "Member must not be null", has_null=has_null)


def members(shape: Shape, path: tuple[str, ...] = (), seen: tuple[str, ...] = ()) -> Iterator[tuple]:
    """Every place in a shape: its path, the shape there, and the shapes on the way. Shapes within themselves end."""
    if seen.count(shape.name) > 1:
        return
    seen = (*seen, shape.name)
    inner: dict[str, Shape] = {}
    if isinstance(shape, StructureShape):
        inner = shape.members
    elif isinstance(shape, ListShape):
        inner = {"[]": shape.member}
    elif isinstance(shape, MapShape):
        inner = {"{}": shape.value}
    for step, member in inner.items():
        if step not in {"[]", "{}"} or isinstance(member, StructureShape | ListShape | MapShape):
            yield (*path, step), member, seen
        yield from members(member, (*path, step), seen)


def lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def _find(params, path):
    """The container and key of a place, and its path as AWS writes it. Nothing is said of what lies within a map."""
    place: Any = None
    value: Any = params
    key: Any = None
    where: list[str] = []
    in_map = False
    for step in path:
        place = value
        if step == "[]":
            key = len(value) - 1
        elif step == "{}":
            key = next(iter(value))
            in_map = True
        else:
            key = step
        if not in_map:
            where.append(f"{len(value)}.member" if step == "[]" else lower_first(key))
        value = value[key] if isinstance(key, int) else value.get(key)
    return place, key, where


def _breaks(shape, drawer):
    """(what to put there, the words, the rule within a list or map) for each rule of a shape."""
    rules = shape.metadata
    low, high = rules.get("min"), rules.get("max")
    at_most = f"Member must have length less than or equal to {high}"
    at_least = f"Member must have length greater than or equal to {low}"
    if isinstance(shape, StringShape):
        yield from ((lambda _, text=text: text, words, "") for text, words in _bad_texts(shape, low, high))
    elif isinstance(shape, StructureShape):
        if rules.get("union") and drawer.hollow:
            yield lambda _: {}, "Exactly one member of the union must be set", ""
    elif isinstance(shape, ListShape):
        if high is not None:
            yield lambda value: (value or [drawer.draw(shape.member)]) * (high + 1), at_most, ""
        if low:
            yield lambda _: [], at_least, ""
        for make, words, _ in _breaks_of_scalar(shape.member, drawer):
            yield lambda value, make=make: [*value[:-1], make(None)], "Member must satisfy constraint: [", words
    elif isinstance(shape, MapShape):
        if high is not None:
            yield lambda _: {f"k{n}": drawer.draw(shape.value) for n in range(high + 1)}, at_most, ""
        for make, words, _ in _breaks(shape.key, drawer):
            put = lambda _, make=make: {make(None): drawer.draw(shape.value)}  # noqa: E731
            yield put, "Map keys must satisfy constraint: [", words
        for make, words, _ in _breaks_of_scalar(shape.value, drawer):
            put = lambda _, make=make: {drawer.draw(shape.key): make(None)}  # noqa: E731
            yield put, "Map value must satisfy constraint: [", words
    elif shape.type_name in {"integer", "long", "float", "double"}:
        if high is not None and high < INTEGERS.get(shape.type_name, float("inf")):
            yield lambda _: high + 1, f"Member must have value less than or equal to {high}", ""
        if low is not None:
            yield lambda _: low - 1, f"Member must have value greater than or equal to {low}", ""
    elif shape.type_name == "blob":
        if high is not None and high <= 70_000:
            yield lambda _: b"a" * (high + 1), at_most, ""
        if low:
            yield lambda _: b"a" * (low - 1), at_least, ""


def _breaks_of_scalar(shape, drawer):
    return [] if isinstance(shape, StructureShape | ListShape | MapShape) else _breaks(shape, drawer)


def _bad_texts(shape, low, high):
    if shape.enum:
        yield "No such value!", "Member must satisfy enum value set: ["
    if high is not None and high <= 70_000:
        yield "a" * (high + 1), f"Member must have length less than or equal to {high}"
    if low:
        yield "a" * (low - 1), f"Member must have length greater than or equal to {low}"
    pattern = shape.metadata.get("pattern")
    bad = _not_matching(pattern, low or 0, high)
    if bad is not None:
        yield bad, f"Member must satisfy regular expression pattern: {pattern}"


def _not_matching(pattern, low, high):
    """A text of a good length that does not obey the pattern, or None when every text does."""
    if pattern is None:
        return None
    high = 1000 if high is None else high
    size = max(low, min(3, high))
    for character in ("\n", "!", " ", "ä", "-", "x"):
        text = character * size
        if size and not _matcher(pattern)(text):
            return text
    return None


def _matcher(pattern):
    if pattern not in _patterns:
        _patterns[pattern] = compile_pattern(pattern).matches
    return _patterns[pattern]


def _text_of(pattern, random, wanted):
    """A text that probably obeys the pattern; None when Python cannot read it."""
    try:
        tree = sre_parser.parse(pattern)
    except (re.error, OverflowError):
        return None
    return "".join(_parts(tree, random, wanted))


def _parts(tree, random, wanted):
    for kind, argument in tree:
        if kind is sre.LITERAL:
            yield chr(argument)
        elif kind is sre.ANY:
            yield random.choice(string.ascii_letters)
        elif kind is sre.NOT_LITERAL:
            yield "a" if argument != ord("a") else "b"
        elif kind is sre.IN:
            yield _member_of(argument, random)
        elif kind in {sre.MAX_REPEAT, sre.MIN_REPEAT}:
            low, high, inner = argument
            for _ in range(min(int(high), low + random.choice([0, 1, 2, wanted, random.randint(0, wanted)]))):
                yield from _parts(inner, random, wanted)
        elif kind is sre.SUBPATTERN:
            yield from _parts(argument[-1], random, wanted)
        elif kind is sre.BRANCH:
            yield from _parts(random.choice(argument[1]), random, wanted)


def _member_of(choices, random):
    if choices[0][0] is sre.NEGATE:
        forbidden = _characters(choices[1:])
        return random.choice([c for c in string.ascii_letters + string.digits + "-" if c not in forbidden])
    return random.choice(_characters(choices))


def _characters(choices):
    found = []
    for kind, argument in choices:
        if kind is sre.LITERAL:
            found.append(chr(argument))
        elif kind is sre.RANGE:
            low, high = argument
            found += [chr(low + n) for n in range(min(high - low, 60) + 1)]
        elif kind is sre.CATEGORY:
            found += {
                sre.CATEGORY_DIGIT: string.digits,
                sre.CATEGORY_WORD: string.ascii_letters + string.digits + "_",
                sre.CATEGORY_SPACE: " ",
            }.get(argument, string.ascii_letters)
    return found or ["a"]
