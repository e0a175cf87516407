"""The operations as the console asks them: in this process, as on the wire, on behalf of its one user.

Made by `clary.app`; pages have its two methods in their `Visit`.
"""

from typing import Any

import msgspec

from clary.aws.gateway import Gateway
from clary.aws.handlers import RequestContext
from clary.aws.sigv4 import Credential
from clary.service.training_job_execution import TrainingJobExecution, TrainingJobExecutions


class Operations:
    """The gateway's operations, and the one that is not on the wire."""

    def __init__(self, gateway: Gateway, executions: TrainingJobExecutions, *, user: Credential, region: str) -> None:
        self._gateway = gateway
        self._executions = executions
        self.user = user
        self.region = region

    async def ask(self, service: str, operation: str, params: dict[str, Any]) -> Any:
        """See `visit.Ask`."""
        return msgspec.to_builtins(await self._gateway.call(service, operation, params, self.user))

    async def execution(self, training_job_name: str) -> TrainingJobExecution:
        """What became of a job's request. Raises `AwsError`."""
        context = RequestContext(
            request_id="console", account_id=self.user.account_id, region=self.region, caller=self.user
        )
        return await self._executions.describe(context, {"TrainingJobName": training_job_name})
