"""STS as far as training clients need it: who is asking, and temporary credentials. Called by the gateway via `operations`.

Roles do not act yet: a session may do whatever its maker may. What would narrow it (policies, session tags) is refused
by name rather than forgotten. Source: API model of STS.
"""

from typing import Any

from clary.aws.errors import AwsError, ValidationException
from clary.aws.handlers import Handler, RequestContext
from clary.aws.sigv4 import Credential
from clary.base.arn import partition
from clary.base.clock import Clock, Instant, later
from clary.service.roles import parse_role_arn, role_id
from clary.service.sessions import Sessions

_DEFAULT_ROLE_S = 3600
_DEFAULT_USER_S = 43_200
_CHAINED_MAX_S = 3600

_REFUSED = {
    "Policy": "policies are not evaluated yet",
    "PolicyArns": "policies are not evaluated yet",
    "Tags": "session tags act through policies, which are not evaluated yet",
    "TransitiveTagKeys": "session tags act through policies, which are not evaluated yet",
    "SerialNumber": "there are no MFA devices",
    "TokenCode": "there are no MFA devices",
    "SourceIdentity": "nothing records it",
    "ProvidedContexts": "there are no context providers",
    "MinimumSessionTokenSize": "tokens are as long as they are",
}
"""Members that would change what a session is, with why they cannot.

ExternalId is none of them: it counts only where a trust policy asks for it, and ours asks for nothing.
"""


class Identity:
    """The operations."""

    def __init__(self, sessions: Sessions, *, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """The operations by their names."""
        return {
            "AssumeRole": self.assume_role,
            "GetCallerIdentity": self.get_caller_identity,
            "GetSessionToken": self.get_session_token,
        }

    async def get_caller_identity(self, context: RequestContext, _params: dict[str, Any]) -> dict[str, Any]:
        """GetCallerIdentity: whom the signature stands for."""
        return {"UserId": context.caller.user_id, "Account": context.account_id, "Arn": context.caller.principal_arn}

    async def assume_role(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """AssumeRole. Every role name of the account exists; the session is known as the role's, and may do everything."""
        _refuse(params)
        role = parse_role_arn(params["RoleArn"])
        if role is None:
            raise ValidationException("Request ARN is invalid")
        if role.account_id != context.account_id:
            raise AwsError(
                code="AccessDenied",
                message=f"User: {context.caller.principal_arn} is not authorized to perform: sts:AssumeRole on resource: "
                f"{params['RoleArn']}",
                http_status=403,
            )
        duration_s = params.get("DurationSeconds", _DEFAULT_ROLE_S)
        if context.caller.session_token is not None and duration_s > _CHAINED_MAX_S:
            raise ValidationException(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
            )
        name = params["RoleSessionName"]
        user_id = f"{role_id(context.account_id, role.name)}:{name}"
        arn = f"arn:{partition(context.region)}:sts::{context.account_id}:assumed-role/{role.name}/{name}"
        session = self._issue(principal_arn=arn, user_id=user_id, duration_s=duration_s)
        return {"Credentials": _told(session), "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn}}

    async def get_session_token(self, context: RequestContext, params: dict[str, Any]) -> dict[str, Any]:
        """GetSessionToken: the same user, for a while."""
        _refuse(params)
        caller = context.caller
        if caller.session_token is not None:
            raise AwsError(
                code="AccessDenied", message="Cannot call GetSessionToken with session credentials", http_status=403
            )
        session = self._issue(
            principal_arn=caller.principal_arn,
            user_id=caller.user_id,
            duration_s=params.get("DurationSeconds", _DEFAULT_USER_S),
        )
        return {"Credentials": _told(session)}

    def _issue(self, *, principal_arn: str, user_id: str, duration_s: int) -> Credential:
        whole_second = Instant(self._clock.now() // 1000 * 1000)  # as AWS's expirations are
        return self._sessions.issue(
            principal_arn=principal_arn, user_id=user_id, expiration=later(whole_second, duration_s)
        )


def _refuse(params: dict[str, Any]) -> None:
    for member, why in _REFUSED.items():
        if params.get(member):
            raise ValidationException(f"Clary does not support {member} here: {why}.")


def _told(session: Credential) -> dict[str, Any]:
    return {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "SessionToken": session.session_token,
        "Expiration": (session.expiration or 0) / 1000,
    }
