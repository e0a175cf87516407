"""The service models: which operations, shapes and errors each AWS service has.

botocore ships them (`service-2.json`); `model_patches.json` corrects them where a capture shows another truth. The
gateway makes one `ServiceModel` a service at start, because the largest takes tens of milliseconds to read; validators
and parsers then work on the shapes of an `Operation`. Knows nothing of who implements an operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.model import Shape, StructureShape

from clary.base import typed

# The name in a credential scope -> the folder of botocore's data that holds the model.
_FOLDERS = {"monitoring": "cloudwatch"}

# What we speak; the first that a service speaks too is that of a request which looks like none.
_PROTOCOLS = ("json", "query", "smithy-rpc-v2-cbor", "rest-json")


class Patch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One correction: the member at `path` becomes `value`, or is removed when `value` is null. `why` names the capture."""

    path: tuple[str, ...]
    value: Any
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation of a service. A shape is None where the model has none."""

    service: str
    name: str
    input_shape: StructureShape | None
    output_shape: StructureShape | None


class ServiceModel:
    """One service, read by its name in the credential scope ("sagemaker", "logs", "sts")."""

    def __init__(self, service: str, patches: tuple[Patch, ...] | None = None) -> None:
        document = Loader().load_service_model(_FOLDERS.get(service, service), "service-2")
        for patch in _shipped_patches().get(service, ()) if patches is None else patches:
            _apply(document, patch)
        metadata: Mapping[str, Any] = document["metadata"]
        self.service = service
        self.title = str(metadata["serviceId"])
        self.signing_name = str(metadata.get("signingName", metadata["endpointPrefix"]))
        self.protocols = tuple(name for name in _PROTOCOLS if name in metadata["protocols"])
        self.is_query_compatible = "awsQueryCompatible" in metadata
        self.api_version = str(metadata["apiVersion"])
        self.target_prefix: str | None = metadata.get("targetPrefix")
        self.xml_namespace = str(metadata.get("xmlNamespace", ""))
        self._botocore = BotocoreModel(document, service)
        self._names = frozenset(document["operations"])
        self._operations: dict[str, Operation] = {}
        self.routes: Mapping[tuple[str, str], str] = _routes(document["operations"])
        self._message_members = _message_members(document["shapes"])
        self._error_names = _error_names(document["shapes"])

    def operation(self, name: str) -> Operation | None:
        """The operation of that name, as in `X-Amz-Target` after the dot and in `Action`; None if the model lacks it."""
        found = self._operations.get(name)
        if found is None and name in self._names:
            model = self._botocore.operation_model(name)
            found = Operation(
                service=self.service, name=name, input_shape=model.input_shape, output_shape=model.output_shape
            )
            self._operations[name] = found
        return found

    def operation_names(self) -> frozenset[str]:
        """All operations of the model."""
        return self._names

    def shape_names(self) -> frozenset[str]:
        """All shapes of the model."""
        return frozenset(self._botocore.shape_names)

    def shape(self, name: str) -> Shape:
        """A shape by its name in the model."""
        shape: Shape = self._botocore.shape_for(name)
        return shape

    def message_member(self, code: str) -> str:
        """What the text of an error is called in its body: `Message` where the modelled error says so, else `message`."""
        return self._message_members.get(code, "message")

    def error_name(self, code: str) -> str:
        """The shape of the error whose wire code that is, or the code itself. They differ where errors have old codes."""
        return self._error_names.get(code, code)


def _shipped_patches() -> dict[str, tuple[Patch, ...]]:
    data = Path(__file__).with_name("model_patches.json").read_bytes()
    return typed.from_json(data, dict[str, tuple[Patch, ...]])


def _apply(document: dict[str, Any], patch: Patch) -> None:
    """Raises KeyError when a container on the way is missing: a patch for a model that has changed must be seen."""
    *way, last = patch.path
    place: Any = document
    for step in way:
        place = place[step]
    if patch.value is None:
        del place[last]
    else:
        place[last] = patch.value


def _routes(operations: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Method and path of each operation that has a path of its own, without members in it."""
    found = {}
    for name, operation in operations.items():
        method, path = operation["http"]["method"], operation["http"]["requestUri"]
        if path != "/" and "{" not in path and "?" not in path:
            found[method, path] = name
    return found


def _error_names(shapes: Mapping[str, Any]) -> dict[str, str]:
    return {shape["error"]["code"]: name for name, shape in shapes.items() if "code" in shape.get("error", {})}


def _message_members(shapes: Mapping[str, Any]) -> dict[str, str]:
    """Wire code of each modelled error -> the member that holds its text, where that is not `message`."""
    return {
        shape.get("error", {}).get("code", name): "Message"
        for name, shape in shapes.items()
        if shape.get("exception") and "Message" in shape["members"]
    }
