"""The metric definitions that the platform itself adds to a job of a built-in image, as Describe returns them.

Data for the server's image catalogue, by algorithm. A log line reaches a pattern with its TABs written as `#011`.
Sources: Describe answers published in 2020 (image 0.90-1) and 2025 (1.5-1); `balanced_accuracy` fills the last of the
40 places that a job has (inferred).
"""

from dataclasses import dataclass

_NUMBER = r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"

_XGBOOST_METRICS = (
    "accuracy",
    "auc",
    "aucpr",
    "balanced_accuracy",
    "cox-nloglik",
    "error",
    "f1",
    "gamma-deviance",
    "gamma-nloglik",
    "logloss",
    "mae",
    "map",
    "merror",
    "mlogloss",
    "mse",
    "ndcg",
    "poisson-nloglik",
    "r2",
    "rmse",
    "tweedie-nloglik",
)


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """An entry of AlgorithmSpecification.MetricDefinitions: the value is the pattern's first group."""

    name: str
    regex: str


XGBOOST = tuple(
    MetricDefinition(name=f"{dataset}:{metric}", regex=rf".*\[[0-9]+\].*#011{dataset}-{metric}:({_NUMBER}).*")
    for dataset in ("train", "validation")
    for metric in _XGBOOST_METRICS
)
