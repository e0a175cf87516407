"""Every property of a training job that Search knows, by name and kind; a test holds the table against the API model.

Read by `search_expression` and `search`. In the table "[]" marks a list and ".*" a family whose last step is named freely;
in a request lists are not marked. Source: API model, TrainingJob; the families as Filter describes them.
"""

from collections.abc import Mapping

from clary.aws.errors import ValidationException
from clary.jobs.search import Kind, Property

TABLE: Mapping[Kind, str] = {
    Kind.TEXT: """
        TrainingJobName
        TrainingJobArn
        TuningJobArn
        LabelingJobArn
        AutoMLJobArn
        ModelArtifacts.S3ModelArtifacts
        TrainingJobStatus
        SecondaryStatus
        FailureReason
        AlgorithmSpecification.TrainingImage
        AlgorithmSpecification.AlgorithmName
        AlgorithmSpecification.TrainingInputMode
        AlgorithmSpecification.MetricDefinitions[].Name
        AlgorithmSpecification.MetricDefinitions[].Regex
        AlgorithmSpecification.ContainerEntrypoint[]
        AlgorithmSpecification.ContainerArguments[]
        AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAccessMode
        AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAuthConfig.TrainingRepositoryCredentialsProviderArn
        RoleArn
        InputDataConfig[].ChannelName
        InputDataConfig[].DataSource.S3DataSource.S3DataType
        InputDataConfig[].DataSource.S3DataSource.S3Uri
        InputDataConfig[].DataSource.S3DataSource.S3DataDistributionType
        InputDataConfig[].DataSource.S3DataSource.AttributeNames[]
        InputDataConfig[].DataSource.S3DataSource.InstanceGroupNames[]
        InputDataConfig[].DataSource.S3DataSource.HubAccessConfig.HubContentArn
        InputDataConfig[].DataSource.FileSystemDataSource.FileSystemId
        InputDataConfig[].DataSource.FileSystemDataSource.FileSystemAccessMode
        InputDataConfig[].DataSource.FileSystemDataSource.FileSystemType
        InputDataConfig[].DataSource.FileSystemDataSource.DirectoryPath
        InputDataConfig[].DataSource.DatasetSource.DatasetArn
        InputDataConfig[].ContentType
        InputDataConfig[].CompressionType
        InputDataConfig[].RecordWrapperType
        InputDataConfig[].InputMode
        OutputDataConfig.KmsKeyId
        OutputDataConfig.S3OutputPath
        OutputDataConfig.CompressionType
        ResourceConfig.InstanceType
        ResourceConfig.VolumeKmsKeyId
        ResourceConfig.InstanceGroups[].InstanceType
        ResourceConfig.InstanceGroups[].InstanceGroupName
        ResourceConfig.TrainingPlanArn
        ResourceConfig.InstancePlacementConfig.PlacementSpecifications[].UltraServerId
        ResourceConfig.InstancePreferences[].InstanceType
        ResourceConfig.InstancePreferences[].TrainingPlanArns[]
        ResourceConfig.SelectedInstanceType
        WarmPoolStatus.Status
        WarmPoolStatus.ReusedByJob
        VpcConfig.SecurityGroupIds[]
        VpcConfig.Subnets[]
        SecondaryStatusTransitions[].Status
        SecondaryStatusTransitions[].StatusMessage
        FinalMetricDataList[].MetricName
        CheckpointConfig.S3Uri
        CheckpointConfig.LocalPath
        DebugHookConfig.LocalPath
        DebugHookConfig.S3OutputPath
        DebugHookConfig.HookParameters.*
        DebugHookConfig.CollectionConfigurations[].CollectionName
        DebugHookConfig.CollectionConfigurations[].CollectionParameters.*
        ExperimentConfig.ExperimentName
        ExperimentConfig.TrialName
        ExperimentConfig.TrialComponentDisplayName
        ExperimentConfig.RunName
        DebugRuleConfigurations[].RuleConfigurationName
        DebugRuleConfigurations[].LocalPath
        DebugRuleConfigurations[].S3OutputPath
        DebugRuleConfigurations[].RuleEvaluatorImage
        DebugRuleConfigurations[].InstanceType
        DebugRuleConfigurations[].RuleParameters.*
        TensorBoardOutputConfig.LocalPath
        TensorBoardOutputConfig.S3OutputPath
        DebugRuleEvaluationStatuses[].RuleConfigurationName
        DebugRuleEvaluationStatuses[].RuleEvaluationJobArn
        DebugRuleEvaluationStatuses[].RuleEvaluationStatus
        DebugRuleEvaluationStatuses[].StatusDetails
        OutputModelPackageArn
        ModelPackageConfig.ModelPackageGroupArn
        ModelPackageConfig.SourceModelPackageArn
        ProfilerConfig.S3OutputPath
        ProfilerConfig.ProfilingParameters.*
        Environment.*
    """,
    Kind.NUMBER: """
        InputDataConfig[].ShuffleConfig.Seed
        ResourceConfig.InstanceCount
        ResourceConfig.VolumeSizeInGB
        ResourceConfig.KeepAlivePeriodInSeconds
        ResourceConfig.InstanceGroups[].InstanceCount
        ResourceConfig.InstancePlacementConfig.PlacementSpecifications[].InstanceCount
        ResourceConfig.InstancePreferences[].InstanceCount
        ResourceConfig.SelectedInstanceCount
        WarmPoolStatus.ResourceRetainedBillableTimeInSeconds
        StoppingCondition.MaxRuntimeInSeconds
        StoppingCondition.MaxWaitTimeInSeconds
        StoppingCondition.MaxPendingTimeInSeconds
        FinalMetricDataList[].Value
        TrainingTimeInSeconds
        BillableTimeInSeconds
        DebugRuleConfigurations[].VolumeSizeInGB
        ProfilerConfig.ProfilingIntervalInMilliseconds
        RetryStrategy.MaximumRetryAttempts
    """,
    Kind.TIME: """
        CreationTime
        TrainingStartTime
        TrainingEndTime
        LastModifiedTime
        SecondaryStatusTransitions[].StartTime
        SecondaryStatusTransitions[].EndTime
        FinalMetricDataList[].Timestamp
        DebugRuleEvaluationStatuses[].LastModifiedTime
    """,
    Kind.BOOLEAN: """
        AlgorithmSpecification.EnableSageMakerMetricsTimeSeries
        InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig.AcceptEula
        ResourceConfig.InstancePlacementConfig.EnableMultipleJobs
        EnableNetworkIsolation
        EnableInterContainerTrafficEncryption
        EnableManagedSpotTraining
        ProfilerConfig.DisableProfiler
    """,
}

