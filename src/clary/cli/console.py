"""The way into the console, for `clary open`: an address that signs a browser in, and the browser."""

import os
import webbrowser
from urllib.parse import urlsplit, urlunsplit

from clary.base.clock import SystemClock
from clary.base.files import is_locked
from clary.base.home import Home
from clary.console import paths
from clary.console.sign_in import SignIn

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""Addresses to listen on that no browser goes to, and what to go to in their place."""


class NoConsole(Exception):
    """There is none to open; the text says why, and what to do."""


def sign_in_address(home: Home, *, tls: bool) -> str:
    """An address that is good for a minute and once. Raises `NoConsole`."""
    info = home.server()
    if info is None or not is_locked(home.lock):
        raise NoConsole(f"no server is running on {home.root}; start one with `clary serve`")
    url = info.tls_url if tls else info.url
    if url is None:
        raise NoConsole("the server has no TLS listener; give it one with the setting tls_listen")
    sign_in = SignIn(home.token_key(), access_key_id=home.credentials().access_key_id, clock=SystemClock())
    return _reachable(url) + paths.with_query(paths.SIGN_IN, token=sign_in.make_link_token())


def open_browser(address: str) -> None:
    """Show it, if there is a display. A browser in the terminal would not be able to show the console."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def _reachable(url: str) -> str:
    parts = urlsplit(url)
    host = _ANYWHERE.get(parts.hostname or "")
    return url if host is None else urlunsplit(parts._replace(netloc=f"{host}:{parts.port}"))
