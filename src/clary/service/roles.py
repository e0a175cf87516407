"""IAM as far as training clients ask it: GetRole and SimulatePrincipalPolicy. Called by the gateway through `operations`.

Roles do not act yet, so there is no list of them: every name of the account is a role, which SageMaker and the account's
own users may assume and to which everything is allowed, because nothing is evaluated. What would make a difference in
IAM (policies to try out) is refused by name. Source: API model of IAM.
"""

import base64
import hashlib
import re
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from clary.aws.errors import AwsError, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.base.arn import partition
from clary.base.clock import Instant

_MAX_ITEMS = 100
"""Results on a page unless MaxItems says otherwise. Source: API model, SimulatePrincipalPolicy."""

_REFUSED = ("PolicyInputList", "PermissionsBoundaryPolicyInputList", "PolicyExclusionList", "ResourcePolicy")

_ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})", re.ASCII).fullmatch
_ENTITY_ARN = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):(?:role|user|group)/[\x21-\x7e]+", re.ASCII).fullmatch


class RoleName(NamedTuple):
    """A role by its ARN; the path is no part of its name."""

    account_id: str
    name: str


def parse_role_arn(arn: str) -> RoleName | None:
    """The role that an ARN names; None if it is no role's."""
    match = _ROLE_ARN(arn)
    return match and RoleName(match[1], match[2])


def role_id(account_id: str, name: str) -> str:
    """The unique id of a role: `AROA` and 17 characters, always the same for the same name."""
    digest = hashlib.sha256(f"{account_id}/{name}".encode()).digest()
    return "AROA" + base64.b32encode(digest).decode()[:17]


class Roles:
    """The operations. `since` is when the account came into being, and all its roles with it."""

    def __init__(self, *, since: Instant) -> None:
        self._since = since

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {"GetRole": self.get_role, "SimulatePrincipalPolicy": self.simulate_principal_policy}

    async def get_role(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GetRole. The trust document is URL-encoded JSON, as RFC 3986 has it."""
        name = params["RoleName"]
        arn = f"arn:{partition(context.region)}:iam::{context.account_id}"
        statements = [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
            {"Effect": "Allow", "Principal": {"AWS": f"{arn}:root"}, "Action": "sts:AssumeRole"},
        ]
        trust = msgspec.json.encode({"Version": "2012-10-17", "Statement": statements}).decode()
        return {
            "Role": {
                "Path": "/",
                "RoleName": name,
                "RoleId": role_id(context.account_id, name),
                "Arn": f"{arn}:role/{name}",
                "CreateDate": self._since // 1000,
                "AssumeRolePolicyDocument": quote(trust, safe=""),
                "MaxSessionDuration": 43_200,
                "RoleLastUsed": {},
            }
        }

    async def simulate_principal_policy(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """SimulatePrincipalPolicy: "allowed" for each action and each resource, which is what happens here."""
        for member in _REFUSED:
            if params.get(member):
                raise _invalid_input(f"Clary does not support {member}: policies are not evaluated yet.")
        source = params["PolicySourceArn"]
        match = _ENTITY_ARN(source)
        if match is None:
            raise _invalid_input(f"Invalid Entity Arn: {source}")
        if match[1] != context.account_id:
            raise AwsError(code="NoSuchEntity", message=f"The entity {source} cannot be found.", http_status=404)
        first = _first(params.get("Marker"))
        last = first + params.get("MaxItems", _MAX_ITEMS)
        actions, resources = params["ActionNames"], params.get("ResourceArns") or []
        answer: dict[str, Any] = {
            "EvaluationResults": [_allowed(action, resources) for action in actions[first:last]],
            "IsTruncated": last < len(actions),
        }
        if last < len(actions):
            answer["Marker"] = str(last)
        return answer


def _allowed(action: str, resources: list[str]) -> dict[str, Any]:
    """One result. At the top stands "*", not a resource asked for; those have results of their own (API model)."""
    result: dict[str, Any] = {
        "EvalActionName": action,
        "EvalResourceName": "*",
        "EvalDecision": "allowed",
        "MatchedStatements": [],
        "MissingContextValues": [],
    }
    if resources:
        result["ResourceSpecificResults"] = [
            {"EvalResourceName": resource, "EvalResourceDecision": "allowed", "MatchedStatements": []}
            for resource in resources
        ]
    return result


def _first(marker: str | None) -> int:
    if marker is None:
        return 0
    if not re.fullmatch(r"\d{1,9}", marker, re.ASCII):
        raise ValidationException("Invalid Marker.")
    return int(marker)


def _invalid_input(message: str) -> AwsError:
    return AwsError(code="InvalidInput", message=message)
