"""What a request says of its own Signature Version 4, in a header or in a presigned query; nothing of it is proved.

`sigv4` proves a `Claim`; the gateway asks `service_of` where a request belongs before it reads a body.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from clary.aws.canonical import Request, headers_by_name, query_pairs
from clary.aws.refusals import Cause, Refused

ALGORITHM = "AWS4-HMAC-SHA256"
PRESIGNED_MAX_SECONDS = 7 * 24 * 3600

_BASIC_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII).fullmatch
_SCOPED_SERVICE = re.compile(rb"Credential=[^,&]*?(?:/|%2F)([a-z0-9-]+)(?:/|%2F)aws4_request", re.IGNORECASE).search
_SHORT_NUMBER = re.compile(r"\d{1,6}", re.ASCII).fullmatch


class Claim(msgspec.Struct, frozen=True, kw_only=True):
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
    session_token: str | None
    expires_seconds: int | None
    declared_hash: str | None
    headers: dict[bytes, bytes]

    def __repr__(self) -> str:
        """Without what opens doors."""
        return f"Claim({self.access_key_id}/{self.scope})"

    @property
    def scope(self) -> str:
        """The credential scope: day, region, service and the fixed ending."""
        return f"{self.scope_date}/{self.region}/{self.service}/aws4_request"


def service_of(query: bytes, authorization: bytes | None) -> str | None:
    """The service that a request says it is signed for, however broken the rest of its signature; None if it is unsigned."""
    found = _SCOPED_SERVICE(query if authorization is None else authorization)
    return None if found is None else found[1].decode("latin-1")


def read_claim(request: Request, headers: dict[bytes, bytes] | None = None) -> Claim:
    """What the request says of its signature. Raises `Refused` (missing, malformed, several, unsupported).

    `headers` are those of the request by lower-case name, if they have been gathered before.
    """
    if headers is None:
        headers = headers_by_name(request.headers)
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


def _claim_of_header(authorization: bytes, headers: dict[bytes, bytes]) -> Claim:
    algorithm, _, rest = authorization.decode("latin-1").strip().partition(" ")
    if algorithm != ALGORITHM:
        raise Refused(
            Cause.UNSUPPORTED,
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in fields:  # two headers in one, or two readings of it
            raise Refused(Cause.MALFORMED, f"Invalid key=value pair in Authorization header: '{part.strip()}'.")
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
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in query_pairs(query)}
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
        return basic_date(int(parsedate_to_datetime(date).timestamp()))
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


def basic_date(seconds: int) -> str:
    """Seconds since the epoch in ISO 8601 basic, as SigV4 writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1").strip()
