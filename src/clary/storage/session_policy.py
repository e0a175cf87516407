"""What a job may do in S3, as inline session policies. Pure.

`sts` hands the documents to AssumeRole, on the embedded store and on AWS alike. A policy holds at most 2,048 characters
(the embedded store counts bytes of UTF-8), so grants are packed into as few policies as a first fit finds, each grant
wholly in one; whoever uses a grant must use the credentials of its policy.

Names that mean something in a policy are refused: `*` and `?` are wildcards, and the embedded store knows no way to
escape them (AWS's `${*}` matches nothing there); `${` opens a variable.

One gap, measured on the embedded store 4.48: it compares object names without regard to case, so that a grant on `in/`
also reads `IN/` (lists are exact). Whoever needs two tenants apart must not tell them apart by case alone.
"""

import json
from collections.abc import Iterable
from typing import Literal

import msgspec

POLICY_LIMIT_BYTES = 2048
"""Source: STS API, AssumeRole, Policy."""

_READ = "s3:GetObject"
_DELETE = "s3:DeleteObject"
_LIST = "s3:ListBucket"
_LIST_UPLOADS = "s3:ListBucketMultipartUploads"
# A multipart upload needs no action beyond these; ListMultipartUploadParts is refused by the embedded store.
_WRITE = ["s3:PutObject", "s3:AbortMultipartUpload"]
_MEANINGFUL = ("*", "?", "${")


class UngrantableName(ValueError):
    """The bucket or key cannot be named in a policy without granting more, or is too long for one."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to read (get and list), to write (put, multipart uploads, and look for those left unfinished), or to sync (both,
    and delete) below `prefix`, a raw string prefix.

    With `exact`, `prefix` is the key of the one object granted. An empty prefix grants the whole bucket. Writing implies
    neither reading nor deleting.
    """

    access: Literal["read", "write", "sync"]
    bucket: str
    prefix: str
    exact: bool = False


class SessionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy document of compact JSON, and the grants that it holds."""

    grants: tuple[Grant, ...]
    document: str


def pack(grants: Iterable[Grant]) -> list[SessionPolicy]:
    """Policies that hold each grant once, in the order given. Raises `UngrantableName`."""
    bins: list[list[Grant]] = []
    for grant in dict.fromkeys(grants):
        _check(grant)
        if not _fits([grant]):
            raise UngrantableName(f"s3://{grant.bucket}/{grant.prefix} is too long for a session policy")
        for candidate in bins:
            if _fits([*candidate, grant]):
                candidate.append(grant)
                break
        else:
            bins.append([grant])
    return [SessionPolicy(grants=tuple(found), document=_document(found)) for found in bins]


def _fits(grants: list[Grant]) -> bool:
    return len(_document(grants).encode()) <= POLICY_LIMIT_BYTES


def _check(grant: Grant) -> None:
    name = f"s3://{grant.bucket}/{grant.prefix}"
    for text in _MEANINGFUL:
        if text in grant.bucket or text in grant.prefix:
            raise UngrantableName(f"{name} contains {text!r}, which in a policy stands for other names too; rename it")
    if not grant.bucket or "/" in grant.bucket:
        raise UngrantableName(f"{grant.bucket!r} is no name of a bucket")
    if grant.exact and not grant.prefix:
        raise UngrantableName("an object has no empty key")


def _document(grants: list[Grant]) -> str:
    statements: list[dict[str, object]] = []
    listers = [grant for grant in grants if grant.access != "write"]
    statements += _allowing(_READ, [grant for grant in grants if grant.access == "read"])
    statements += _listing(_LIST, listers)
    statements += _listing(_LIST_UPLOADS, [grant for grant in grants if grant.access != "read"])
    statements += _allowing(_WRITE, [grant for grant in grants if grant.access == "write"])
    statements += _allowing([_READ, *_WRITE, _DELETE], [grant for grant in grants if grant.access == "sync"])
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"), ensure_ascii=False)


def _allowing(action: str | list[str], grants: list[Grant]) -> list[dict[str, object]]:
    if not grants:
        return []
    return [{"Effect": "Allow", "Action": action, "Resource": [_objects(grant) for grant in grants]}]


def _listing(action: str, grants: list[Grant]) -> list[dict[str, object]]:
    return [
        _listing_of(action, bucket, [grant for grant in grants if grant.bucket == bucket])
        for bucket in dict.fromkeys(grant.bucket for grant in grants)
    ]


def _listing_of(action: str, bucket: str, grants: list[Grant]) -> dict[str, object]:
    statement: dict[str, object] = {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::{bucket}"}
    if all(
        grant.prefix for grant in grants
    ):  # a whole bucket is listed with no prefix at all, which no condition meets
        statement["Condition"] = {"StringLike": {"s3:prefix": [_pattern(grant) for grant in grants]}}
    return statement


def _objects(grant: Grant) -> str:
    return f"arn:aws:s3:::{grant.bucket}/{_pattern(grant)}"


def _pattern(grant: Grant) -> str:
    return grant.prefix if grant.exact else f"{grant.prefix}*"
