"""The names of evaluation metrics: which way is better, and which of them this program computes itself.

Used by the hyperparameter table, the evaluation and early stopping; imports nothing.
Source: the developer guide's XGBoost tuning page.
"""

MAXIMIZE = (
    "accuracy",
    "auc",
    "aucpr",
    "balanced_accuracy",
    "f1",
    "f1_binary",
    "f1_macro",
    "map",
    "ndcg",
    "precision",
    "precision_macro",
    "precision_micro",
    "r2",
    "recall",
    "recall_macro",
    "recall_micro",
)
MINIMIZE = (
    "aft-nloglik",
    "cox-nloglik",
    "error",
    "gamma-deviance",
    "gamma-nloglik",
    "interval-regression-accuracy",
    "logloss",
    "mae",
    "mape",
    "merror",
    "mlogloss",
    "mphe",
    "mse",
    "poisson-nloglik",
    "rmse",
    "rmsle",
    "tweedie-nloglik",
)
ALL_METRICS = MAXIMIZE + MINIMIZE

_REGRESSION = ("mse", "r2")
#: Unknown to the library, so that the program computes them from the predictions.
COMPUTED_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f1_binary",
    "f1_macro",
    *_REGRESSION,
    "precision",
    "precision_macro",
    "precision_micro",
    "recall",
    "recall_macro",
    "recall_micro",
)

#: Metrics that take a threshold or a position after `@`.
_WITH_ARGUMENT = ("error", "ndcg", "map")


def classification_only(name: str) -> bool:
    """Whether a computed metric compares classes rather than numbers."""
    return name in COMPUTED_METRICS and name not in _REGRESSION


def is_metric(name: str) -> bool:
    """Whether eval_metric may hold this word."""
    base, at, argument = name.partition("@")
    if not at:
        return name in ALL_METRICS
    try:
        float(argument)
    except ValueError:
        return False
    return base in _WITH_ARGUMENT


def maximized(name: str) -> bool:
    """Whether more is better."""
    return name.partition("@")[0] in MAXIMIZE
