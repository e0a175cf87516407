"""The old presigned query of S3: `AWSAccessKeyId`, `Signature`, `Expires`.

boto3 still makes such URLs for us-east-1 unless it is told otherwise; the S3 gate verifies them here. The form of the
Authorization header (`AWS key:signature`) is not accepted, as in every AWS region opened since 2014. Source: "Signing and
authenticating REST requests (AWS signature version 2)" of the S3 developer guide.
"""

import base64
import hmac

from clary.aws.canonical import Request, headers_by_name, query_pairs
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import Credential, CredentialLookup, prove_session
from clary.base.clock import Instant

# Parameters that name another resource or change the answer, and so are signed with the path.
_SIGNED_PARAMETERS = frozenset({
    "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location",
    "logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
    "response-cache-control", "response-content-disposition", "response-content-encoding", "response-content-language",
    "response-content-type", "response-expires", "restore", "select", "select-type", "storageClass", "tagging", "torrent",
    "uploadId", "uploads", "versionId", "versioning", "versions", "website",
})  # fmt: skip


def is_presigned(query: bytes) -> bool:
    """Whether a raw query carries this kind of signature."""
    return b"AWSAccessKeyId=" in query and b"Signature=" in query


def verify(request: Request, *, credentials: CredentialLookup, now: Instant) -> Credential:
    """Prove that the holder of the credential made this URL and that it has not run out. Raises `Refused`."""
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in query_pairs(request.query)]
    given = dict(pairs)
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in headers_by_name(request.headers).items()
    }
    if "authorization" in headers:
        raise Refused(Cause.SEVERAL, "Only one auth mechanism allowed")
    expires = given.get("Expires", "")
    if not given.get("AWSAccessKeyId") or not given.get("Signature") or not (expires.isascii() and expires.isdigit()):
        raise Refused(
            Cause.MISSING, "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        )
    token = given.get("x-amz-security-token", headers.get("x-amz-security-token"))
    credential = credentials(given["AWSAccessKeyId"], token)
    if credential is None:
        raise Refused(Cause.UNKNOWN_KEY)
    prove_session(credential, token, now)
    text = _string_to_sign(request, headers, pairs, expires)
    expected = base64.b64encode(hmac.digest(credential.secret_access_key.encode(), text.encode("latin-1"), "sha1"))
    if not hmac.compare_digest(expected, given["Signature"].encode()):
        raise Refused(Cause.MISMATCH)
    # A number too long for int() is a time beyond any clock, so the length decides.
    if len(expires) < 15 and int(expires) * 1000 < now:
        raise Refused(Cause.EXPIRED)
    return credential


def _string_to_sign(request: Request, headers: dict[str, str], pairs: list[tuple[str, str]], expires: str) -> str:
    """The signed text. botocore moves the headers that it signed into the query, so both places count."""
    moved = {name.lower(): value for name, value in pairs}
    amz = {name: value for name, value in (moved | headers).items() if name.startswith("x-amz-")}
    resource = (request.raw_path or b"/").decode("latin-1")
    signed = sorted((name, value) for name, value in pairs if name in _SIGNED_PARAMETERS)
    if signed:
        resource += "?" + "&".join(f"{name}={value}" if value else name for name, value in signed)
    return "\n".join(
        [
            request.method,
            headers.get("content-md5", moved.get("content-md5", "")).strip(),
            headers.get("content-type", moved.get("content-type", "")).strip(),
            expires,
            *(f"{name}:{' '.join(amz[name].split())}" for name in sorted(amz)),
            resource,
        ]
    )
