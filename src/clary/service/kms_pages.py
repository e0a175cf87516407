"""A page of a list, as KMS gives it: Limit and Marker in, Truncated and NextMarker out. Source: API model of KMS."""

from collections.abc import Mapping
from typing import Any

from clary.aws.errors import ValidationException
from clary.aws.paging import PageTokens
from clary.service.kms_key_ids import KmsError


def page(
    member: str,
    entries: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    tokens: PageTokens,
    query: Mapping[str, Any],
    limit: int,
) -> dict[str, Any]:
    """The answer with `member` holding some of the entries, which stand in the order of their names; `limit` if none is asked
    for. A page begins after the last name of the one before, whatever came or went meanwhile.
    """
    after = ""
    if params.get("Marker"):
        try:
            after = tokens.read(params["Marker"], query)
        except ValidationException:
            raise KmsError("InvalidMarkerException", "The Marker is not valid for this request.") from None
    left = [name for name in entries if name > after]
    names = left[: params.get("Limit", limit)]
    answer: dict[str, Any] = {member: [entries[name] for name in names], "Truncated": len(names) < len(left)}
    if answer["Truncated"]:
        answer["NextMarker"] = tokens.issue(names[-1], query)
    return answer
