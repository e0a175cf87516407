"""Rules of CreateAlgorithm that go across members: the model's own constraints have been checked before.

Called by `algorithms`; pure. What passes is a specification that `algorithm_use` can hold a training job against without
a surprise. Texts are inferred.
"""

from collections.abc import Iterable, Iterator

from clary.aws.errors import ValidationException
from clary.jobs.algorithm import (
    ChannelSpecification,
    HyperParameterSpecification,
    ParameterRange,
    ParameterType,
    TrainingSpecification,
)
from clary.jobs.hyper_parameter_values import parse_integer, parse_number, problem_with
from clary.logs.metric_definitions import validate
from clary.service.problems import as_text


def check_specification(specification: TrainingSpecification) -> None:
    """Raise one `ValidationException` that names everything which is wrong with the specification."""
    hyper_parameters = specification.supported_hyper_parameters or ()
    problems = [
        *_image(specification),
        *_twice("hyperparameter", (parameter.name for parameter in hyper_parameters)),
        *(problem for parameter in hyper_parameters for problem in _hyper_parameter(parameter)),
        *_twice("channel", (channel.name for channel in specification.training_channels)),
        *(problem for channel in specification.training_channels for problem in _channel(channel)),
        *_metrics(specification),
    ]
    if not specification.supported_training_instance_types:
        problems.append("SupportedTrainingInstanceTypes must name at least one instance type")
    if problems:
        raise ValidationException(f"Invalid TrainingSpecification: {as_text(problems)}.")


def check_input_modes(specification: TrainingSpecification) -> None:
    """FastFile, though in the model's enum, is refused as if it were not (observed; the text is inferred)."""
    items = [
        f"Value '[{', '.join(channel.supported_input_modes)}]' at "
        f"'trainingSpecification.trainingChannels.{n}.member.supportedInputModes' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: [Pipe, File], Member must not be null]"
        for n, channel in enumerate(specification.training_channels, start=1)
        if not {"Pipe", "File"}.issuperset(channel.supported_input_modes)
    ]
    if items:
        plural = "" if len(items) == 1 else "s"
        raise ValidationException(f"{len(items)} validation error{plural} detected: {'; '.join(items)}")


def _image(specification: TrainingSpecification) -> Iterator[str]:
    _, at, digest = specification.training_image.partition("@")
    wanted = specification.training_image_digest
    if at and wanted is not None and wanted.lower() != digest.lower():
        yield "TrainingImage and TrainingImageDigest name different digests"


def _hyper_parameter(parameter: HyperParameterSpecification) -> Iterator[str]:
    about = f"hyperparameter '{parameter.name}'"
    # Source: API model, HyperParameterSpecification.DefaultValue
    if parameter.default_value is not None and parameter.is_required:
        yield f"{about} has a default value and cannot be required"
    if parameter.is_tunable and parameter.range is None:
        yield f"{about} is tunable and needs a range"  # a FreeText one can have none
    wrong = None if parameter.range is None else _range_problem(parameter.type, parameter.range)
    if wrong is not None:
        yield f"{about} {wrong}"
    elif parameter.default_value is not None:
        problem = problem_with(parameter.default_value, parameter)
        if problem is not None:
            yield f"the default value '{parameter.default_value}' of {about} {problem}"


def _range_problem(kind: ParameterType, given: ParameterRange) -> str | None:
    ranges = {
        ParameterType.INTEGER: given.integer_parameter_range_specification,
        ParameterType.CONTINUOUS: given.continuous_parameter_range_specification,
        ParameterType.CATEGORICAL: given.categorical_parameter_range_specification,
    }
    if kind is ParameterType.FREE_TEXT:
        return "is of type FreeText and cannot have a range"
    if [other for other, specified in ranges.items() if specified is not None] != [kind]:
        return f"is of type {kind} and needs a {kind}ParameterRangeSpecification as its only range"
    bounds = given.integer_parameter_range_specification or given.continuous_parameter_range_specification
    if bounds is None:
        return None
    parse, what = (parse_integer, "integers") if kind is ParameterType.INTEGER else (parse_number, "numbers")
    low, high = parse(bounds.min_value), parse(bounds.max_value)
    if low is None or high is None:
        return f"has a range from '{bounds.min_value}' to '{bounds.max_value}', which are not both {what}"
    return None if low <= high else f"has a range whose MinValue {low} is greater than its MaxValue {high}"


def _channel(channel: ChannelSpecification) -> Iterator[str]:
    if channel.name in {".", ".."}:  # the model's pattern lets them through; a channel is a directory of that name
        yield f"'{channel.name}' cannot be the name of a channel"
    if not channel.supported_input_modes:
        yield f"channel '{channel.name}' must support at least one input mode"


def _metrics(specification: TrainingSpecification) -> Iterator[str]:
    definitions = specification.metric_definitions or ()
    for definition in definitions:
        problem = validate(definition.regex)
        if problem is not None:
            yield f"the regular expression of metric '{definition.name}' is invalid: {problem}"
    names = {definition.name for definition in definitions}
    for objective in specification.supported_tuning_job_objective_metrics or ():
        if objective.metric_name not in names:
            yield f"the objective metric '{objective.metric_name}' has no metric definition"


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    reported: set[str] = set()
    for name in names:
        if name in seen and name not in reported:
            reported.add(name)
            yield f"{what} '{name}' is there more than once"
        seen.add(name)
