"""The list of algorithms, and one of them."""

from typing import Any

from clary.aws.errors import ValidationException
from clary.console import paths
from clary.console.contexts import (
    AlgorithmPage,
    AlgorithmRow,
    AlgorithmsPage,
    ChannelDefinition,
    Crumb,
    HyperParameterDefinition,
    MetricDefinition,
    Pair,
)
from clary.console.visit import NoSuchPage, Visit, instant

PAGE_ALGORITHMS = 25


async def algorithms_page(visit: Visit) -> AlgorithmsPage:
    """The list. Parameters: name, token (of the next page)."""
    name, token = visit.query.get("name", "").strip(), visit.query.get("token")
    params: dict[str, Any] = {"MaxResults": PAGE_ALGORITHMS, "SortBy": "CreationTime", "SortOrder": "Descending"}
    if name:
        params["NameContains"] = name
    if token:
        params["NextToken"] = token
    answer = await visit.ask("sagemaker", "ListAlgorithms", params)
    following = answer.get("NextToken")
    return AlgorithmsPage(
        page=visit.frame("Algorithms", "algorithms", (Crumb(label="Algorithms"),)),
        action=paths.ALGORITHMS,
        name=name,
        clear_path=paths.ALGORITHMS,
        rows=tuple(
            AlgorithmRow(
                name=summary["AlgorithmName"],
                path=paths.algorithm(summary["AlgorithmName"]),
                status=summary["AlgorithmStatus"],
                description=summary.get("AlgorithmDescription"),
                creation_time=instant(summary["CreationTime"]),
            )
            for summary in answer["AlgorithmSummaryList"]
        ),
        next_path=paths.with_query(paths.ALGORITHMS, name=name, token=following) if following else None,
        first_path=paths.with_query(paths.ALGORITHMS, name=name) if token else None,
    )


async def algorithm_page(visit: Visit, name: str) -> AlgorithmPage:
    """One of them. Raises `NoSuchPage`."""
    try:
        described: dict[str, Any] = await visit.ask("sagemaker", "DescribeAlgorithm", {"AlgorithmName": name})
    except ValidationException:
        raise NoSuchPage(f"There is no algorithm {name}.") from None
    tags = await visit.ask("sagemaker", "ListTags", {"ResourceArn": described["AlgorithmArn"]})
    training: dict[str, Any] = described["TrainingSpecification"]
    return AlgorithmPage(
        page=visit.frame(name, "algorithms", (Crumb(label="Algorithms", path=paths.ALGORITHMS), Crumb(label=name))),
        name=described["AlgorithmName"],
        arn=described["AlgorithmArn"],
        status=described["AlgorithmStatus"],
        description=described.get("AlgorithmDescription"),
        creation_time=instant(described["CreationTime"]),
        training_image=training["TrainingImage"],
        training_image_digest=training.get("TrainingImageDigest"),
        supports_distributed_training=training.get("SupportsDistributedTraining", False),
        instance_types=tuple(training["SupportedTrainingInstanceTypes"]),
        metric_definitions=tuple(
            MetricDefinition(name=definition["Name"], regex=definition["Regex"])
            for definition in training.get("MetricDefinitions", ())
        ),
        hyper_parameters=tuple(_hyper_parameter(each) for each in training.get("SupportedHyperParameters", ())),
        channels=tuple(_channel(each) for each in training["TrainingChannels"]),
        tags=tuple(Pair(name=tag["Key"], value=tag["Value"]) for tag in tags["Tags"]),
        raw=described,
    )


def _hyper_parameter(specification: dict[str, Any]) -> HyperParameterDefinition:
    return HyperParameterDefinition(
        name=specification["Name"],
        type=specification["Type"],
        description=specification.get("Description", ""),
        range=_range(specification.get("Range", {})),
        default_value=specification.get("DefaultValue"),
        is_required=specification.get("IsRequired", False),
        is_tunable=specification.get("IsTunable", False),
    )


def _range(allowed: dict[str, Any]) -> str:
    """The allowed values in words."""
    for kind in ("IntegerParameterRangeSpecification", "ContinuousParameterRangeSpecification"):
        if kind in allowed:
            return f"{allowed[kind]['MinValue']} to {allowed[kind]['MaxValue']}"
    return ", ".join(allowed.get("CategoricalParameterRangeSpecification", {}).get("Values", ()))


def _channel(specification: dict[str, Any]) -> ChannelDefinition:
    return ChannelDefinition(
        name=specification["Name"],
        description=specification.get("Description", ""),
        is_required=specification.get("IsRequired", False),
        content_types=tuple(specification["SupportedContentTypes"]),
        compression_types=tuple(specification.get("SupportedCompressionTypes", ())),
        input_modes=tuple(specification["SupportedInputModes"]),
    )
