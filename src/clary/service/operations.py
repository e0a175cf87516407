"""All operations that Clary answers, by service: what the gateway is built from."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from clary.aws.handlers import Handler, Service

OPERATIONS: dict[str, frozenset[str]] = {
    "sagemaker": frozenset(
        {
            "AddTags",
            "CreateAlgorithm",
            "CreateTrainingJob",
            "DeleteAlgorithm",
            "DeleteTags",
            "DeleteTrainingJob",
            "DescribeAlgorithm",
            "DescribeTrainingJob",
            "GetSearchSuggestions",
            "ListAlgorithms",
            "ListTags",
            "ListTrainingJobs",
            "Search",
            "StopTrainingJob",
            "UpdateTrainingJob",
        }
    ),
    "logs": frozenset({"DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents"}),
    "monitoring": frozenset({"GetMetricData", "GetMetricStatistics", "ListMetrics"}),
    "sagemaker-metrics": frozenset({"BatchGetMetrics", "BatchPutMetrics"}),
    "sts": frozenset({"AssumeRole", "GetCallerIdentity", "GetSessionToken"}),
    "iam": frozenset({"GetRole", "SimulatePrincipalPolicy"}),
    "kms": frozenset(
        {
            "CancelKeyDeletion",
            "CreateAlias",
            "CreateKey",
            "Decrypt",
            "DeleteAlias",
            "DescribeKey",
            "DisableKey",
            "EnableKey",
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "ListAliases",
            "ListKeys",
            "ListResourceTags",
            "ReEncrypt",
            "ScheduleKeyDeletion",
            "UpdateAlias",
        }
    ),
}
"""What Clary claims to answer, by service; `services` holds itself to it."""


class Operations(Protocol):
    """Some operations of a service."""

    def handlers(self) -> Mapping[str, Handler]:
        """The operations by their names."""
        ...


def services(
    *,
    sagemaker: Iterable[Operations],
    logs: Operations,
    monitoring: Operations,
    sagemaker_metrics: Operations,
    sts: Operations,
    iam: Operations,
    kms: Iterable[Operations],
) -> tuple[Service, ...]:
    """The services, each with its operations. Raises ValueError if they are not those that are claimed."""
    handlers: dict[str, Mapping[str, Handler]] = {
        "sagemaker": {name: handler for some in sagemaker for name, handler in some.handlers().items()},
        "logs": logs.handlers(),
        "monitoring": monitoring.handlers(),
        "sagemaker-metrics": sagemaker_metrics.handlers(),
        "sts": sts.handlers(),
        "iam": iam.handlers(),
        "kms": {name: handler for some in kms for name, handler in some.handlers().items()},
    }
    if {name: frozenset(served) for name, served in handlers.items()} != OPERATIONS:
        raise ValueError("the operations that are served are not those that are claimed")
    return tuple(Service(name=name, handlers=served) for name, served in handlers.items())
