"""The image catalogue: TrainingImage to a local environment that obeys the container contract.

Called by `training_jobs` at create time, so that an image which nothing can run is refused there, with the reason and
the cure. The rules are data: `images.toml` beside this file, and before it the operator's own file.
"""

import importlib.util
import re
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.jobs.model import MetricDefinition, Program

_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class InvalidCatalogue(Exception):
    """The catalogue's file is not what it should be; the text says where."""


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule of the catalogue. The members are explained in images.toml."""

    image: str
    entrypoint: tuple[str, ...] = ()
    python: str | None = None
    environment: dict[str, str] = {}
    search_path: tuple[str, ...] = ()
    read_only_paths: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    metric_definitions: str | None = None


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What an image resolved to."""

    program: Program
    metric_definitions: tuple[MetricDefinition, ...]


class ImageCatalogue:
    """Resolves images. `python_paths` tells which host paths a Python environment consists of, or raises
    `InvalidCatalogue`; it may take a while and is asked once for each environment.
    """

    def __init__(self, images: tuple[Image, ...], *, python_paths: Callable[[Path], tuple[str, ...]]) -> None:
        self._python_paths = python_paths
        self._rules = [(re.compile(image.image), image) for image in images]
        self._resolved: dict[str, Resolved] = {}
        self._paths: dict[Path, tuple[str, ...]] = {}

    def resolve(self, training_image: str) -> Resolved:
        """The environment that stands for the image. Raises `ValidationException` when there is none."""
        known = self._resolved.get(training_image)
        if known is not None:
            return known
        for pattern, image in self._rules:
            if pattern.fullmatch(training_image):
                resolved = self._environment(training_image, image)
                if len(self._resolved) < 1000:  # callers choose the names: the cache must not grow without end
                    self._resolved[training_image] = resolved
                return resolved
        raise ValidationException(
            "Invalid training image. Please provide a valid Amazon Elastic Container Registry path of the Docker image "
            f"to run. Clary knows no local environment for '{training_image}' and runs no container engine yet: "
            "add a rule for it to the image catalogue (setting `images`), or use 'clary/python' with a ContainerEntrypoint."
        )

    def environment_paths(self, prefix: Path) -> tuple[str, ...]:
        """The host paths of a Python environment. Raises `InvalidCatalogue`."""
        if prefix not in self._paths:
            self._paths[prefix] = self._python_paths(prefix)
        return self._paths[prefix]

    def _environment(self, training_image: str, image: Image) -> Resolved:
        prefix = Path(image.python or sys.prefix)
        try:
            paths = self.environment_paths(prefix)
        except InvalidCatalogue as error:
            raise ValidationException(
                f"Invalid training image. The image catalogue stands a broken environment for '{training_image}': {error}"
            ) from None
        program = Program(
            image=training_image,
            entrypoint=tuple(part.replace("{python}", str(prefix / "bin" / "python")) for part in image.entrypoint),
            environment=image.environment,
            search_path=(*image.search_path, str(prefix / "bin"), *_SYSTEM_PATH),
            read_only_paths=(
                *paths,
                *map(_package_directory, image.packages),
                *image.read_only_paths,
            ),
        )
        return Resolved(program=program, metric_definitions=_definitions(image.metric_definitions))


def load_images(own: Path | None) -> tuple[Image, ...]:
    """The rules: those of the operator's own file first. Raises `InvalidCatalogue`."""
    built_in = resources.files("clary.service").joinpath("images.toml").read_text()
    rules = _parse(built_in, "images.toml")
    if own is None:
        return rules
    try:
        text = own.read_text()
    except OSError as error:
        raise InvalidCatalogue(f"{own}: {error.strerror}") from None
    return _parse(text, str(own)) + rules


def _parse(text: str, where: str) -> tuple[Image, ...]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
        images = msgspec.convert(document.get("image", []), tuple[Image, ...])
        for image in images:
            re.compile(image.image)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, re.error) as error:
        raise InvalidCatalogue(f"{where}: {error}") from None
    return images


def _package_directory(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidCatalogue(f"the package {name} is not installed")
    return spec.submodule_search_locations[0]


def _definitions(where: str | None) -> tuple[MetricDefinition, ...]:
    if where is None:
        return ()
    module, _, name = where.partition(":")
    found = getattr(import_module(module), name)
    return tuple(MetricDefinition(name=definition.name, regex=definition.regex) for definition in found)
