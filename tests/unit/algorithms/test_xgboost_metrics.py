"""Computed metrics against scikit-learn, early stopping, and the platform's metric definitions."""

import re

import numpy as np
import pytest
from sklearn import metrics as reference

from clary_algorithms import metric_definitions
from clary_algorithms.xgboost.computed_metrics import confusion, of_confusion, of_residuals, residuals
from clary_algorithms.xgboost.early_stopping import EarlyStopping
from clary_algorithms.xgboost.evaluation import line
from clary_algorithms.xgboost.metric_names import ALL_METRICS, COMPUTED_METRICS, is_metric, maximized

REFERENCE = {
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "f1": lambda t, p: reference.f1_score(t, p, average="macro"),
    "f1_macro": lambda t, p: reference.f1_score(t, p, average="macro"),
    "precision_macro": lambda t, p: reference.precision_score(t, p, average="macro", zero_division=0),
    "precision_micro": lambda t, p: reference.precision_score(t, p, average="micro"),
    "recall_macro": lambda t, p: reference.recall_score(t, p, average="macro", zero_division=0),
    "recall_micro": lambda t, p: reference.recall_score(t, p, average="micro"),
}
BINARY = {
    "f1_binary": lambda t, p: reference.f1_score(t, p, zero_division=0),
    "precision": lambda t, p: reference.precision_score(t, p, zero_division=0),
    "recall": lambda t, p: reference.recall_score(t, p, zero_division=0),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", sorted(REFERENCE | BINARY))
def test_binary(name, seed):
    """With one margin a row, each metric is scikit-learn's of `margin > 0`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 50).astype(np.float32)
    margins = rng.normal(size=50).astype(np.float32)
    expected = (REFERENCE | BINARY)[name](labels, margins > 0)
    assert of_confusion(name, confusion(labels, margins, 2)) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_multiclass(name, seed):
    """With a margin a class, each metric is scikit-learn's of the largest; classes that do not occur do not count."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 20).astype(np.float32)
    margins = rng.normal(size=(20, 5)).astype(np.float32)
    margins[:, 4] = -9
    expected = REFERENCE[name](labels, margins.argmax(axis=1))
    assert of_confusion(name, confusion(labels, margins, 5)) == pytest.approx(expected)


def test_regression_over_hosts():
    """mse and r2 are scikit-learn's, also when the sums of two hosts are added up."""
    rng = np.random.default_rng(0)
    labels, predictions = (rng.normal(5, 1, 60).astype(np.float32) for _ in range(2))
    sums = residuals(labels[:10], predictions[:10]) + residuals(labels[10:], predictions[10:])
    assert of_residuals("mse", sums) == pytest.approx(reference.mean_squared_error(labels, predictions))
    assert of_residuals("r2", sums) == pytest.approx(reference.r2_score(labels, predictions), rel=1e-5)


def test_names():
    """Every computed metric is a known one, arguments go with three, and better is the right way."""
    assert set(COMPUTED_METRICS) <= set(ALL_METRICS)
    assert is_metric("ndcg@5")
    assert not is_metric("auc@5")
    assert not is_metric("error@x")
    assert maximized("map@3")
    assert not maximized("error@0.7")


def test_early_stopping():
    """It stops after so many rounds in a row without gain, and a value that is no number is no gain."""
    watch = EarlyStopping(2, maximize=True)
    assert [watch.should_stop(i, v) for i, v in enumerate([0.5, 0.6, 0.6, 0.7, float("nan"), 0.1])] == [
        False,
        False,
        False,
        False,
        False,
        True,
    ]
    assert (watch.best_round, watch.best_score) == (3, 0.7)


def test_definitions_read_the_log_line():
    """Each definition of the platform finds its own value in a line of the log, first column or second."""
    definitions = {entry.name: entry.regex for entry in metric_definitions.XGBOOST}
    assert len(definitions) == 40
    for name, regex in definitions.items():
        assert len(regex) <= 500
        metric = name.partition(":")[2]
        scores = {"train": {metric: -1.5, "rmse": 2e-7}, "validation": {metric: 1234.0}}
        logged = line(7, scores).replace("\t", "#011")
        expected = {"train": "-1.50000", "validation": "1234.00000"}[name.partition(":")[0]]
        if metric != "rmse" or name.startswith("validation"):
            assert re.search(regex, logged)[1] == expected
