"""Who has signed in: links of `clary open`, good for a minute and once, and the session that such a link begins.

A browser cannot sign requests. Whoever can read the home can make a link, as he can read the key pair itself; `cli` does.
Links and sessions are sealed with keys made of the home's token key and bound to its key pair: another key pair ends them.
Sessions are kept nowhere and so outlive a restart of the server; which links were used is remembered for as long as they
would be good, and links from before the server's start are refused, as it cannot know of them.
"""

import hmac
import secrets
from collections.abc import Callable
from typing import TypeVar

import msgspec

from clary.aws.errors import AwsError
from clary.aws.paging import PageTokens
from clary.base import typed
from clary.base.clock import Clock, Instant, later

_T = TypeVar("_T")

LINK_GOOD_FOR_S = 60
SESSION_GOOD_FOR_S = 12 * 3600


class LinkRefused(Exception):
    """The link begins no session; the text says why, as a sentence for its user."""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """One browser that has signed in, until `ends_at`."""

    id: str
    ends_at: Instant


class _Link(msgspec.Struct, frozen=True, array_like=True):
    id: str
    made_at: Instant


class SignIn:
    """Makes and reads links and sessions of one home: of its token key, and of the key pair with that id."""

    def __init__(self, token_key: bytes, *, access_key_id: str, clock: Clock) -> None:
        def derived(purpose: str) -> bytes:
            # Keys of our own, so that nothing sealed for another purpose can be taken for a link or a session.
            return hmac.digest(token_key, f"console {purpose} {access_key_id}".encode(), "sha256")

        self._links = PageTokens(derived("link"))
        self._sessions = PageTokens(derived("session"))
        self._csrf_key = derived("csrf")
        self._cookie = f"clary-{derived('cookie').hex()[:12]}"
        self._clock = clock
        self._since = clock.now()
        self._used: dict[str, Instant] = {}

    def make_link_token(self) -> str:
        """The secret of a link."""
        return self._links.issue(_Link(secrets.token_hex(16), self._clock.now()), {})

    def redeem(self, link_token: str) -> Session:
        """The session that a link begins. Raises `LinkRefused`."""
        now = self._clock.now()
        link = _read(self._links, link_token, _Link)
        if link is None:
            raise LinkRefused("This link was not made for this server.")
        if link.made_at < self._since:
            raise LinkRefused("This link is from before the server's last start.")
        if not link.made_at <= now < later(link.made_at, LINK_GOOD_FOR_S):
            raise LinkRefused(f"This link is too old: it was good for {LINK_GOOD_FOR_S} seconds.")
        self._used = {id_: until for id_, until in self._used.items() if until > now}
        if link.id in self._used:
            raise LinkRefused("This link has been used: it was good for once.")
        self._used[link.id] = later(link.made_at, LINK_GOOD_FOR_S)
        return Session(secrets.token_hex(16), later(now, SESSION_GOOD_FOR_S))

    def seal(self, session: Session) -> str:
        """The session as the value of a cookie."""
        return self._sessions.issue(session, {})

    def find(self, cookie: Callable[[str], str | None], *, secure: bool) -> Session | None:
        """The session of a request, whose cookies are asked for by their names; None without one that is still good."""
        value = cookie(self.cookie_name(secure=secure))
        session = None if value is None else _read(self._sessions, value, Session)
        return session if session is not None and self._clock.now() < session.ends_at else None

    def cookie_name(self, *, secure: bool) -> str:
        """What the cookie is called. Cookies know no ports: each home has a name of its own. Over TLS there is another, as
        a browser lets no plain address replace a cookie that is for TLS alone.
        """
        return f"__Secure-{self._cookie}" if secure else self._cookie

    def csrf_token(self, session: Session) -> str:
        """What each form of this session carries."""
        return hmac.digest(self._csrf_key, session.id.encode(), "sha256").hex()


def _read(tokens: PageTokens, token: str, kind: type[_T]) -> _T | None:
    try:
        return typed.convert(tokens.read(token, {}), kind)
    except (AwsError, msgspec.ValidationError):
        return None
