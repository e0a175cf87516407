"""Why a signature was refused, and what each protocol calls that.

`sigv4` and `sigv2` raise `Refused`, the gateway and the S3 gate turn it into an answer through `CODES`. The codes of the
JSON column and all statuses are inferred from sibling services; those of S3 and of the query protocol are documented in
their lists of common errors.
"""

import enum
from typing import Literal

from clary.aws.errors import AwsError

Protocol = Literal["json", "query", "s3"]


class Cause(enum.Enum):
    """What was wrong with the proof of identity."""

    MISSING = enum.auto()
    MALFORMED = enum.auto()
    MALFORMED_QUERY = enum.auto()
    UNSUPPORTED = enum.auto()
    SEVERAL = enum.auto()
    UNKNOWN_KEY = enum.auto()
    WRONG_TOKEN = enum.auto()
    EXPIRED_TOKEN = enum.auto()
    MISMATCH = enum.auto()
    SKEWED = enum.auto()
    EXPIRED = enum.auto()
    UNSIGNED_HEADERS = enum.auto()
    WRONG_SCOPE = enum.auto()


_UNKNOWN_CALLER = "The security token included in the request is invalid."
_EXPIRED_SESSION = "The security token included in the request is expired"
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)
_DETAIL = "{detail}"

# cause -> protocol -> (code, HTTP status, message)
CODES: dict[Cause, dict[Protocol, tuple[str, int, str]]] = {
    Cause.MISSING: {
        "json": ("MissingAuthenticationTokenException", 403, "Missing Authentication Token"),
        "query": ("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
        "s3": ("AccessDenied", 403, "Access Denied"),
    },
    Cause.MALFORMED: {
        "json": ("IncompleteSignatureException", 400, _DETAIL),
        "query": ("IncompleteSignature", 400, _DETAIL),
        "s3": ("AuthorizationHeaderMalformed", 400, _DETAIL),
    },
    Cause.MALFORMED_QUERY: {
        "json": ("IncompleteSignatureException", 400, _DETAIL),
        "query": ("IncompleteSignature", 400, _DETAIL),
        "s3": ("AuthorizationQueryParametersError", 400, _DETAIL),
    },
    Cause.UNSUPPORTED: {
        "json": ("IncompleteSignatureException", 400, _DETAIL),
        "query": ("IncompleteSignature", 400, _DETAIL),
        "s3": ("InvalidRequest", 400, _DETAIL),
    },
    Cause.SEVERAL: {
        "json": ("IncompleteSignatureException", 400, _DETAIL),
        "query": ("IncompleteSignature", 400, _DETAIL),
        "s3": ("InvalidArgument", 400, _DETAIL),
    },
    Cause.UNKNOWN_KEY: {
        "json": ("UnrecognizedClientException", 400, _UNKNOWN_CALLER),
        "query": ("InvalidClientTokenId", 403, _UNKNOWN_CALLER),
        "s3": ("InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."),
    },
    Cause.WRONG_TOKEN: {
        "json": ("UnrecognizedClientException", 400, _UNKNOWN_CALLER),
        "query": ("InvalidClientTokenId", 403, _UNKNOWN_CALLER),
        "s3": ("InvalidToken", 400, "The provided token is malformed or otherwise invalid."),
    },
    Cause.EXPIRED_TOKEN: {
        "json": ("ExpiredTokenException", 400, _EXPIRED_SESSION),
        "query": ("ExpiredToken", 403, _EXPIRED_SESSION),
        "s3": ("ExpiredToken", 400, "The provided token has expired."),
    },
    Cause.MISMATCH: {
        "json": ("InvalidSignatureException", 400, _MISMATCH),
        "query": ("SignatureDoesNotMatch", 403, _MISMATCH),
        "s3": (
            "SignatureDoesNotMatch",
            403,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        ),
    },
    Cause.SKEWED: {
        "json": ("InvalidSignatureException", 400, _DETAIL),
        "query": ("SignatureDoesNotMatch", 403, _DETAIL),
        "s3": (
            "RequestTimeTooSkewed",
            403,
            "The difference between the request time and the current time is too large.",
        ),
    },
    Cause.EXPIRED: {
        "json": ("ExpiredTokenException", 400, _DETAIL),
        "query": ("ExpiredTokenException", 403, _DETAIL),
        "s3": ("AccessDenied", 403, "Request has expired"),
    },
    Cause.UNSIGNED_HEADERS: {
        "json": ("InvalidSignatureException", 400, _DETAIL),
        "query": ("SignatureDoesNotMatch", 403, _DETAIL),
        "s3": ("AccessDenied", 403, _DETAIL),
    },
    Cause.WRONG_SCOPE: {
        "json": ("InvalidSignatureException", 400, _DETAIL),
        "query": ("SignatureDoesNotMatch", 403, _DETAIL),
        "s3": ("AuthorizationHeaderMalformed", 400, _DETAIL),
    },
}


class Refused(Exception):
    """The caller's identity is not proved; `detail` is fit to be shown to the caller."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(f"{cause.name}: {detail}")
        self.cause = cause
        self.detail = detail

    def as_error(self, protocol: Protocol) -> AwsError:
        """The answer in the words of a protocol."""
        code, http_status, message = CODES[self.cause][protocol]
        return AwsError(code=code, message=message.replace(_DETAIL, self.detail), http_status=http_status)
