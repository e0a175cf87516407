"""Errors of a service that once spoke the query protocol alone and must not change their codes for its old clients.

Such a service (CloudWatch) names an error by its shape in the body, as the newer protocols do, and by its old code in a
header, which clients prefer. Source: Smithy, awsQueryCompatible.
"""

from clary.aws.errors import AwsError
from clary.aws.model import ServiceModel

Headers = tuple[tuple[bytes, bytes], ...]


# Source: common errors of the query services; Throttling is what they send (observed).
_QUERY_CODES = {"ValidationException": "ValidationError", "ThrottlingException": "Throttling"}


def query_code(error: AwsError) -> str:
    """The code of an error in the query protocol, where some of the common ones have other names."""
    return _QUERY_CODES.get(error.code, error.code)


def query_fault(error: AwsError) -> str:
    """Whose fault it is, in the words of that protocol."""
    return "Sender" if error.http_status < 500 else "Receiver"


def query_error_headers(error: AwsError, model: ServiceModel | None) -> Headers:
    """The header with the old code; none for a service that never had one."""
    if model is None or not model.is_query_compatible:
        return ()
    return ((b"x-amzn-query-error", f"{query_code(error)};{query_fault(error)}".encode()),)
