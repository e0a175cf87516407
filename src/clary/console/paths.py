"""The console's addresses: made here, and only here. Used by the pages and by `clary open`."""

from urllib.parse import quote, urlencode

BASE = "/_clary/console"
"""All of the console lies below; no bucket can have that name."""

COOKIE_PATH = "/_clary"
START = f"{BASE}/"
JOBS = f"{BASE}/jobs"
ALGORITHMS = f"{BASE}/algorithms"
SIGN_IN = f"{BASE}/sign-in"
SIGN_OUT = f"{BASE}/sign-out"
STATIC = f"{BASE}/static"


def with_query(path: str, **query: str | None) -> str:
    """The path with the parameters that are given and not empty."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def job(training_job_name: str, *further: str) -> str:
    """A training job's page, or one below it."""
    return "/".join((JOBS, quote(training_job_name, safe=""), *further))


def algorithm(algorithm_name: str) -> str:
    """An algorithm's page, by its name or ARN."""
    return f"{ALGORITHMS}/{quote(algorithm_name.rpartition('/')[2], safe='')}"


def static(name: str, version: str) -> str:
    """A static file. Another version has another address, so that it may be kept for ever."""
    return f"{STATIC}/{quote(name)}?v={version}"
