"""What the engine's words about a failed pull mean, and what the user can do. Pure; used by `pull`.

Engines answer 500 to nearly everything, so that only the text tells. Source: messages of Docker 20.10 against a registry
with trouble, and of containers/image (Podman).
"""

import re

from clary.jobs.image_reference import ImageReference

_MISSING = re.compile(
    r"manifest unknown|not found|name unknown|does not exist|repository name not known", re.IGNORECASE
)
_DENIED = re.compile(
    r"unauthori[sz]ed|denied|authentication required|no basic auth|forbidden|invalid username/password|\b40[13]\b",
    re.IGNORECASE,
)
_UNTRUSTED = re.compile(r"x509|certificate|HTTP response to HTTPS client", re.IGNORECASE)
_UNFIT = re.compile(
    r"no matching manifest|no image found in manifest list|unsupported|invalid reference", re.IGNORECASE
)
_UNREACHABLE = re.compile(r"no such host|connection refused|no route|network is unreachable|timeout", re.IGNORECASE)
_LIMITED = re.compile(r"toomanyrequests|\b429\b|rate limit", re.IGNORECASE)
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)

_ANSWERS = frozenset({400, 401, 403, 404})
"""Statuses by which the engine says that it will never be otherwise."""


def may_pass(said: str, status: int | None) -> bool:
    """Whether another attempt may do better: trouble of the network or the registry, or something unheard of."""
    if status in _ANSWERS:
        return False
    return not any(pattern.search(said) for pattern in (_MISSING, _DENIED, _UNTRUSTED, _UNFIT)) or bool(
        re.search(r"no such host", said)  # "not found" in the words of some resolvers
    )


def is_full(said: str) -> bool:
    """Whether the engine's disk is full."""
    return _FULL.search(said) is not None


def cure(name: ImageReference, said: str, login_trouble: str | None) -> str:
    """What to do about it, in one or two sentences."""
    log_in = (
        f"Log in at {name.registry} as the user who runs Clary: `docker login {name.registry}`, a credential helper in "
        "Docker's config.json, or, for Amazon ECR, the setting `ecr_profile`."
    )
    if login_trouble is not None:
        log_in = f"There was no login: {login_trouble}. {log_in}"
    spelling = (
        "Check the spelling of registry, repository and tag; if it lies elsewhere, rewrite its name by a rule of the image "
        "catalogue (setting `images`)."
    )
    if _LIMITED.search(said):
        return (
            f"{name.registry} limits how much is pulled: try again later, or log in, if that raises the limit. {log_in}"
        )
    if _DENIED.search(said):
        return f"{spelling} {log_in}" if _MISSING.search(said) else log_in
    if _UNTRUSTED.search(said):
        return f"Let the container engine trust {name.registry} (its certs.d directory, or insecure-registries)."
    if "no matching manifest" in said or "no image found in manifest list" in said:
        return "The image exists, but was not built for this machine's processor: build it for that platform, too."
    if _MISSING.search(said) and "no such host" not in said:
        return f"{spelling} {log_in}" if login_trouble is not None else spelling
    if _UNREACHABLE.search(said):
        return (
            f"The container engine does not reach {name.registry}: check the name and the engine's network, rewrite it to a "
            f"mirror by a rule of the image catalogue (setting `images`), or bring the image by hand (`docker load`)."
        )
    return f"`docker pull {name}` shows whether it can be had by hand."
