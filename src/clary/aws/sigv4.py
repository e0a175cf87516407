"""Signature Version 4: verify a caller's request, sign our own to the store.

The gateway and the S3 gate call `verify`, which proves the `Claim` that `read_claim` finds in a request. Pure: the time,
the look-up of credentials and the cache of signing keys are passed in. Region and service of the scope are proved to be
those that the caller signed for; whether they suit the operation is the caller's business.

Both forms are read: the Authorization header, and the presigned query. Source: the SigV4 chapter of the IAM user guide.
"""

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from clary.aws import canonical
from clary.aws.canonical import EMPTY_SHA256, Request
from clary.aws.claim import ALGORITHM, Claim, basic_date, read_claim
from clary.aws.refusals import Cause, Refused
from clary.base.clock import Instant

__all__ = [
    "UNSIGNED_PAYLOAD",
    "Credential",
    "CredentialLookup",
    "SigningKeys",
    "Verified",
    "is_marker",
    "prove_session",
    "read_claim",
    "sign",
    "verify",
]

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
SKEW_SECONDS = 15 * 60


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair and whom it stands for.

    `session_token` and `expiration` are set for temporary credentials: the token must then be sent, and from that instant
    on the pair proves nothing.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    account_id: str
    principal_arn: str
    user_id: str
    expiration: Instant | None = None

    def __repr__(self) -> str:
        """Without what opens doors."""
        return f"Credential({self.access_key_id}, {self.principal_arn})"


CredentialLookup = Callable[[str, str | None], Credential | None]
"""From an access key id, and the session token sent with it, to the credential, or None.

The token is there for who keeps no list of sessions; that it is the credential's own is checked by `prove_session`. The
look-up may raise `Refused` for a token that it cannot read.
"""


