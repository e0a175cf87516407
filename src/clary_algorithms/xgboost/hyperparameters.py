"""XGBoost's hyperparameters: the table, the rules between rows, and what of it the library gets.

Used by the training program. Sources: the developer guide's XGBoost hyperparameter page; the public XGBoost
container's rules.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from clary_algorithms.container import CustomerError
from clary_algorithms.hyperparameter_schema import (
    Hyperparameter,
    Interval,
    Value,
    categorical,
    comma_list,
    continuous,
    integer,
    validate,
)
from clary_algorithms.xgboost.metric_names import ALL_METRICS, COMPUTED_METRICS, classification_only, is_metric

OBJECTIVES = (
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "count:poisson",
    "multi:softmax",
    "multi:softprob",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
    "reg:linear",
    "reg:squarederror",
    "reg:logistic",
    "reg:gamma",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "reg:absoluteerror",
    "reg:tweedie",
    "survival:aft",
    "survival:cox",
)
MULTICLASS = ("multi:softmax", "multi:softprob")
LINEAR_UPDATERS = ("shotgun", "coord_descent")
TREE_BUILDERS = ("grow_colmaker", "distcol", "grow_histmaker", "grow_skmaker", "grow_quantile_histmaker")
TREE_UPDATERS = (*TREE_BUILDERS, "sync", "refresh", "prune")

_AT_LEAST_0 = Interval(low=0)
_AT_LEAST_1 = Interval(low=1)
_AT_LEAST_2 = Interval(low=2)
_UNIT = Interval(low=0, high=1)
_FRACTION = Interval(low=0, high=1, low_open=True)
_ABOVE_0 = Interval(low=0, low_open=True)
_FLAG = ("true", "false")


def _monotone(text: str) -> str:
    """Check a tuple of -1, 0 and 1 and hand its text on: the library reads it itself."""
    value = ast.literal_eval(text)
    if not isinstance(value, tuple | list) or any(entry not in (-1, 0, 1) for entry in value):
        raise ValueError(text)
    return "(" + ",".join(str(entry) for entry in value) + ")"


def _interactions(text: str) -> str:
    """Check a list of lists of feature numbers and hand its text on."""
    value = ast.literal_eval(text)
    if not isinstance(value, list) or any(
        not isinstance(group, list) or any(not isinstance(entry, int) or entry < 0 for entry in group)
        for group in value
    ):
        raise ValueError(text)
    return str(value)


TABLE: tuple[Hyperparameter, ...] = (
    integer("num_round", _AT_LEAST_1, required=True),
    integer("num_class", _AT_LEAST_2),
    categorical("objective", OBJECTIVES, default="reg:squarederror"),
    categorical("booster", ("gbtree", "gblinear", "dart"), default="gbtree"),
    continuous("eta", _UNIT, default=0.3),
    continuous("gamma", _AT_LEAST_0, default=0.0),
    integer("max_depth", _AT_LEAST_0, default=6),
    continuous("min_child_weight", _AT_LEAST_0, default=1.0),
    continuous("max_delta_step", _AT_LEAST_0, default=0.0),
    continuous("subsample", _FRACTION, default=1.0),
    continuous("colsample_bytree", _FRACTION, default=1.0),
    continuous("colsample_bylevel", _FRACTION, default=1.0),
    continuous("colsample_bynode", _FRACTION, default=1.0),
    continuous("lambda", _AT_LEAST_0, default=1.0),
    continuous("alpha", _AT_LEAST_0, default=0.0),
    categorical("tree_method", ("auto", "exact", "approx", "hist", "gpu_hist"), default="auto"),
    categorical("grow_policy", ("depthwise", "lossguide"), default="depthwise"),
    integer("max_leaves", _AT_LEAST_0, default=0),
    integer("max_bin", _AT_LEAST_0, default=256),
    integer("num_parallel_tree", _AT_LEAST_1, default=1),
    continuous("scale_pos_weight", _ABOVE_0, default=1.0),
    continuous("base_score", _AT_LEAST_0),  # the library estimates it from the labels when none is given
    comma_list("eval_metric", is_metric, f"{list(ALL_METRICS)}, error@t, ndcg@n, map@n"),
    integer("early_stopping_rounds", _AT_LEAST_1),
    integer("csv_weights", Interval(low=0, high=1), default=0),
    integer("seed", Interval(low=-(2**31), high=2**31 - 1, low_open=True, high_open=True), default=0),
    integer("nthread", _AT_LEAST_1),
    integer("verbosity", Interval(low=0, high=3), default=1),
    categorical("sample_type", ("uniform", "weighted"), default="uniform"),
    categorical("normalize_type", ("tree", "forest"), default="tree"),
    continuous("rate_drop", _UNIT, default=0.0),
    integer("one_drop", Interval(low=0, high=1), default=0),
    continuous("skip_drop", _UNIT, default=0.0),
    continuous("tweedie_variance_power", Interval(low=1, high=2, low_open=True, high_open=True), default=1.5),
    categorical("save_model_on_termination", _FLAG, default="false"),
    comma_list("updater", (*TREE_UPDATERS, *LINEAR_UPDATERS).__contains__, str([*TREE_UPDATERS, *LINEAR_UPDATERS])),
    integer("refresh_leaf", Interval(low=0, high=1), default=1),
    categorical("process_type", ("default", "update"), default="default"),
    categorical("sampling_method", ("uniform", "gradient_based"), default="uniform"),
    categorical("aft_loss_distribution", ("normal", "logistic", "extreme"), default="normal"),
    continuous("aft_loss_distribution_scale", _AT_LEAST_0, default=1.0),
    Hyperparameter(name="monotone_constraints", parse=_monotone, holds=bool, allowed="(-1, 0, 1)"),
    Hyperparameter(name="interaction_constraints", parse=_interactions, holds=bool, allowed="[0, +inf)"),
    categorical("dsplit", ("row", "col")),
    continuous("sketch_eps", Interval(low=0, high=1, low_open=True, high_open=True)),
    continuous("lambda_bias", _UNIT),
    categorical("predictor", ("auto", "cpu_predictor", "gpu_predictor")),
    categorical("deterministic_histogram", _FLAG),
    integer("prob_buffer_row", Interval(low=1, low_open=True)),
    categorical("use_dask_gpu_training", _FLAG, default="false"),
    integer("_kfold", _AT_LEAST_2),
    integer("_num_cv_round", _AT_LEAST_1),
    categorical("_tuning_objective_metric", [f"validation:{name}" for name in ALL_METRICS]),
)

ALIASES = {"learning_rate": "eta", "min_split_loss": "gamma", "reg_lambda": "lambda", "reg_alpha": "alpha"}

_CPU_ONLY = "this build of XGBoost runs on CPUs only"
_NO_KFOLD = "cross validation is not part of this program"
#: What the documented algorithm can do and this program cannot: name, value (None: any), reason.
UNAVAILABLE: tuple[tuple[str, str | None, str], ...] = (
    ("tree_method", "gpu_hist", _CPU_ONLY),
    ("predictor", "gpu_predictor", _CPU_ONLY),
    ("use_dask_gpu_training", "true", _CPU_ONLY),
    ("_kfold", None, _NO_KFOLD),
    ("_num_cv_round", None, _NO_KFOLD),
    ("process_type", "update", "there is no model to update"),
    ("dsplit", "col", "rows are divided among the hosts, not columns"),
)
UNAVAILABLE_UPDATERS = ("distcol", "grow_skmaker")

#: Still documented, and without effect since the library dropped them; the program says so in the log.
WITHOUT_EFFECT = ("dsplit", "sketch_eps", "lambda_bias", "predictor", "deterministic_histogram", "prob_buffer_row")

_FOR_THE_PROGRAM = (
    "num_round",
    "eval_metric",
    "early_stopping_rounds",
    "csv_weights",
    "save_model_on_termination",
    "use_dask_gpu_training",
    "_tuning_objective_metric",
    *WITHOUT_EFFECT,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one job asks for.

    `eval_metrics` are the names as asked; early stopping watches the last. `parameters` are for the library, without
    eval_metric. `without_effect` names what was sent and changes nothing.
    """

    num_round: int
    objective: str
    num_class: int | None
    eval_metrics: tuple[str, ...]
    early_stopping_rounds: int | None
    csv_weights: bool
    save_model_on_termination: bool
    tweedie_variance_power: float
    parameters: dict[str, int | float | str]
    without_effect: tuple[str, ...]


