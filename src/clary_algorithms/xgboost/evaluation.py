"""What a boosting round scored on each data set, and the line that says so.

Used by the boosting loop. Native metrics come from the library, the others from `computed_metrics`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from clary_algorithms.xgboost import computed_metrics
from clary_algorithms.xgboost.hyperparameters import Settings
from clary_algorithms.xgboost.library import xgboost
from clary_algorithms.xgboost.metric_names import COMPUTED_METRICS, classification_only

#: Adds up an array over all hosts of the training.
AddUp = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
#: Metric to value, by data set, in the order of the log line.
Scores = Mapping[str, Mapping[str, float]]


class Evaluation:
    """Scores a booster on named data sets, the same way each round."""

    def __init__(self, settings: Settings, datasets: Sequence[tuple[xgboost.DMatrix, str]], add_up: AddUp) -> None:
        self._datasets = list(datasets)
        self._add_up = add_up
        self._classes = settings.num_class or 2
        self._computed = [name for name in settings.eval_metrics if name in COMPUTED_METRICS]
        self._labels = {name: matrix.get_label() for matrix, name in datasets} if self._computed else {}
        self._native = {
            _native_name(name, settings): name for name in settings.eval_metrics if name not in COMPUTED_METRICS
        }

    @property
    def native_metrics(self) -> list[str]:
        """What the library must be told to evaluate; empty leaves the choice to the objective."""
        return list(self._native)

    def score(self, booster: xgboost.Booster, boosting_round: int) -> Scores:
        """Evaluate after a round. Every host of the training must call it, and gets the same values."""
        line = booster.eval_set(self._datasets, boosting_round)
        scores: dict[str, dict[str, float]] = {name: {} for _, name in self._datasets}
        for column in line.split("\t")[1:]:
            head, _, value = column.rpartition(":")
            dataset, _, metric = head.partition("-")
            scores[dataset][self._native.get(metric, metric)] = float(value)
        for matrix, name in self._datasets if self._computed else ():
            scores[name].update(self._compute(booster, matrix, self._labels[name]))
        return scores

    def _compute(
        self, booster: xgboost.Booster, matrix: xgboost.DMatrix, labels: npt.NDArray[np.float32]
    ) -> dict[str, float]:
        values: dict[str, float] = {}
        if any(classification_only(name) for name in self._computed):
            margins = booster.predict(matrix, output_margin=True)
            counts = self._add_up(computed_metrics.confusion(labels, margins, self._classes).ravel())
            table = counts.reshape(self._classes, self._classes)
            values |= {
                name: computed_metrics.of_confusion(name, table) for name in self._computed if classification_only(name)
            }
        if not all(classification_only(name) for name in self._computed):
            sums = self._add_up(computed_metrics.residuals(labels, booster.predict(matrix)))
            values |= {
                name: computed_metrics.of_residuals(name, sums)
                for name in self._computed
                if not classification_only(name)
            }
        return {name: values[name] for name in self._computed}


def line(boosting_round: int, scores: Scores) -> str:
    """The log line of a round: `[0]<TAB>train-rmse:0.39000<TAB>validation-rmse:0.41000`."""
    columns = [
        f"\t{dataset}-{metric}:{value:.5f}" for dataset, metrics in scores.items() for metric, value in metrics.items()
    ]
    return f"[{boosting_round}]" + "".join(columns)


def _native_name(name: str, settings: Settings) -> str:
    # The library wants the power in the name; the platform's metric definition has it without.
    return f"{name}@{settings.tweedie_variance_power:g}" if name == "tweedie-nloglik" else name
