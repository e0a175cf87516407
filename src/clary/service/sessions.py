"""Temporary credentials of callers: what AssumeRole and GetSessionToken give out, and the listener accepts.

Nothing is kept. Whom a session stands for and when it ends is written in its token, sealed with the server's key; the
secret key follows from the access key id and the same key. So sessions outlive a restart, and end by themselves.
`identity` makes them; `find` is part of the look-up of every signature.
"""

import base64
import binascii
import hmac
import secrets

import msgspec

from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import Credential
from clary.base import typed
from clary.base.clock import Instant

_PREFIX = "ASIA"
"""Of the access key id of a temporary credential. Source: IAM user guide, unique identifiers."""

_SEAL_BYTES = 32


class _Session(msgspec.Struct, frozen=True, array_like=True):
    """What a token says."""

    access_key_id: str
    principal_arn: str
    user_id: str
    expiration: Instant


class Sessions:
    """Makes and reads the temporary credentials of one account, under one key (any length)."""

    def __init__(self, key: bytes, *, account_id: str) -> None:
        # Keys of our own, so that nothing sealed for another purpose can be taken for a token.
        self._token_key = hmac.digest(key, b"session token", "sha256")
        self._secret_key = hmac.digest(key, b"session secret", "sha256")
        self._account_id = account_id

    def issue(self, *, principal_arn: str, user_id: str, expiration: Instant) -> Credential:
        """A new key pair with its token, for the principal, until `expiration`."""
        access_key_id = _PREFIX + base64.b32encode(secrets.token_bytes(10)).decode()
        content = msgspec.json.encode(_Session(access_key_id, principal_arn, user_id, expiration))
        return self._credential(typed.from_json(content, _Session), _encode(self._seal(content) + content))

    def find(self, access_key_id: str, session_token: str | None) -> Credential | None:
        """The credential of a session, ended or not; None for a key that is no session's or came without a token.

        Raises `Refused` when the token was not given out here, or with another key.
        """
        if not access_key_id.startswith(_PREFIX) or session_token is None:
            return None
        try:
            data = base64.b64decode(session_token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise Refused(Cause.WRONG_TOKEN) from None
        seal, content = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(content)):
            raise Refused(Cause.WRONG_TOKEN)
        session = typed.from_json(content, _Session)
        if session.access_key_id != access_key_id:
            raise Refused(Cause.WRONG_TOKEN)
        return self._credential(session, _encode(data))

    def _credential(self, session: _Session, token: str) -> Credential:
        secret = hmac.digest(self._secret_key, session.access_key_id.encode(), "sha256")
        return Credential(
            access_key_id=session.access_key_id,
            secret_access_key=base64.b64encode(secret).decode()[:40],
            session_token=token,
            account_id=self._account_id,
            principal_arn=session.principal_arn,
            user_id=session.user_id,
            expiration=session.expiration,
        )

    def _seal(self, content: bytes) -> bytes:
        return hmac.digest(self._token_key, content, "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
