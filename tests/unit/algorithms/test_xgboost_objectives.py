"""Every documented objective and metric trains and scores with the installed library."""

import numpy as np
import pytest

from clary_algorithms.container import Termination, read_container
from clary_algorithms.xgboost.hyperparameters import MULTICLASS, OBJECTIVES
from clary_algorithms.xgboost.metric_names import ALL_METRICS
from clary_algorithms.xgboost.training import train

#: An objective under which each metric that does not go with reg:squarederror can be computed.
OBJECTIVE_OF = {
    **dict.fromkeys(("aft-nloglik", "interval-regression-accuracy"), "survival:aft"),
    **dict.fromkeys(("merror", "mlogloss", "f1", "f1_macro", "precision_macro", "recall_micro"), "multi:softprob"),
    **dict.fromkeys(("precision_micro", "recall_macro", "accuracy", "balanced_accuracy"), "multi:softmax"),
    **dict.fromkeys(("precision", "recall", "f1_binary", "auc", "aucpr", "error", "logloss"), "binary:logistic"),
    **dict.fromkeys(("map", "ndcg"), "rank:ndcg"),
    "tweedie-nloglik": "reg:tweedie",
    "cox-nloglik": "survival:cox",
    "poisson-nloglik": "count:poisson",
    "gamma-deviance": "reg:gamma",
    "gamma-nloglik": "reg:gamma",
}


def run(opt_ml, objective: str, **extra) -> None:
    rng = np.random.default_rng(0)
    positive = objective in ("reg:gamma", "survival:aft")
    labels = rng.integers(1 if positive else 0, 2 + positive, 40)
    classes = {"num_class": 3} if objective in MULTICLASS else {}
    opt_ml.write({"num_round": 2, "objective": objective, "nthread": 1, **classes, **extra})
    opt_ml.csv("train", labels, rng.normal(size=(40, 3)))
    train(read_container(opt_ml.root), Termination())
    assert opt_ml.model.exists()


@pytest.mark.filterwarnings("ignore:.*reg.linear is now deprecated:UserWarning")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective(opt_ml, objective):
    """A model comes out."""
    run(opt_ml, objective)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_metric(opt_ml, metric, capsys):
    """Its value stands in the log line, under its own name."""
    run(opt_ml, OBJECTIVE_OF.get(metric, "reg:squarederror"), eval_metric=metric)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("[1]\t"))
    assert f"\ttrain-{metric}:" in line
