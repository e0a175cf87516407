"""Rules of CreateTrainingJob about instance groups, and about the channels that are for some of them.

Called by `rules`; pure. Source: API model, ResourceConfig and S3DataSource; texts are inferred unless a comment says
otherwise.
"""

from clary.aws.errors import ValidationException
from clary.jobs.model import ResourceConfig, TrainingJobRequest


def check_groups(request: TrainingJobRequest) -> None:
    """Raise `ValidationException` for groups, or channels of groups, that make no sense."""
    resources = request.resource_config
    if resources.instance_groups:
        _check_resources(resources)
    assigned: list[str] = []
    others: list[str] = []
    for channel in request.input_data_config:
        if channel.s3 is None:
            continue  # a file system cannot be assigned, and comes to all (inferred)
        names = channel.s3.instance_group_names
        (assigned if names else others).append(channel.channel_name)
        _check_names(channel.channel_name, names, resources)
    if assigned and others:
        # observed text
        raise ValidationException(
            f"Some channels have assigned instance groups: [{', '.join(assigned)}] "
            f"while others not: [{', '.join(others)}]"
        )


def _check_resources(resources: ResourceConfig) -> None:
    # A count of zero changes nothing: descriptions of such jobs have it.
    if resources.instance_type or resources.instance_count:
        # observed text
        raise ValidationException("InstanceType or InstanceCount cannot be specified with InstanceGroups")
    for number, group in enumerate(resources.instance_groups, start=1):
        if group.instance_count < 1:
            raise ValidationException(
                f"1 validation error detected: Value '{group.instance_count}' at "
                f"'resourceConfig.instanceGroups.{number}.member.instanceCount' failed to satisfy constraint: "
                "Member must have value greater than or equal to 1"
            )
    names = [group.instance_group_name for group in resources.instance_groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValidationException(f"Instance group names must be unique within a training job: {', '.join(twice)}.")


def _check_names(channel_name: str, names: tuple[str, ...], resources: ResourceConfig) -> None:
    known = [group.instance_group_name for group in resources.instance_groups]
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown:
        raise ValidationException(
            f"Input channel '{channel_name}' is for instance groups that the job does not have: "
            f"[{', '.join(unknown)}]; it has: [{', '.join(known)}]."
        )
