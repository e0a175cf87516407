"""The training program: rules first, then data, then hosts, then rounds, then the model.

Called by `__main__`. Raises `CustomerError` and `AlgorithmError`, which the container turns into an exit code.
"""

import re
import socket

from clary_algorithms.container import AlgorithmError, Container, CustomerError, Termination, log
from clary_algorithms.xgboost import channels, cluster, hyperparameters, matrices
from clary_algorithms.xgboost.boosting import boost
from clary_algorithms.xgboost.hyperparameters import Settings
from clary_algorithms.xgboost.library import xgboost
from clary_algorithms.xgboost.meeting import LOST, Resolve, arrive
from clary_algorithms.xgboost.model_files import save_model
from clary_algorithms.xgboost.watch import Watch

#: Parts of the library's messages that blame the data or the parameters.
#: Source: the public XGBoost container's list of customer errors, in the words of the library's version 3.
_CUSTOMER_MISTAKES = (
    "label must be",
    "Invalid shape of labels",
    "binary labels",
    "Label contains NaN",
    "contains `inf`",
    "only contains pos or neg samples",
    "feature_names mismatch",
    "base_score",
    "for Parameter",
    "Constrained features are not",
    "Invalid Input",
)

_LOGISTIC = "label must be in [0,1] for logistic regression"
_LABEL_RANGES = {"binary:logistic": _LOGISTIC, "binary:logitraw": _LOGISTIC, "reg:logistic": _LOGISTIC}


def train(container: Container, termination: Termination, *, resolve: Resolve = socket.gethostbyname) -> None:
    """Train what the container describes and leave the model in its directory."""
    settings = hyperparameters.read(container.hyperparameters)
    train_source, validation_source = channels.validate(container.channels)
    for name in settings.without_effect:
        log(f"Hyperparameter {name} has no effect in XGBoost {xgboost.__version__}", "WARNING")
    hosts, current_host = container.hosts, container.current_host
    if len(hosts) == 1:
        train_matrix, validation_matrix, lacking = _load_all(settings, train_source, validation_source)
        if lacking:
            raise CustomerError(f"No data in {_noun(lacking[0])} channel path {lacking[0].directory}")
        log("Single node training.")
        _train(container, settings, train_matrix, validation_matrix, termination, leads=True)
        return
    meeting = arrive(hosts, current_host, resolve)
    with Watch(meeting, container.failure_file):
        train_matrix, validation_matrix, lacking = _load_all(settings, train_source, validation_source)
        for source in lacking:
            log(
                f"Host {current_host} does not have {_noun(source)} data and will not be used in distributed training. "
                "Please divide the data across instances properly.",
                "WARNING",
            )
        with cluster.join(meeting, current_host, has_data=not lacking) as membership:
            cluster.announce(membership, current_host)
            if current_host in membership.members:
                leads = current_host == membership.members[0]
                _train(container, settings, train_matrix, validation_matrix, termination, leads=leads)


def _load_all(
    settings: Settings, train_source: channels.Source, validation_source: channels.Source | None
) -> tuple[xgboost.DMatrix | None, xgboost.DMatrix | None, list[channels.Source]]:
    """The matrices of both channels, and the channels that turned out to have no data."""
    train_matrix = _load(train_source, settings)
    validation_matrix = _load(validation_source, settings) if validation_source else None
    lacking = [
        source
        for source, matrix in ((train_source, train_matrix), (validation_source, validation_matrix))
        if source is not None and matrix is None
    ]
    return train_matrix, validation_matrix, lacking


def _noun(source: channels.Source) -> str:
    return "training" if source.name == channels.TRAIN else source.name


def _load(source: channels.Source, settings: Settings) -> xgboost.DMatrix | None:
    nthread = settings.parameters.get("nthread")
    try:
        return matrices.load(
            source,
            csv_weights=settings.csv_weights,
            nthread=int(nthread) if nthread is not None else None,
            survival=settings.objective == "survival:aft",
        )
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise CustomerError(f"Failed to load {source.format.value} data with exception:\n{_brief(error)}") from None


def _train(
    container: Container,
    settings: Settings,
    train_matrix: xgboost.DMatrix | None,
    validation_matrix: xgboost.DMatrix | None,
    termination: Termination,
    *,
    leads: bool,
) -> None:
    if train_matrix is None:
        raise AlgorithmError("A host without training data must not train")
    log(f"Train matrix has {train_matrix.num_row()} rows and {train_matrix.num_col()} columns")
    if validation_matrix is not None:
        log(f"Validation matrix has {validation_matrix.num_row()} rows")
    try:
        booster = boost(
            settings,
            train_matrix,
            validation_matrix,
            model_directory=container.model_directory,
            checkpoint_directory=container.checkpoint_directory,
            leads=leads,
            termination=termination,
        )
    except (xgboost.core.XGBoostError, ValueError) as error:
        reason = _brief(error)
        if "base_score" in reason and "base_score" not in settings.parameters:
            # The library estimated it from the labels, and names it where they are at fault.
            range_ = _LABEL_RANGES.get(settings.objective, f"the labels do not fit {settings.objective}")
            raise CustomerError(f"{range_} ({reason})") from None
        if any(mistake in reason for mistake in _CUSTOMER_MISTAKES):
            raise CustomerError(reason) from None
        if cluster.is_lost_connection(reason):
            raise AlgorithmError(f"{LOST}:\n{reason}") from None
        raise AlgorithmError(f"XGB train call failed with exception:\n {reason}") from None
    if leads:
        log(f"Stored trained model at {save_model(booster, container.model_directory)}")


def _brief(error: Exception) -> str:
    """The library's message without the place in its source and the stack of native frames."""
    message = str(error).partition("Stack trace:")[0].strip()
    return re.sub(r"^\[[0-9:]+\] \S+:\d+: ", "", message)
