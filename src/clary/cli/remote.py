"""Clients of the server that runs on a home, for the commands that look at jobs: they see what any SageMaker client sees.

Used by `main`. Whatever AWS environment the shell has, they talk to this home's server with this home's key pair.
"""

from typing import Any

from clary.base.home import Home


class NoServer(Exception):
    """No server has run on that home yet."""


class Remote:
    """boto3 clients of one server. Raises `NoServer`."""

    def __init__(self, home: Home) -> None:
        info = home.server()
        if info is None:
            raise NoServer(f"no server has run on {home.root} yet; start one with `clary serve`")
        import botocore.session  # noqa: PLC0415  other commands shall not wait for it
        from boto3 import Session  # noqa: PLC0415

        # A profile of the shell that is not there, or a region of it, concerns nobody here.
        nothing: dict[str, Any] = {"profile": (None, [], None, None), "region": (None, [], info.region, None)}
        self._session = Session(botocore_session=botocore.session.Session(session_vars=nothing))
        self._key_pair = home.credentials()
        self.url = info.url

    def client(self, service: str) -> Any:
        """A client of a service, such as "sagemaker" or "logs"."""
        from botocore.config import Config  # noqa: PLC0415

        return self._session.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=self._key_pair.access_key_id,
            aws_secret_access_key=self._key_pair.secret_access_key,
            aws_session_token="",
            config=Config(proxies={}, connect_timeout=5, retries={"total_max_attempts": 3}),
        )
