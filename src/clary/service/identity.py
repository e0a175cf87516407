"""STS as far as training clients need it: GetCallerIdentity. Called by the gateway through `operations`."""

from typing import Any

from clary.aws.handlers import Handler, RequestContext


async def get_caller_identity(context: RequestContext, _params: dict[str, Any]) -> dict[str, Any]:
    """GetCallerIdentity: whom the signature stands for."""
    return {"UserId": context.caller.user_id, "Account": context.account_id, "Arn": context.caller.principal_arn}


def handlers() -> dict[str, Handler]:
    """The operations by their names."""
    return {"GetCallerIdentity": get_caller_identity}
