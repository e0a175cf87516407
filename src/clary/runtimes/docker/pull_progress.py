"""How far the pull of an image has come, summed over its layers, as one line for the user. Pure; used by `pull`.

Source: the progress messages of POST /images/create as Docker and Podman send them; Podman knows no unpacking.
"""

from typing import Any

import msgspec

from clary.base.sizes import size_text
from clary.jobs.status import DOWNLOADING_IMAGE_MESSAGE

_COMING = frozenset({"Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum"})
_THERE = frozenset({"Download complete", "Extracting", "Pull complete", "Already exists"})
_DONE = frozenset({"Pull complete", "Already exists"})


class _Layer(msgspec.Struct):
    status: str
    current: int = 0
    total: int | None = None


class PullProgress:
    """Is fed the engine's messages; says where they have got to."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}

    def feed(self, message: dict[str, Any]) -> None:
        """Take one message; those that are not about a layer say nothing."""
        name, status = message.get("id"), message.get("status")
        if not isinstance(name, str) or status not in _COMING | _THERE:
            return
        layer = self._layers.setdefault(name, _Layer(status))
        layer.status = status
        detail = message.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total", 0) > 0:
            layer.current, layer.total = detail.get("current", 0), detail["total"]
        elif status in _THERE and layer.total is not None:
            layer.current = layer.total

    def text(self) -> str:
        """The StatusMessage. The size of a layer is unknown until its download begins; then no sum is told."""
        layers = self._layers.values()
        if not layers:
            return DOWNLOADING_IMAGE_MESSAGE
        there = [layer for layer in layers if layer.status in _THERE]
        text = f"{DOWNLOADING_IMAGE_MESSAGE}: {len(there)} of {len(layers)} layers"
        fetched = [layer for layer in layers if layer.status != "Already exists"]
        current = sum(layer.current for layer in fetched)
        if current:
            text += f", {size_text(current)}"
            if all(layer.total is not None for layer in fetched):
                text += f" of {size_text(sum(layer.total or 0 for layer in fetched))}"
        if len(there) == len(layers) and any(layer.status == "Extracting" for layer in layers):
            text += f", {sum(layer.status in _DONE for layer in layers)} unpacked"
        return text
