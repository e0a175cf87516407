"""Signature Version 4: verify a caller's request, sign our own to the store.

The gateway and the S3 gate call `read_claim` (what the request says of itself, unproved) and `verify` (the proof). Pure:
the time, the look-up of credentials and the cache of signing keys are passed in. Region and service of the scope are
proved to be those that the caller signed for; whether they suit the operation is the caller's business.

Both forms are read: the Authorization header, and the presigned query. Source: the SigV4 chapter of the IAM user guide.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from clary.aws import canonical
from clary.aws.canonical import EMPTY_SHA256, Request
from clary.aws.refusals import Cause, Refused
from clary.base.clock import Instant

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
SKEW_SECONDS = 15 * 60
PRESIGNED_MAX_SECONDS = 7 * 24 * 3600

_BASIC_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII).fullmatch
_SCOPED_SERVICE = re.compile(rb"Credential=[^,&]*?(?:/|%2F)([a-z0-9-]+)(?:/|%2F)aws4_request", re.IGNORECASE).search
_SHORT_NUMBER = re.compile(r"\d{1,6}", re.ASCII).fullmatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """A key pair and whom it stands for. `session_token` is set for temporary credentials and then must be sent."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    account_id: str
    principal_arn: str
    user_id: str


CredentialLookup = Callable[[str], Credential | None]
"""From an access key id to its credential, or None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a request says of its own signature; nothing of it is proved yet.

    `amz_date` is ISO 8601 basic, `signed_at` the same in seconds since the epoch, `scope_date` its day. `expires_seconds`
    is set for the presigned form alone. `signed_headers` are lower-case and in the order signed. `declared_hash` is
    X-Amz-Content-SHA256, of the header or of a presigned query.
    """

    access_key_id: str
    scope_date: str
    region: str
    service: str
    amz_date: str
    signed_at: int
    signed_headers: tuple[bytes, ...]
    signature: str
    session_token: str | None = field(repr=False)
    expires_seconds: int | None
    declared_hash: str | None
    headers: dict[bytes, bytes] = field(repr=False)

    @property
    def scope(self) -> str:
        """The credential scope: day, region, service and the fixed ending."""
        return f"{self.scope_date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A proved claim.

    `payload_hash` is the hex SHA-256 of the body or one of the markers `UNSIGNED-PAYLOAD` and `STREAMING-…`. For a
    streaming payload `claim.signature` is the seed and `signing_key` the key with which the chunks go on. When the body
    was not at hand, holding it against `payload_hash` is left to whoever reads it.
    """

    credential: Credential
    claim: Claim
    payload_hash: str
    signing_key: bytes = field(repr=False)


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
            if (
                len(self._keys) >= self._limit
            ):  # the region is the caller's choice: without a limit he could fill our memory
                self._keys.pop(next(iter(self._keys)), None)
            self._keys[scope] = key
        return key


def service_of(query: bytes, authorization: bytes | None) -> str | None:
    """The service that a request says it is signed for, however broken the rest of its signature; None if it is unsigned."""
    found = _SCOPED_SERVICE(query if authorization is None else authorization)
    return None if found is None else found[1].decode("latin-1")


def read_claim(request: Request, headers: dict[bytes, bytes] | None = None) -> Claim:
    """What the request says of its signature. Raises `Refused` (missing, malformed, several, unsupported).

    `headers` are those of the request by lower-case name, if they have been gathered before.
    """
    if headers is None:
        headers = canonical.headers_by_name(request.headers)
    authorization = headers.get(b"authorization")
    presigned = b"X-Amz-Algorithm=" in request.query or b"X-Amz-Credential=" in request.query
    if authorization is not None and presigned:
        raise Refused(
            Cause.SEVERAL,
            "Only one auth mechanism allowed; the request has both an Authorization header and a presigned query",
        )
    if authorization is not None:
        return _claim_of_header(authorization, headers)
    if presigned:
        return _claim_of_query(request.query, headers)
    raise Refused(Cause.MISSING)


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
    credential = credentials(claim.access_key_id)
    if credential is None:
        raise Refused(Cause.UNKNOWN_KEY)
    if not _same(credential.session_token or "", claim.session_token or ""):
        raise Refused(Cause.WRONG_TOKEN)
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
    amz_date = _basic(now // 1000)
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
        limit = f"{_basic(present + SKEW_SECONDS)} ({_basic(present)} + 15 min.)"
        raise Refused(Cause.SKEWED, f"Signature not yet current: {claim.amz_date} is still later than {limit}")
    if claim.expires_seconds is not None:
        if present > signed_at + claim.expires_seconds:
            ended = f"{_basic(signed_at + claim.expires_seconds)} is now earlier than {_basic(present)}"
            raise Refused(Cause.EXPIRED, f"Signature expired: {ended}")
    elif signed_at < present - SKEW_SECONDS:
        limit = f"{_basic(present - SKEW_SECONDS)} ({_basic(present)} - 15 min.)"
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


def _claim_of_header(authorization: bytes, headers: dict[bytes, bytes]) -> Claim:
    algorithm, _, rest = authorization.decode("latin-1").strip().partition(" ")
    if algorithm != ALGORITHM:
        raise Refused(
            Cause.UNSUPPORTED,
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    fields = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not fields.get(name)]
    amz_date = _date_of(headers)
    if missing or amz_date is None:
        said = [f"Authorization header requires '{name}' parameter." for name in missing]
        if amz_date is None:
            said.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        raise Refused(Cause.MALFORMED, " ".join(said))
    return _claim(
        credential=fields["Credential"],
        signed_headers=fields["SignedHeaders"],
        signature=fields["Signature"],
        amz_date=amz_date,
        session_token=_text(headers, b"x-amz-security-token"),
        expires_seconds=None,
        declared_hash=_text(headers, b"x-amz-content-sha256"),
        headers=headers,
    )


def _claim_of_query(query: bytes, headers: dict[bytes, bytes]) -> Claim:
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in canonical.query_pairs(query)}
    needed = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    missing = [f"X-Amz-{name}" for name in needed if not given.get(f"X-Amz-{name}")]
    if missing:
        raise Refused(Cause.MALFORMED_QUERY, f"A presigned query requires the parameters {', '.join(missing)}.")
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise Refused(Cause.UNSUPPORTED, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    expires = given["X-Amz-Expires"]
    if not _SHORT_NUMBER(expires) or not 1 <= int(expires) <= PRESIGNED_MAX_SECONDS:
        raise Refused(Cause.MALFORMED_QUERY, f"X-Amz-Expires must be between 1 and {PRESIGNED_MAX_SECONDS} seconds")
    return _claim(
        credential=given["X-Amz-Credential"],
        signed_headers=given["X-Amz-SignedHeaders"],
        signature=given["X-Amz-Signature"],
        amz_date=given["X-Amz-Date"],
        session_token=given.get("X-Amz-Security-Token"),
        expires_seconds=int(expires),
        declared_hash=given.get("X-Amz-Content-Sha256") or _text(headers, b"x-amz-content-sha256"),
        headers=headers,
    )


def _claim(
    *,
    credential: str,
    signed_headers: str,
    signature: str,
    amz_date: str,
    session_token: str | None,
    expires_seconds: int | None,
    declared_hash: str | None,
    headers: dict[bytes, bytes],
) -> Claim:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise Refused(
            Cause.MALFORMED,
            "Credential must have at least 5 slash-delimited elements: access key, date, region, service and "
            f"'aws4_request', got '{credential}'",
        )
    access_key_id, scope_date, region, service, _ = parts
    signed_at = _seconds(amz_date)
    if amz_date[:8] != scope_date:
        raise Refused(
            Cause.WRONG_SCOPE,
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{scope_date}' "
            f"!= '{amz_date[:8]}', from '{amz_date}'.",
        )
    return Claim(
        access_key_id=access_key_id,
        scope_date=scope_date,
        region=region,
        service=service,
        amz_date=amz_date,
        signed_at=signed_at,
        signed_headers=tuple(signed_headers.lower().encode("latin-1").split(b";")),
        signature=signature,
        session_token=session_token,
        expires_seconds=expires_seconds,
        declared_hash=declared_hash,
        headers=headers,
    )


def _date_of(headers: dict[bytes, bytes]) -> str | None:
    """X-Amz-Date, else the Date header in basic ISO 8601 or in HTTP's own form."""
    amz_date = headers.get(b"x-amz-date")
    if amz_date is not None:
        return amz_date.decode("latin-1").strip()
    date = headers.get(b"date", b"").decode("latin-1").strip()
    if not date or date.endswith("Z"):
        return date or None
    try:
        return _basic(int(parsedate_to_datetime(date).timestamp()))
    except ValueError:
        return None


def _seconds(amz_date: str) -> int:
    try:
        if _BASIC_DATE(amz_date):
            return int(datetime.fromisoformat(amz_date).timestamp())
    except ValueError:
        pass
    raise Refused(
        Cause.MALFORMED,
        f"Date must be in ISO-8601 'basic format'. Got '{amz_date}'. See http://en.wikipedia.org/wiki/ISO_8601",
    )


def _basic(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1").strip()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if data else EMPTY_SHA256


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())
