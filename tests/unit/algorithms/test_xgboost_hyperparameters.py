"""The hyperparameter table: what is read, what is refused, and that the defaults are the library's."""

import json

import numpy as np
import pytest
import xgboost

from clary_algorithms.container import CustomerError
from clary_algorithms.xgboost.hyperparameters import ALIASES, TABLE, read


def test_raw_and_quoted_values_are_the_same():
    """A value is read as sent, or with the JSON quotes that an SDK puts around it."""
    raw = read({"num_round": "5", "eta": "0.2", "objective": "binary:logistic", "eval_metric": "auc, error@0.3"})
    quoted = read(
        {"num_round": '"5"', "eta": '"0.2"', "objective": '"binary:logistic"', "eval_metric": '"auc, error@0.3"'}
    )
    assert raw == quoted
    assert raw.num_round == 5
    assert raw.parameters == {"eta": 0.2, "objective": "binary:logistic"}
    assert raw.eval_metrics == ("auc", "error@0.3")


def test_aliases():
    """The library's other names reach it under the chief names."""
    settings = read(
        {"num_round": "1", "learning_rate": "0.1", "reg_lambda": "2", "reg_alpha": "3", "min_split_loss": "4"}
    )
    assert settings.parameters == {"eta": 0.1, "lambda": 2.0, "alpha": 3.0, "gamma": 4.0}


def test_the_tuned_metric_is_last():
    """A tuning job's objective is evaluated too, and early stopping, which watches the last metric, watches it."""
    settings = read(
        {
            "num_round": "1",
            "objective": "binary:logistic",
            "eval_metric": "auc,error",
            "_tuning_objective_metric": "validation:auc",
        }
    )
    assert settings.eval_metrics == ("error", "auc")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"num_round": "0"}, "num_round: 0 is not in [1, +inf)"),
        ({"num_round": "5.0"}, "num_round: could not parse value '5.0'"),
        ({"eta": "1.5"}, "eta: 1.5 is not in [0, 1]"),
        ({"eta": "nan"}, "eta: nan is not in [0, 1]"),
        ({"subsample": "0"}, "subsample: 0.0 is not in (0, 1]"),
        ({"tweedie_variance_power": "2"}, "tweedie_variance_power: 2.0 is not in (1, 2)"),
        ({"booster": "forest"}, "booster: forest is not in ['gbtree', 'gblinear', 'dart']"),
        ({"eval_metric": "auc,speed"}, "eval_metric: auc,speed is not in"),
        ({"eval_metric": "rmse@3"}, "eval_metric: rmse@3 is not in"),
        ({"objective": "multi:softmax"}, "Require input for parameter 'num_class'"),
        ({"objective": "binary:logistic", "num_class": "3"}, "Do not need to setup parameter 'num_class'"),
        ({"eval_metric": "auc"}, "Metric 'auc' can only be applied for classification and ranking"),
        ({"eval_metric": "accuracy"}, "Metric 'accuracy' can only be applied for classification"),
        (
            {"objective": "multi:softmax", "num_class": "3", "eval_metric": "f1_binary"},
            "Target is multiclass but average='binary'",
        ),
        ({"tree_method": "gpu_hist"}, "tree_method: gpu_hist is not available"),
        ({"use_dask_gpu_training": "true"}, "use_dask_gpu_training: true is not available"),
        ({"_kfold": "5"}, "_kfold: 5 is not available"),
        ({"process_type": "update"}, "process_type: update is not available"),
        ({"monotone_constraints": "(1,-1)"}, "monotone_constraints can be used only when the tree_method"),
        ({"monotone_constraints": "(1,2)", "tree_method": "hist"}, "monotone_constraints: could not parse value"),
        ({"updater": "grow_histmaker,grow_colmaker"}, "only one of"),
        ({"updater": "distcol"}, "distcol is not available"),
        ({"booster": "gblinear", "updater": "prune"}, "a linear booster takes one of"),
        ({"a": "1", "b": "2"}, "Additional properties are not allowed ('a', 'b' were unexpected)"),
    ],
)
def test_refusals(extra, message):
    """Each rule names the hyperparameter that breaks it."""
    with pytest.raises(CustomerError) as refusal:
        read({"num_round": "1"} | extra)
    assert message in str(refusal.value)


def test_what_the_library_dropped_is_not_handed_to_it():
    """Old hyperparameters are accepted, named, and kept from the library."""
    settings = read({"num_round": "1", "sketch_eps": "0.03", "predictor": "cpu_predictor", "dsplit": "row"})
    assert settings.without_effect == ("dsplit", "sketch_eps", "predictor")
    assert settings.parameters == {}


def test_defaults_are_the_librarys():
    """Where the library shows a parameter's value, it is the table's default."""
    rng = np.random.default_rng(0)
    matrix = xgboost.DMatrix(rng.normal(size=(20, 2)), label=rng.normal(size=20))
    shown: dict[str, str] = {}

    def walk(node) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value)
            elif isinstance(value, str):
                shown.setdefault(key, value)

    for booster in ("gbtree", "dart"):
        model = xgboost.train({"booster": booster, "verbosity": 1}, matrix, 1)
        walk(json.loads(model.save_config()))
    other_names = {chief: alias for alias, chief in ALIASES.items()}
    checked = 0
    for row in TABLE:
        value = shown.get(row.name, shown.get(other_names.get(row.name, "")))
        if row.default is None or value is None or row.name in {"booster", "tree_method"}:
            continue
        numeric = isinstance(row.default, int | float)
        assert (float(value) if numeric else value) == (pytest.approx(row.default) if numeric else row.default), (
            row.name
        )
        checked += 1
    assert checked >= 15