def read(given: Mapping[str, str]) -> Settings:
    """Check the caller's hyperparameters. Raises `CustomerError` that names the first offender."""
    values = validate(TABLE, ALIASES, given)
    for name, value, reason in UNAVAILABLE:
        if name in values and value in (None, values[name]):
            raise CustomerError(f"Hyperparameter {name}: {values[name]} is not available: {reason}")
    metrics = _metrics(values)
    objective = str(values.get("objective", "reg:squarederror"))
    _check_classes(objective, values)
    _check_metrics(objective, metrics)
    _check_updaters(values)
    _check_constraints(values)
    return Settings(
        num_round=_int(values["num_round"]),
        objective=objective,
        num_class=_int(values["num_class"]) if "num_class" in values else None,
        eval_metrics=metrics,
        early_stopping_rounds=_int(values["early_stopping_rounds"]) if "early_stopping_rounds" in values else None,
        csv_weights=values.get("csv_weights") == 1,
        save_model_on_termination=values.get("save_model_on_termination") == "true",
        tweedie_variance_power=float(str(values.get("tweedie_variance_power", 1.5))),
        parameters={
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in _FOR_THE_PROGRAM
        },
        without_effect=tuple(name for name in WITHOUT_EFFECT if name in values),
    )


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _metrics(values: Mapping[str, Value]) -> tuple[str, ...]:
    """The metrics asked for, once each; a tuning job's objective comes last, where early stopping looks."""
    asked = values.get("eval_metric", ())
    names = list(dict.fromkeys(asked)) if isinstance(asked, tuple) else []
    if "_tuning_objective_metric" in values:
        tuned = str(values["_tuning_objective_metric"]).partition(":")[2]
        names = [name for name in names if name != tuned] + [tuned]
    return tuple(names)


