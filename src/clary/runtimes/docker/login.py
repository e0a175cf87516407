"""Who logs in at a registry, before an image is pulled from it.

Called by `pull`, in the thread that pulls: a credential helper may take its time. Either the task names a helper (the
server chose it: see `clary.service.registry_logins`), or Docker's own configuration is asked, as the docker command does:
config.json in $DOCKER_CONFIG or ~/.docker, with `auths`, `credHelpers` and `credsStore`.

Source: the protocol of docker-credential-helpers; Docker's documentation of config.json.
"""

import subprocess
from collections.abc import Sequence

import msgspec
from docker import auth, errors

from clary.base import typed
from clary.jobs.image_reference import DOCKER_HUB

_HELPER_TIMEOUT_S = 60.0
_NOT_FOUND = "credentials not found"  # how every helper says that it knows no login (docker-credential-helpers)
_TOKEN_USER = "<token>"  # noqa: S105 - the user name under which a helper hands out an identity token


class LoginFailed(Exception):
    """A credential helper gave no login; the text says which and why, and holds no secret."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is to show the registry; None: nothing. `trouble`: why Docker's configuration gave nothing, if it
    should have.
    """

    auth_config: dict[str, str] | None = None
    trouble: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    Username: str
    Secret: str


def find_login(registry: str, helper: Sequence[str]) -> Login:
    """The login for a registry (a host, perhaps with a port) by this helper; without one, by Docker's configuration.

    Raises `LoginFailed` if the helper gives none. Trouble with Docker's configuration is no error: the docker command goes
    on without a login then, and an image that everybody may read must not suffer from it.
    """
    if helper:
        return Login(auth_config=_ask(helper, registry))
    try:
        config = auth.load_config()
        store = config.get_credential_store(registry)
        if store is not None and (found := _from_store(store, registry)) is not None:
            return Login(auth_config=found)
        return Login(auth_config=auth.AuthConfig({"auths": config.auths}).resolve_authconfig(registry) or None)
    except LoginFailed as error:
        return Login(trouble=str(error))
    except (errors.DockerException, ValueError, AttributeError, TypeError) as error:
        # The package reads a malformed file with all that these say.
        return Login(trouble=f"Docker's config.json cannot be read: {error}")


def _from_store(store: str, registry: str) -> dict[str, str] | None:
    """What the store of Docker's configuration has for a registry. Raises `LoginFailed`."""
    server = auth.INDEX_URL if registry == DOCKER_HUB else registry  # the hub goes by its old URL there
    try:
        found = _ask((f"docker-credential-{store}",), server)
    except LoginFailed as error:
        if _NOT_FOUND in str(error):
            return None
        raise
    return found if any(found.get(secret) for secret in ("password", "identitytoken")) else None


def _ask(helper: Sequence[str], server: str) -> dict[str, str]:
    """What a credential helper says about a registry. Raises `LoginFailed`."""
    name = helper[0]
    try:
        done = subprocess.run(
            [*helper, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise LoginFailed(f"the credential helper {name} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise LoginFailed(f"the credential helper {name} gave no answer in {_HELPER_TIMEOUT_S:.0f} seconds") from None
    if done.returncode != 0:
        said = (done.stdout.strip() or done.stderr.strip()).decode(errors="replace").splitlines()
        raise LoginFailed(f"the credential helper {name} refused: {said[-1][:300] if said else 'it said nothing'}")
    try:
        answer = typed.from_json(done.stdout, _Answer)
    except msgspec.DecodeError:  # without its text, which may quote a secret
        raise LoginFailed(f"the credential helper {name} gave no answer that can be read") from None
    if answer.Username == _TOKEN_USER:
        return {"serveraddress": server, "identitytoken": answer.Secret}
    return {"serveraddress": server, "username": answer.Username, "password": answer.Secret}