MEMBERS = frozenset(name.partition(".")[0].removesuffix("[]") for names in TABLE.values() for name in names.split()) | {
    "HyperParameters",
    "Tags",
}
"""The members of a TrainingJob record."""

_FAMILIES: dict[tuple[str, ...], Kind] = {
    ("HyperParameters",): Kind.HYPER_PARAMETER,
    ("Metrics",): Kind.NUMBER,
    ("Tags",): Kind.TEXT,
}
_KINDS: dict[tuple[str, ...], Kind] = dict.fromkeys(_FAMILIES, Kind.GROUP)
_LISTS: set[tuple[str, ...]] = set()

for _kind, _names in TABLE.items():
    for _name in _names.split():
        _steps = tuple(_name.removesuffix(".*").split("."))
        _path = tuple(step.removesuffix("[]") for step in _steps)
        _LISTS |= {_path[:n] for n in range(1, len(_path)) if _steps[n - 1].endswith("[]")}
        for _n in range(1, len(_path)):
            _KINDS.setdefault(_path[:_n], Kind.GROUP)
        if _name.endswith(".*"):
            _FAMILIES[_path] = _kind
            _KINDS[_path] = Kind.GROUP
        else:
            _KINDS[_path] = _kind


def resolve(name: str) -> Property:
    """The property of that name. Raises `ValidationException` for one that training jobs do not have (inferred text)."""
    path = tuple(name.split("."))
    for length in range(1, len(path)):
        family = _FAMILIES.get(path[:length])
        if family is not None and name[len(".".join(path[:length])) + 1 :]:
            return Property(name=name, path=(*path[:length], ".".join(path[length:])), kind=family)
    kind = _KINDS.get(path)
    if kind is None:
        raise ValidationException(f"Unknown property name: {name}. It is no property of the resource TrainingJob.")
    return Property(name=name, path=path, kind=kind)


def resolve_list(name: str) -> tuple[str, ...]:
    """The path of a list of structures. Raises `ValidationException` for anything else (inferred text)."""
    path = tuple(name.split("."))
    if path not in _LISTS:
        raise ValidationException(f"The NestedPropertyName {name} does not name a list of structures of a TrainingJob.")
    return path