def prove_session(credential: Credential, session_token: str | None, now: Instant) -> None:
    """Hold a session token against its credential. Raises `Refused`."""
    if not _same(credential.session_token or "", session_token or ""):
        raise Refused(Cause.WRONG_TOKEN)
    if credential.expiration is not None and now >= credential.expiration:
        raise Refused(Cause.EXPIRED_TOKEN)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A proved claim.

    `payload_hash` is the hex SHA-256 of the body or one of the markers `UNSIGNED-PAYLOAD` and `STREAMING-…`. For a
    streaming payload `claim.signature` is the seed and `signing_key` the key with which the chunks go on. When the body
    was not at hand, holding it against `payload_hash` is left to whoever reads it.
    """

    credential: Credential
    claim: Claim
    payload_hash: str
    signing_key: bytes

    def __repr__(self) -> str:
        """Without what opens doors."""
        return f"Verified({self.claim!r})"


class SigningKeys:
    """Remembers derived signing keys, the newest `limit` of them, so that a key is derived once a day and not per request."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._keys: dict[tuple[str, str, str, str], bytes] = {}

    def derive(self, secret: str, date: str, region: str, service: str) -> bytes:
        """The signing key of one scope."""
        scope = (secret, date, region, service)
        key = self._keys.get(scope)
        if key is None:
            key = f"AWS4{secret}".encode()
            for part in (date, region, service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            if len(self._keys) >= self._limit:  # regions are the caller's choice: he could fill our memory
                self._keys.pop(next(iter(self._keys)), None)
            self._keys[scope] = key
        return key


def verify(
    request: Request,
    *,
    credentials: CredentialLookup,
    now: Instant,
    signing_keys: SigningKeys,
    claim: Claim | None = None,
) -> Verified:
    """Prove that the request was signed by the holder of a known credential, lately, and not altered since.

    `claim` is that of `read_claim(request)`, if it has been read before. For every service but S3 the body must be at
    hand, and is hashed here. Raises `Refused`.
    """
    claim = claim or read_claim(request)
    credential = credentials(claim.access_key_id, claim.session_token)
    if credential is None:
        raise Refused(Cause.UNKNOWN_KEY)
    prove_session(credential, claim.session_token, now)
    _check_time(claim, now)
    _check_signed_headers(claim)
    payload_hash = _payload_hash(request, claim)
    signing_key = signing_keys.derive(credential.secret_access_key, claim.scope_date, claim.region, claim.service)
    expected = _signature(request, claim, payload_hash, signing_key)
    if not _same(expected, claim.signature):
        raise Refused(Cause.MISMATCH)
    if claim.service == "s3" and request.body is not None and not is_marker(payload_hash):
        _check_body(request.body, payload_hash)
    return Verified(credential=credential, claim=claim, payload_hash=payload_hash, signing_key=signing_key)


def is_marker(payload_hash: str) -> bool:
    """Whether it stands for a body that is not hashed as a whole: `UNSIGNED-PAYLOAD` or `STREAMING-…`."""
    return payload_hash == UNSIGNED_PAYLOAD or payload_hash.startswith("STREAMING-")


def sign(
    request: Request,
    *,
    credential: Credential,
    region: str,
    service: str,
    now: Instant,
    signing_keys: SigningKeys,
    payload_hash: str | None = None,
) -> list[tuple[bytes, bytes]]:
    """The headers to add to our own request: date, payload hash, session token if any, Authorization.

    `request` must carry its Host header. That, Content-Type, Content-MD5 and every x-amz-* header are signed.
    `payload_hash` is the hex SHA-256 of the body or a marker; without it the body of `request` is hashed (None: empty).
    """
    amz_date = basic_date(now // 1000)
    payload_hash = payload_hash or _sha256(request.body or b"")
    added = [(b"x-amz-date", amz_date.encode()), (b"x-amz-content-sha256", payload_hash.encode())]
    if credential.session_token is not None:
        added.append((b"x-amz-security-token", credential.session_token.encode()))
    replaced = {name for name, _ in added} | {b"authorization"}
    kept = [(name, value) for name, value in request.headers if name.lower() not in replaced]
    headers = canonical.headers_by_name([*kept, *added])
    signed = sorted(
        name for name in headers if name in {b"host", b"content-type", b"content-md5"} or name.startswith(b"x-amz-")
    )
    claim = Claim(
        access_key_id=credential.access_key_id,
        scope_date=amz_date[:8],
        region=region,
        service=service,
        amz_date=amz_date,
        signed_at=now // 1000,
        signed_headers=tuple(signed),
        signature="",
        session_token=credential.session_token,
        expires_seconds=None,
        declared_hash=payload_hash,
        headers=headers,
    )
    key = signing_keys.derive(credential.secret_access_key, claim.scope_date, region, service)
    signature = _signature(request, claim, payload_hash, key)
    authorization = (
        f"{ALGORITHM} Credential={credential.access_key_id}/{claim.scope}, "
        f"SignedHeaders={b';'.join(signed).decode()}, Signature={signature}"
    )
    return [*added, (b"authorization", authorization.encode())]


def _signature(request: Request, claim: Claim, payload_hash: str, signing_key: bytes) -> str:
    presigned = claim.expires_seconds is not None
    text = b"\n".join(
        (
            request.method.encode(),
            canonical.canonical_path(request.raw_path, single_encoding=claim.service == "s3"),
            canonical.canonical_query(request.query, without=b"X-Amz-Signature" if presigned else None),
            canonical.canonical_headers(claim.headers, claim.signed_headers),
            b";".join(claim.signed_headers),
            payload_hash.encode(),
        )
    )
    to_sign = f"{ALGORITHM}\n{claim.amz_date}\n{claim.scope}\n{_sha256(text)}"
    return hmac.digest(signing_key, to_sign.encode(), "sha256").hex()


def _payload_hash(request: Request, claim: Claim) -> str:
    """The hash that the caller must have signed: what S3 callers declared, and for all others that of the body we got."""
    if claim.service != "s3":
        return _sha256(request.body or b"")
    if claim.declared_hash is not None:
        return claim.declared_hash
    if claim.expires_seconds is not None:
        return UNSIGNED_PAYLOAD
    raise Refused(Cause.UNSUPPORTED, "Missing required header for this request: x-amz-content-sha256")


def _check_body(body: bytes, payload_hash: str) -> None:
    if not _same(_sha256(body), payload_hash):
        raise Refused(Cause.MISMATCH)


def _check_time(claim: Claim, now: Instant) -> None:
    signed_at = claim.signed_at
    present = now // 1000
    if signed_at > present + SKEW_SECONDS:
        limit = f"{basic_date(present + SKEW_SECONDS)} ({basic_date(present)} + 15 min.)"
        raise Refused(Cause.SKEWED, f"Signature not yet current: {claim.amz_date} is still later than {limit}")
    if claim.expires_seconds is not None:
        if present > signed_at + claim.expires_seconds:
            ended = f"{basic_date(signed_at + claim.expires_seconds)} is now earlier than {basic_date(present)}"
            raise Refused(Cause.EXPIRED, f"Signature expired: {ended}")
    elif signed_at < present - SKEW_SECONDS:
        limit = f"{basic_date(present - SKEW_SECONDS)} ({basic_date(present)} - 15 min.)"
        raise Refused(Cause.SKEWED, f"Signature expired: {claim.amz_date} is now earlier than {limit}")


def _check_signed_headers(claim: Claim) -> None:
    """Every header that changes the meaning of a request must be under the signature, or a relay could change it."""
    unsigned = [name for name in claim.headers if name.startswith(b"x-amz-") and name not in claim.signed_headers]
    if b"host" not in claim.signed_headers:
        unsigned.append(b"host")
    if unsigned:
        listed = b", ".join(sorted(unsigned)).decode("latin-1")
        raise Refused(
            Cause.UNSIGNED_HEADERS, f"There were headers present in the request which were not signed: {listed}"
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if data else EMPTY_SHA256


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())
