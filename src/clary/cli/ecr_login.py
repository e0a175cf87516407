"""A credential helper for Amazon ECR: `python -m clary.cli.ecr_login PROFILE get`, the registry's host on standard input.

Run where an image is pulled, when the setting `ecr_profile` is there: Docker's credential helper protocol, so that it could
be any other. Asks ECR for a token with the credentials of an AWS profile, and nobody else. Exit code 1 and a line on
standard output say why there is none.

Source: the protocol of docker-credential-helpers; API model of ECR, GetAuthorizationToken.
"""

import base64
import json
import os
import sys
from collections.abc import Sequence

from clary.jobs.image_reference import ecr_region

_NOT_OURS = ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")
"""What `clary env` exports would lead the request to Clary itself; a profile may have an endpoint_url of its own."""


class NoLogin(Exception):
    """There is no login; the text says why."""


def main(arguments: Sequence[str]) -> int:
    """Answer one request; the exit code."""
    if len(arguments) != 2 or arguments[1] != "get":
        sys.stdout.write("usage: python -m clary.cli.ecr_login PROFILE get\n")
        return 1
    registry = sys.stdin.read().strip()
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    try:
        user, secret = token(arguments[0], registry)
    except NoLogin as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"ServerURL": registry, "Username": user, "Secret": secret}))
    return 0


def token(profile: str, registry: str) -> tuple[str, str]:
    """User name and password at a registry of ECR, good for 12 hours. Raises `NoLogin`."""
    region = ecr_region(registry.removeprefix("https://"))
    if region is None:
        raise NoLogin(f"{registry} is no registry of Amazon ECR")
    import boto3  # noqa: PLC0415  it takes longest, and a wrong call should not wait for it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        client = boto3.Session(profile_name=profile, region_name=region).client("ecr")
        (data,) = client.get_authorization_token()["authorizationData"]
    except (BotoCoreError, ClientError) as error:
        raise NoLogin(f"profile {profile} (setting ecr_profile) gets no token of ECR in {region}: {error}") from None
    user, _, secret = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return user, secret


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
