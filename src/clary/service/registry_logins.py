"""Which program knows the login at the registry of a training image: chosen here, run where the image is pulled.

Used by `images`. What is chosen is a command that speaks the protocol of Docker's credential helpers, so that no secret
passes through the service, the database or an instance's task. Where none is chosen, Docker's own configuration is asked
when the image is pulled (see `clary.runtimes.docker.login`).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from clary.aws.errors import ValidationException
from clary.jobs.image_reference import ecr_region


class CredentialsProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands for a Lambda function that gives credentials: `command` is run with "get" at its end."""

    arn: str
    command: tuple[str, ...]


class RegistryLogins:
    """Chooses. `ecr_helper` is the command for Amazon ECR; without it, ECR is a registry like any other."""

    def __init__(self, providers: Iterable[CredentialsProvider] = (), *, ecr_helper: tuple[str, ...] = ()) -> None:
        self._commands = {provider.arn: provider.command for provider in providers}
        self._ecr_helper = ecr_helper

    def check(self, provider_arn: str | None) -> None:
        """Raise `ValidationException` for an ARN that nothing stands for, though nothing may be pulled with it."""
        if provider_arn is not None and provider_arn not in self._commands:
            raise ValidationException(
                f"TrainingRepositoryCredentialsProviderArn '{provider_arn}' cannot be invoked: Lambda functions are not "
                "run here. Name the credential helper that stands for it in the image catalogue (setting `images`): "
                f"[[credentials_provider]] with arn = '{provider_arn}' and command = ['docker-credential-…']."
            )

    def helper(self, registry: str, provider_arn: str | None) -> tuple[str, ...]:
        """The command for a registry (a host); none: Docker's own configuration. Raises `ValidationException` for an ARN
        that nothing stands for.
        """
        self.check(provider_arn)
        if provider_arn is not None:
            return self._commands[provider_arn]
        return self._ecr_helper if ecr_region(registry) is not None else ()


def provider_arn(specification: dict[str, Any]) -> str | None:
    """The Lambda function that an AlgorithmSpecification names for the login at the image's registry."""
    config = specification.get("TrainingImageConfig", {}).get("TrainingRepositoryAuthConfig", {})
    found: str | None = config.get("TrainingRepositoryCredentialsProviderArn")
    return found