def _check_classes(objective: str, values: Mapping[str, Value]) -> None:
    if objective in MULTICLASS and "num_class" not in values:
        raise CustomerError("Require input for parameter 'num_class' for multi-classification")
    if objective not in MULTICLASS and "num_class" in values:
        raise CustomerError(
            "Do not need to setup parameter 'num_class' for learning task other than multi-classification."
        )


def _check_metrics(objective: str, metrics: tuple[str, ...]) -> None:
    if "auc" in metrics and not objective.startswith(("binary:", "rank:")):
        raise CustomerError("Metric 'auc' can only be applied for classification and ranking problems.")
    if "aft-nloglik" in metrics and objective != "survival:aft":
        raise CustomerError("Metric 'aft-nloglik' can only be applied for 'survival:aft' objective.")
    for name in metrics:
        if name in COMPUTED_METRICS and classification_only(name):
            if not objective.startswith(("binary:", "multi:", "reg:logistic")):
                raise CustomerError(f"Metric '{name}' can only be applied for classification problems.")
            if name in ("f1_binary", "precision", "recall") and objective in MULTICLASS:
                raise CustomerError(f"Metric '{name}': Target is multiclass but average='binary'")


def _check_updaters(values: Mapping[str, Value]) -> None:
    chosen = values.get("updater")
    if not isinstance(chosen, tuple):
        return
    if values.get("booster") == "gblinear":
        if len(chosen) != 1 or chosen[0] not in LINEAR_UPDATERS:
            raise CustomerError(f"Hyperparameter updater: a linear booster takes one of {list(LINEAR_UPDATERS)}")
        return
    for name in chosen:
        if name in UNAVAILABLE_UPDATERS:
            raise CustomerError(f"Hyperparameter updater: {name} is not available: the library dropped it")
        if name not in TREE_UPDATERS:
            raise CustomerError(f"Hyperparameter updater: a tree booster takes of {list(TREE_UPDATERS)}")
    if sum(name in TREE_BUILDERS for name in chosen) > 1:
        raise CustomerError(f"Hyperparameter updater: only one of {list(TREE_BUILDERS)} can be selected")


def _check_constraints(values: Mapping[str, Value]) -> None:
    method = values.get("tree_method")
    if "monotone_constraints" in values and method not in ("exact", "hist"):
        raise CustomerError(
            "monotone_constraints can be used only when the tree_method parameter is set to either 'exact' or 'hist'."
        )
    if "interaction_constraints" in values and method not in ("exact", "hist", "approx"):
        raise CustomerError(
            "interaction_constraints can be used only when the tree_method parameter is set to either 'exact', "
            "'hist' or 'approx'."
        )
