"""Every member of CreateAlgorithm, and what becomes of it; see `members` for what the words mean.

Checked by `algorithms`; a test walks the API model and fails on a member that no row covers.
"""

from clary.service.members import Effect, Member, refused_rows


def _acts(path: str, why: str) -> Member:
    return Member(path=path, effect=Effect.ACTS, why=why)


def _recorded(path: str, why: str) -> Member:
    return Member(path=path, effect=Effect.RECORDED, why=why)


def _refused(path: str, why: str) -> Member:
    return Member(path=path, effect=Effect.REFUSED, why=why)


_TRAINING = "TrainingSpecification"
_HYPER_PARAMETER = f"{_TRAINING}.SupportedHyperParameters[]"
_CHANNEL = f"{_TRAINING}.TrainingChannels[]"

ALGORITHM_MEMBERS: tuple[Member, ...] = (
    _acts("AlgorithmName", "Names the algorithm; unique, letter case aside."),
    _recorded("AlgorithmDescription", "A text for readers of DescribeAlgorithm and ListAlgorithms."),
    _acts(f"{_TRAINING}.TrainingImage", "Resolved by the image catalogue, now and again for each training job."),
    _acts(f"{_TRAINING}.TrainingImageDigest", "Resolved together with the image, as image@digest."),
    _acts(f"{_HYPER_PARAMETER}.Name", "A training job may set these hyperparameters and no others."),
    _recorded(f"{_HYPER_PARAMETER}.Description", "A text for readers."),
    _acts(f"{_HYPER_PARAMETER}.Type", "The values of a training job must be of it."),
    _acts(f"{_HYPER_PARAMETER}.Range", "The values of a training job must lie in it."),
    _recorded(
        f"{_HYPER_PARAMETER}.IsTunable", "Checked against the type; tuning jobs, which it is for, are not there yet."
    ),
    _acts(f"{_HYPER_PARAMETER}.IsRequired", "A training job without it is refused."),
    _acts(f"{_HYPER_PARAMETER}.DefaultValue", "Given to a training job that does not set it."),
    _acts(f"{_TRAINING}.SupportedTrainingInstanceTypes", "A training job on another type is refused."),
    _acts(f"{_TRAINING}.SupportsDistributedTraining", "If false, a training job of several instances is refused."),
    _acts(f"{_TRAINING}.MetricDefinitions", "Searched in the log of each training job, besides its own."),
    _acts(f"{_CHANNEL}.Name", "A training job may have these channels and no others."),
    _recorded(f"{_CHANNEL}.Description", "A text for readers."),
    _acts(f"{_CHANNEL}.IsRequired", "A training job without it is refused."),
    _acts(
        f"{_CHANNEL}.SupportedContentTypes", "A channel with another ContentType is refused; an empty list allows all."
    ),
    _acts(
        f"{_CHANNEL}.SupportedCompressionTypes",
        "A channel with another compression is refused; None is always allowed.",
    ),
    _acts(f"{_CHANNEL}.SupportedInputModes", "A channel with another input mode is refused."),
    _recorded(
        f"{_TRAINING}.SupportedTuningJobObjectiveMetrics",
        "Checked against the metric definitions; tuning jobs, which they are for, are not there yet.",
    ),
    _refused(f"{_TRAINING}.AdditionalS3DataSource", "additional data sources are not staged; use a channel"),
    _recorded("InferenceSpecification", "There is no inference here; it is kept for whoever deploys the model."),
    _refused("ValidationSpecification", "validation profiles are not run; train with the algorithm to validate it"),
    _recorded("CertifyForMarketplace", "There is no marketplace here, and nothing is scanned for it."),
    _acts("Tags", "Kept on the algorithm; AddTags, ListTags and DeleteTags show and change them."),
)

REFUSED_ALGORITHM_MEMBERS = refused_rows(ALGORITHM_MEMBERS)
