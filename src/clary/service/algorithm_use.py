"""What an algorithm makes of a training job that names it: its defaults, its metrics, its refusals.

Called by `training_jobs` with a typed request; pure. Source: API model, TrainingSpecification; the rules are those of SDK
v2's AlgorithmEstimator where it has them, else inferred; so are all texts.
"""

from collections.abc import Iterator

import msgspec

from clary.aws.errors import ValidationException
from clary.jobs.algorithm import Algorithm, AlgorithmStatus, ChannelSpecification, TrainingSpecification
from clary.jobs.hyper_parameter_values import problem_with
from clary.jobs.model import Channel, MetricDefinition, TrainingJobRequest
from clary.service.problems import as_text


def metrics_of(algorithm: Algorithm, image_metrics: tuple[MetricDefinition, ...]) -> tuple[MetricDefinition, ...]:
    """The metric definitions of a job by this algorithm, before its own: the image's, then the algorithm's, which win."""
    own = algorithm.request.training_specification.metric_definitions or ()
    named = {definition.name for definition in own}
    return (*(definition for definition in image_metrics if definition.name not in named), *own)


def under_algorithm(request: TrainingJobRequest, algorithm: Algorithm) -> TrainingJobRequest:
    """The request with the algorithm's default hyperparameters filled in.

    Raises one `ValidationException` that names everything which the algorithm does not take.
    """
    if algorithm.algorithm_status is not AlgorithmStatus.COMPLETED:
        raise ValidationException(
            f"Algorithm {algorithm.algorithm_arn} cannot be used: its status is {algorithm.algorithm_status}."
        )
    specification = algorithm.request.training_specification
    defaults = {
        parameter.name: parameter.default_value
        for parameter in specification.supported_hyper_parameters or ()
        if parameter.default_value is not None
    }
    filled = msgspec.structs.replace(request, hyper_parameters=defaults | request.hyper_parameters)
    problems = [
        *_hyper_parameters(filled, specification),
        *_instances(filled, specification),
        *_channels(filled, specification),
    ]
    if problems:
        raise ValidationException(f"The request does not fit algorithm {algorithm.algorithm_arn}: {as_text(problems)}.")
    return filled


def _hyper_parameters(request: TrainingJobRequest, specification: TrainingSpecification) -> Iterator[str]:
    supported = {parameter.name: parameter for parameter in specification.supported_hyper_parameters or ()}
    for name, value in request.hyper_parameters.items():
        if name not in supported:
            yield f"hyperparameter '{name}' is not supported"
        elif (problem := problem_with(value, supported[name])) is not None:
            yield f"the value '{value}' of hyperparameter '{name}' {problem}"
    for name, parameter in supported.items():
        if parameter.is_required and name not in request.hyper_parameters:
            yield f"required hyperparameter '{name}' is not set"


def _instances(request: TrainingJobRequest, specification: TrainingSpecification) -> Iterator[str]:
    resources = request.resource_config
    types = specification.supported_training_instance_types
    for instance_type in dict.fromkeys(group.instance_type for group in resources.groups):
        if instance_type not in types:
            yield f"instance type {instance_type} is not supported; supported are [{', '.join(types)}]"
    # Only an explicit false forbids it, as in SDK v2.
    if resources.all_instances_count > 1 and specification.supports_distributed_training is False:
        yield "distributed training is not supported; InstanceCount must be 1"


def _channels(request: TrainingJobRequest, specification: TrainingSpecification) -> Iterator[str]:
    supported = {channel.name: channel for channel in specification.training_channels}
    for channel in request.input_data_config:
        if channel.channel_name in supported:
            mode = channel.input_mode or request.algorithm_specification.training_input_mode
            yield from _channel(channel, mode, supported[channel.channel_name])
        else:
            yield f"input channel '{channel.channel_name}' is not supported"
    given = {channel.channel_name for channel in request.input_data_config}
    for name, required in supported.items():
        if required.is_required and name not in given:
            yield f"required input channel '{name}' is not there"


def _channel(channel: Channel, mode: str, supported: ChannelSpecification) -> Iterator[str]:
    about = f"of input channel '{channel.channel_name}' is not supported; supported"
    if mode not in supported.supported_input_modes:
        yield f"input mode {mode} {about} are [{', '.join(supported.supported_input_modes)}]"
    types = supported.supported_content_types
    if channel.content_type and types and not any(_is_type(channel.content_type, each) for each in types):
        yield f"content type '{channel.content_type}' {about} are [{', '.join(types)}]"
    compression = channel.compression_type or "None"
    compressions = supported.supported_compression_types or ()
    if compression not in {"None", *compressions}:
        yield f"compression type {compression} {about} are [{', '.join(dict.fromkeys(('None', *compressions)))}]"


def _is_type(given: str, supported: str) -> bool:
    """Whether it is that media type; parameters (";label_size=0") count where the algorithm names some (inferred)."""
    given, supported = given.lower().replace(" ", ""), supported.lower().replace(" ", "")
    return given == supported or given.partition(";")[0] == supported
