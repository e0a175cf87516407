"""CBOR as Smithy's RPC v2 protocol needs it: RFC 8949 without big numbers, with tag 1 for times.

`rpc_cbor` uses it. Decoding gives the builtins that JSON would give: a time becomes its seconds since the epoch, a byte
string its base64 text, undefined becomes None; maps have text keys alone. Encoding follows a shape of the service model,
so that a time gets its tag and a double is one, whatever number the handler gave.
"""

import base64
import struct
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

_DEPTH_MAX = 64  # no shape is that deep
_INDEFINITE = 31
_BREAK = 0xFF
_TIME = 1
_SIMPLE: Mapping[int, bool | None] = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_LENGTH_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}


class BadCbor(ValueError):
    """The bytes are not what this module reads."""


def decode(data: bytes) -> Any:
    """The one item that the bytes hold. Raises `BadCbor`."""
    reader = _Reader(data)
    value = reader.item(0)
    if reader.at != len(data):
        raise BadCbor("there is more than one item")
    return value


def encode(value: Any, shape: Shape) -> bytes:
    """A value as its shape says. Members that are None, or that the shape does not have, are left out."""
    out = bytearray()
    _write(out, value, shape)
    return bytes(out)


def encode_texts(texts: Mapping[str, str]) -> bytes:
    """A map of texts, which needs no shape."""
    out = bytearray()
    _head(out, 5, len(texts))
    for pair in texts.items():
        for text in pair:
            _text(out, text)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def item(self, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            raise BadCbor("it is nested too deeply")
        major, info = self._initial()
        if major == 7:
            return self._simple(info)
        if major in {2, 3}:
            return self._string(major, info)
        if info == _INDEFINITE:
            if major not in {4, 5}:
                raise BadCbor("a number has no length")
            return self._list(None, depth) if major == 4 else self._map(None, depth)
        number = self._number(info)
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 4:
            return self._list(number, depth)
        if major == 5:
            return self._map(number, depth)
        return self._tagged(number, depth)

    def _initial(self) -> tuple[int, int]:
        byte = self._take(1)[0]
        return byte >> 5, byte & 31

    def _take(self, size: int) -> bytes:
        taken = self._data[self.at : self.at + size]
        if len(taken) != size:
            raise BadCbor("it ends too early")
        self.at += size
        return taken

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info not in _LENGTH_BYTES:
            raise BadCbor("a length is malformed")
        return int.from_bytes(self._take(_LENGTH_BYTES[info]), "big")

    def _simple(self, info: int) -> Any:
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info in _FLOATS:
            return _FLOATS[info].unpack(self._take(_FLOATS[info].size))[0]
        raise BadCbor("a simple value is unknown")

    def _string(self, major: int, info: int) -> str:
        if info != _INDEFINITE:
            return self._content(major, self._take(self._number(info)))
        chunks = []
        while not self._ended():
            kind, size = self._initial()
            if kind != major or size == _INDEFINITE:
                raise BadCbor("a piece of a string is of another kind")
            chunks.append(self._take(self._number(size)))
        return self._content(major, b"".join(chunks))

    def _content(self, major: int, content: bytes) -> str:
        if major == 2:
            return base64.b64encode(content).decode()
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise BadCbor("a text is not UTF-8") from None

    def _ended(self) -> bool:
        if self._data[self.at : self.at + 1] == bytes((_BREAK,)):
            self.at += 1
            return True
        return False

    def _list(self, length: int | None, depth: int) -> list[Any]:
        found: list[Any] = []
        while self._ended() is False if length is None else len(found) < length:
            found.append(self.item(depth + 1))
        return found

    def _map(self, length: int | None, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        count = 0
        while self._ended() is False if length is None else count < length:
            key = self.item(depth + 1)
            if type(key) is not str:
                raise BadCbor("a key is no text")
            found[key] = self.item(depth + 1)
            count += 1
        return found

    def _tagged(self, tag: int, depth: int) -> float:
        value = self.item(depth + 1)
        if tag != _TIME or type(value) not in {int, float}:
            raise BadCbor("a tag is not that of a time")
        number: float = value
        return number


def _write(out: bytearray, value: Any, shape: Shape) -> None:
    if isinstance(shape, StructureShape):
        members = {name: value[name] for name in shape.members if value.get(name) is not None}
        _head(out, 5, len(members))
        for name, member in members.items():
            _text(out, shape.members[name].serialization.get("name", name))
            _write(out, member, shape.members[name])
    elif isinstance(shape, ListShape):
        _head(out, 4, len(value))
        for item in value:
            _write(out, item, shape.member)
    elif isinstance(shape, MapShape):
        _head(out, 5, len(value))
        for key, item in value.items():
            _text(out, key)
            _write(out, item, shape.value)
    elif shape.type_name == "timestamp":
        _head(out, 6, _TIME)
        _write_number(out, value)
    elif shape.type_name in {"double", "float"}:
        out += b"\xfb" + _FLOATS[27].pack(value)
    elif isinstance(value, bool):
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _integer(out, value)
    elif isinstance(value, bytes):
        _head(out, 2, len(value))
        out += value
    else:
        _text(out, value)


def _write_number(out: bytearray, value: float) -> None:
    if value == int(value):
        _integer(out, int(value))
    else:
        out += b"\xfb" + _FLOATS[27].pack(value)


def _integer(out: bytearray, value: int) -> None:
    if value >= 0:
        _head(out, 0, value)
    else:
        _head(out, 1, -1 - value)


def _text(out: bytearray, text: str) -> None:
    content = text.encode(errors="replace")
    _head(out, 3, len(content))
    out += content


def _head(out: bytearray, major: int, number: int) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    for info, size in _LENGTH_BYTES.items():
        if number < 1 << (8 * size):
            out.append(major << 5 | info)
            out += number.to_bytes(size, "big")
            return
    raise ValueError(f"{number} has more than 64 bits")
