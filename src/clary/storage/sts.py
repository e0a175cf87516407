"""Temporary credentials that may do what a job's grants say, and nothing else.

The controller asks for them before it launches an instance and gives them to it; the store's own key never leaves the
server. `session_policy` turns grants into documents; here the store's AssumeRole is called, with the credential that the
trust policy of the role names. Credentials of a job cannot assume the role again.
"""

import asyncio
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from clary.aws.canonical import Request
from clary.aws.sigv4 import Credential, SigningKeys, sign
from clary.base.clock import Clock, Instant
from clary.storage.session_policy import Grant, SessionPolicy, pack

SHORTEST_S, LONGEST_S = 900, 43_200
"""Bounds of a session's life, seconds. Source: STS API, AssumeRole, DurationSeconds."""

_NOT_IN_A_SESSION_NAME = re.compile(r"[^\w+=,.@-]", re.ASCII)


class StsUnavailable(Exception):
    """The store gave no answer or one of its own failures; asking again may help."""


class StsRefused(Exception):
    """The store refused to give credentials; `code` is its error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class SessionCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """A temporary key pair with its token, good until `expiration`."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: Instant

    def __repr__(self) -> str:
        """Names the key alone: the rest must not get into a log."""
        return f"SessionCredentials({self.access_key_id!r}, expiration={self.expiration})"


class StsClient:
    """Assumes one role at one endpoint. `credential` must be the one that the role trusts."""

    def __init__(self, endpoint_url: str, *, credential: Credential, role_arn: str, region: str, clock: Clock) -> None:
        self._endpoint_url = endpoint_url
        self._credential = credential
        self._role_arn = role_arn
        self._region = region
        self._clock = clock
        self._keys = SigningKeys()

    async def assume(
        self, grants: Sequence[Grant], duration_s: int, session_name: str
    ) -> list[tuple[tuple[Grant, ...], SessionCredentials]]:
        """Credentials for every grant, as few as hold them all; of no grants, none.

        `duration_s` is held within 15 minutes and 12 hours; characters that a session name may not have become hyphens.
        Raises `UngrantableName`, `StsRefused`, `StsUnavailable`.
        """
        policies = pack(grants)
        duration_s = max(SHORTEST_S, min(duration_s, LONGEST_S))
        name = _NOT_IN_A_SESSION_NAME.sub("-", session_name)[:64].ljust(2, "-")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            given = await asyncio.gather(*(self._assume(session, policy, duration_s, name) for policy in policies))
        return [(policy.grants, credentials) for policy, credentials in zip(policies, given, strict=True)]

    async def _assume(
        self, session: aiohttp.ClientSession, policy: SessionPolicy, duration_s: int, name: str
    ) -> SessionCredentials:
        form = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": self._role_arn,
            "RoleSessionName": name,
            "DurationSeconds": str(duration_s),
            "Policy": policy.document,
        }
        body = urlencode(form).encode()
        headers = [
            (b"host", urlsplit(self._endpoint_url).netloc.encode()),
            (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"),
        ]
        headers += sign(
            Request(method="POST", raw_path=b"/", query=b"", headers=headers, body=body),
            credential=self._credential,
            region=self._region,
            service="sts",
            now=self._clock.now(),
            signing_keys=self._keys,
        )
        sent = {key.decode(): value.decode() for key, value in headers}
        try:
            async with session.post(f"{self._endpoint_url}/", data=body, headers=sent) as response:
                return _read(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StsUnavailable(f"{self._endpoint_url} did not answer: {error}") from error


def _read(status: int, body: bytes) -> SessionCredentials:
    try:
        document = ET.fromstring(body)  # noqa: S314  (the store that holds our data anyway)
    except ET.ParseError:
        raise StsUnavailable(f"the store answered {status} with {body[:200]!r}") from None
    # Namespaces differ between stores, so elements are known by their last name.
    texts = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in document.iter()}
    if status >= 500:
        raise StsUnavailable(f"the store answered {status} {texts.get('Code', '')}: {texts.get('Message', '')}")
    if status != 200:
        raise StsRefused(texts.get("Code", str(status)), texts.get("Message", ""))
    try:
        ends = datetime.fromisoformat(texts["Expiration"])
        return SessionCredentials(
            access_key_id=texts["AccessKeyId"],
            secret_access_key=texts["SecretAccessKey"],
            session_token=texts["SessionToken"],
            expiration=Instant(int(ends.timestamp() * 1000)),
        )
    except (KeyError, ValueError) as error:
        raise StsUnavailable(f"the store's answer to AssumeRole lacks {error}") from error
