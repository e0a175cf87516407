"""The image catalogue: TrainingImage to what runs for it, a local environment or a container.

Called by `training_jobs` and `algorithms` at create time, so that an image which nothing can run is refused there, with
the reason and the cure. The rules are data: `images.toml` beside this file, and before it the operator's own file. An
image without a rule is run as it is, where there is a container engine.
"""

import importlib.util
import re
import sys
import tomllib
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.base import typed
from clary.jobs.image_reference import InvalidReference, parse_reference
from clary.jobs.model import MetricDefinition, Program
from clary.service.registry_logins import CredentialsProvider, RegistryLogins

_INVALID = (
    "Invalid training image. Please provide a valid Amazon Elastic Container Registry path of the Docker image to run."
)
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class InvalidCatalogue(Exception):
    """The catalogue's file is not what it should be; the text says where."""


class RunsIn(StrEnum):
    """Where an image's program runs."""

    ENVIRONMENT = "environment"
    CONTAINER = "container"


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule of the catalogue. The members are explained in images.toml."""

    image: str
    runs_in: RunsIn = RunsIn.ENVIRONMENT
    reference: str | None = None
    entrypoint: tuple[str, ...] = ()
    python: str | None = None
    environment: dict[str, str] = {}
    search_path: tuple[str, ...] = ()
    read_only_paths: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    metric_definitions: str | None = None


_OF_ENVIRONMENTS = ("entrypoint", "python", "environment", "search_path", "read_only_paths", "packages")


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say, the operator's own first."""

    image: tuple[Image, ...] = ()
    credentials_provider: tuple[CredentialsProvider, ...] = ()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What an image resolved to."""

    program: Program
    metric_definitions: tuple[MetricDefinition, ...]


class ImageCatalogue:
    """Resolves images. `python_paths` tells which host paths a Python environment consists of, or raises
    `InvalidCatalogue`; it may take a while and is asked once for each environment. `container_problem` tells why no container
    engine can be used, with the cure (None: one can); `ecr_helper` is as in `RegistryLogins`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        python_paths: Callable[[Path], tuple[str, ...]],
        container_problem: Callable[[], str | None] = lambda: "no container engine is configured.",
        ecr_helper: tuple[str, ...] = (),
    ) -> None:
        self._python_paths = python_paths
        self._container_problem = container_problem
        self._logins = RegistryLogins(catalogue.credentials_provider, ecr_helper=ecr_helper)
        self._rules = [(re.compile(image.image), image) for image in catalogue.image]
        self._resolved: dict[str, Resolved] = {}
        self._paths: dict[Path, tuple[str, ...]] = {}

    def resolve(self, training_image: str, *, provider_arn: str | None = None) -> Resolved:
        """What runs for the image. Raises `ValidationException` when nothing can.

        `provider_arn` names who knows the login at its registry; it acts only on what is pulled, and is refused in any case
        where nothing stands for it.
        """
        self._logins.check(provider_arn)
        known = self._resolved.get(training_image)
        if known is not None:
            return known
        for pattern, image in self._rules:
            match = pattern.fullmatch(training_image)
            if match is None:
                continue
            if image.runs_in is RunsIn.CONTAINER:
                reference = training_image if image.reference is None else match.expand(image.reference)
                return self._container(training_image, reference, provider_arn, image.metric_definitions)
            resolved = self._environment(training_image, image)
            if len(self._resolved) < 1000:  # callers choose the names: the cache must not grow without end
                self._resolved[training_image] = resolved
            return resolved
        return self._container(training_image, training_image, provider_arn, None)

    def environment_paths(self, prefix: Path) -> tuple[str, ...]:
        """The host paths of a Python environment. Raises `InvalidCatalogue`."""
        if prefix not in self._paths:
            self._paths[prefix] = self._python_paths(prefix)
        return self._paths[prefix]

    def _container(
        self, training_image: str, reference: str, provider_arn: str | None, metric_definitions: str | None
    ) -> Resolved:
        problem = self._container_problem()
        if problem is not None:
            raise ValidationException(
                f"{_INVALID} No local environment stands for '{training_image}', and it cannot be run as a container: "
                f"{problem} Otherwise add a rule for it to the image catalogue (setting `images`), or use 'clary/python' "
                "with a ContainerEntrypoint."
            )
        try:
            parsed = parse_reference(reference)
        except InvalidReference as error:
            rewritten = "" if reference == training_image else f" (the image catalogue rewrites '{training_image}' so)"
            raise ValidationException(f"{_INVALID} {error}{rewritten}.") from None
        helper = self._logins.helper(parsed.registry, provider_arn)
        return Resolved(
            program=Program(image=training_image, reference=reference, credential_helper=helper),
            metric_definitions=_definitions(metric_definitions),
        )

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


def load_catalogue(own: Path | None) -> Catalogue:
    """The rules: those of the operator's own file first. Raises `InvalidCatalogue`."""
    built_in = _parse(resources.files("clary.service").joinpath("images.toml").read_text(), "images.toml")
    if own is None:
        return built_in
    try:
        text = own.read_text()
    except OSError as error:
        raise InvalidCatalogue(f"{own}: {error.strerror}") from None
    theirs = _parse(text, str(own))
    return Catalogue(
        image=theirs.image + built_in.image,
        credentials_provider=theirs.credentials_provider + built_in.credentials_provider,
    )


def _parse(text: str, where: str) -> Catalogue:
    try:
        document: dict[str, Any] = tomllib.loads(text)
        catalogue = typed.convert(document, Catalogue)
        for image in catalogue.image:
            _check(image)
        for provider in catalogue.credentials_provider:
            if not provider.command:
                raise InvalidCatalogue(f"{where}: the command for {provider.arn} is empty")
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, re.error, ValueError) as error:
        raise InvalidCatalogue(f"{where}: {error}") from None
    return catalogue


def _check(image: Image) -> None:
    """Raises ValueError and re.error."""
    pattern = re.compile(image.image)
    if image.runs_in is RunsIn.CONTAINER:
        wrong = [name for name in _OF_ENVIRONMENTS if getattr(image, name)]
        if wrong:
            raise ValueError(f"the rule for '{image.image}' runs in a container, which {wrong[0]} is not for")
        try:
            pattern.sub(image.reference or "", "")  # looks at the groups that it names
        except IndexError as error:
            raise ValueError(f"the reference of the rule for '{image.image}': {error}") from None
    elif image.reference is not None:
        raise ValueError(f"the rule for '{image.image}' has a reference, which wants runs_in = \"container\"")


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
