"""Names of container images, taken apart. Pure; used by the image catalogue and by the Docker runtime.

Source: the grammar of references in the distribution project, and Docker's rules for names without a registry.
"""

import re

import msgspec

DOCKER_HUB = "docker.io"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<registry>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_ECR = re.compile(
    r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)
_ID = re.compile(r"sha256:[0-9a-f]{64}")


class InvalidReference(ValueError):
    """It is no name of an image; the text says so."""


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """An image by name. `repository` is written as it was given, `registry` is a host, perhaps with a port."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def full_repository(self) -> str:
        """The repository with its registry, which Docker leaves out for its own hub: "docker.io/library/ubuntu"."""
        if self.registry != DOCKER_HUB:
            return self.repository
        path = self.repository.removeprefix(f"{DOCKER_HUB}/")
        return f"{DOCKER_HUB}/{path if '/' in path else f'library/{path}'}"

    @property
    def version(self) -> str:
        """What follows the repository: the digest, of which a tag beside it says nothing more; else the tag, or "latest"."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        """The reference as every engine takes it: with a digest or a tag, not both."""
        return f"{self.repository}{'@' if self.digest else ':'}{self.version}"


def parse_reference(text: str) -> ImageReference:
    """The parts of an image's name. Raises `InvalidReference`."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise InvalidReference(
            f"'{text}' is no name of an image: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST"
        )
    registry, path = found["registry"], found["path"]
    if registry is not None and not (set(registry) & set(".:") or registry == "localhost"):
        # "library/ubuntu": the first part is no host, but a part of the repository's name on Docker's own hub.
        registry, path = None, f"{registry}/{path}"
        if path != path.lower():
            raise InvalidReference(f"'{text}' is no name of an image: the name of a repository is in lower case")
    return ImageReference(
        registry=registry or DOCKER_HUB,
        repository=path if registry is None else f"{registry}/{path}",
        tag=found["tag"],
        digest=found["digest"],
    )


def is_image_id(text: str) -> bool:
    """Whether it names an image by its id, which only the engine that has it knows."""
    return _ID.fullmatch(text) is not None


def ecr_region(registry: str) -> str | None:
    """The region of a registry of Amazon ECR; None if it is another. Source: ECR's documentation of registry URIs."""
    found = _ECR.fullmatch(registry)
    return None if found is None else found["region"]
