"""The AWS query protocol: a form in, XML out. STS and IAM speak it, and CloudWatch with older clients.

Generic over the service model: the form's dotted names are folded along the input shape, the answer is written along the
output shape from the same wire-true builtins that JSON services answer with (timestamps: seconds since the epoch).
Source: Smithy, AWS query protocol.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from botocore.model import ListShape, MapShape, Shape, StructureShape

from clary.aws import refusals
from clary.aws.canonical import Request
from clary.aws.errors import AwsError
from clary.aws.model import Operation, ServiceModel
from clary.aws.query_compatible import query_code, query_fault
from clary.aws.wire import Answer

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_CONTENT_TYPE = b"text/xml"
_DOTS_MAX = 32  # no shape is that deep; one name of a million dots would have a million prefixes


class QueryXml:
    """The query protocol of one service; GET with the parameters in the query string is the same as POST."""

    protocol: refusals.Protocol = "query"

    def operation_name(self, request: Request, headers: Mapping[bytes, bytes], model: ServiceModel) -> str:
        """The parameter `Action`."""
        del headers
        form = _form(request)
        name = form.get("Action")
        if not name:
            raise AwsError(code="MissingAction", message="The request is missing an action or a required parameter.")
        version = form.get("Version", "")
        if version != model.api_version or model.operation(name) is None:
            raise AwsError(code="InvalidAction", message=f"Could not find operation {name} for version {version}")
        return name

    def parse(self, request: Request, operation: Operation) -> dict[str, Any]:
        """The form folded along the operation's input shape; parameters that it does not know are dropped."""
        if operation.input_shape is None:
            return {}
        fold = _Fold(_form(request))
        params = fold.structure(operation.input_shape, "")
        return params or {}

    def result(self, value: object | None, operation: Operation, model: ServiceModel, request_id: str) -> Answer:
        """The answer wrapped as the model says, with the request id in its metadata."""
        shape = operation.output_shape
        inner = ""
        if shape is not None:
            inner = "".join(_members(shape, msgspec.to_builtins(value or {})))
            wrapper = shape.serialization.get("resultWrapper")
            inner = f"<{wrapper}>{inner}</{wrapper}>" if wrapper else inner
        name = f"{operation.name}Response"
        text = (
            f'<{name} xmlns="{model.xml_namespace}">{inner}'
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}>"
        )
        return Answer(200, _CONTENT_TYPE, text.encode())

    def error(self, error: AwsError, model: ServiceModel | None, request_id: str) -> Answer:
        """`ErrorResponse`. What JSON services call ValidationException is ValidationError here (common errors)."""
        namespace = f' xmlns="{model.xml_namespace}"' if model is not None else ""
        text = (
            f"<ErrorResponse{namespace}><Error><Type>{query_fault(error)}</Type><Code>{_text(query_code(error))}</Code>"
            f"<Message>{_text(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return Answer(error.http_status, _CONTENT_TYPE, text.encode())


QUERY_XML = QueryXml()


def _form(request: Request) -> dict[str, str]:
    """Parameters of the query string and of the body; of a repeated one the last counts."""
    form = {}
    for part in (request.query + b"&" + (request.body or b"")).split(b"&"):
        name, _, value = part.decode("latin-1").partition("=")
        if name:
            form[unquote_plus(name)] = unquote_plus(value)
    return form


class _Fold:
    """Folds the flat names of a form ("Tags.member.1.Key") along a shape."""

    def __init__(self, form: Mapping[str, str]) -> None:
        self._form = form
        # Every prefix that some name has: a shape may contain itself, so only where there is data may we go down.
        self._prefixes = {prefix for name in form if name.count(".") <= _DOTS_MAX for prefix in _prefixes(name)}

    def structure(self, shape: StructureShape, prefix: str) -> dict[str, Any] | None:
        """The members that the form sets, or None when it sets none."""
        found = {}
        for name, member in shape.members.items():
            value = self._value(member, _join(prefix, _query_name(member, name)))
            if value is not None:
                found[name] = value
        return found or None

    def _value(self, shape: Shape, name: str) -> Any:
        if isinstance(shape, StructureShape):
            return self.structure(shape, name) if name in self._prefixes else None
        if isinstance(shape, ListShape):
            return self._list(shape, name)
        if isinstance(shape, MapShape):
            return self._map(shape, name)
        text = self._form.get(name)
        return None if text is None else _scalar(shape, text, name)

    def _list(self, shape: ListShape, name: str) -> list[Any] | None:
        if self._form.get(name) == "":
            return []  # how the protocol sends an empty list
        flat = shape.serialization.get("flattened")
        base = name if flat else _join(name, shape.member.serialization.get("name", "member"))
        return [self._value(shape.member, entry) for entry in self._numbered(base)] or None

    def _map(self, shape: MapShape, name: str) -> dict[str, Any] | None:
        base = name if shape.serialization.get("flattened") else _join(name, "entry")
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        found = {
            self._form.get(_join(entry, key_name), ""): self._value(shape.value, _join(entry, value_name))
            for entry in self._numbered(base)
        }
        return found or None

    def _numbered(self, base: str) -> Iterator[str]:
        number = 1
        while (entry := f"{base}.{number}") in self._prefixes:
            yield entry
            number += 1


def _prefixes(name: str) -> Iterator[str]:
    """The name itself and all that it starts with, dot by dot."""
    yield name
    at = name.rfind(".")
    while at > 0:
        yield name[:at]
        at = name.rfind(".", 0, at)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _query_name(member: Shape, name: str) -> str:
    own: str = member.serialization.get("name", name)
    return own


def _scalar(shape: Shape, text: str, name: str) -> Any:
    try:
        if shape.type_name in {"integer", "long"}:
            return int(text)
        if shape.type_name in {"float", "double"}:
            return float(text)
    except ValueError:
        raise AwsError(code="MalformedInput", message=f"The value of {name} is not a number.") from None  # (inferred)
    if shape.type_name == "boolean":
        return text.lower() == "true"
    return text  # timestamps and blobs are read from text by the validator


def _members(shape: StructureShape, value: Mapping[str, Any]) -> Iterator[str]:
    for name, member in shape.members.items():
        item = value.get(name)
        if item is not None:
            yield from _element(member, _query_name(member, name), item)


def _element(shape: Shape, tag: str, value: Any) -> Iterator[str]:
    if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
        for item in value:
            yield from _element(shape.member, tag, item)
        return
    if isinstance(shape, MapShape) and shape.serialization.get("flattened"):
        yield from _entries(shape, tag, value.items())
        return
    yield f"<{tag}>"
    if isinstance(shape, StructureShape):
        yield from _members(shape, value)
    elif isinstance(shape, ListShape):
        for item in value:
            yield from _element(shape.member, shape.member.serialization.get("name", "member"), item)
    elif isinstance(shape, MapShape):
        yield from _entries(shape, "entry", value.items())
    elif shape.type_name == "timestamp":
        yield datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    elif isinstance(value, bytes):
        yield base64.b64encode(value).decode()
    else:
        yield _text(str(value).lower() if isinstance(value, bool) else str(value))
    yield f"</{tag}>"


def _entries(shape: MapShape, tag: str, items: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for key, value in items:
        yield f"<{tag}>"
        yield from _element(shape.key, shape.key.serialization.get("name", "key"), key)
        yield from _element(shape.value, shape.value.serialization.get("name", "value"), value)
        yield f"</{tag}>"


def _text(text: str) -> str:
    """Text for an element; characters that XML cannot hold become question marks, or no client could read the answer."""
    return escape(_NOT_XML.sub("?", text), quote=False).replace("\r", "&#13;")  # bare, it would be read as \n
