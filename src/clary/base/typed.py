"""Data of a known type, out of JSON, MessagePack or builtins: msgspec's functions, made safe for threads. For every room.

msgspec learns what a type consists of when it first meets it, and other threads run meanwhile: one that uses the type then finds
it half learned, and the process dies of SIGSEGV (seen with msgspec 0.22). Here types are learned one after another.
"""

import threading
from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

_T = TypeVar("_T")

_lock = threading.Lock()
_learned: set[object] = set()


def from_json(data: bytes | str, kind: type[_T]) -> _T:
    """See `msgspec.json.decode`. Raises `msgspec.DecodeError`, `msgspec.ValidationError`."""
    _learn(kind)
    return msgspec.json.decode(data, type=kind)


def from_msgpack(data: bytes, kind: type[_T]) -> _T:
    """See `msgspec.msgpack.decode`. Raises the same errors."""
    _learn(kind)
    return msgspec.msgpack.decode(data, type=kind)


def convert(data: object, kind: type[_T]) -> _T:
    """See `msgspec.convert`. Raises `msgspec.ValidationError`."""
    _learn(kind)
    return msgspec.convert(data, kind)


@overload
def json_decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]: ...
@overload
def json_decoder(kind: UnionType) -> msgspec.json.Decoder[Any]: ...
def json_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """A decoder for those who need one often; it may be used by all threads."""
    _learn(kind)
    return msgspec.json.Decoder(kind)


def _learn(kind: object) -> None:
    if kind in _learned:
        return
    with _lock:
        msgspec.json.Decoder(kind)
        _learned.add(kind)
