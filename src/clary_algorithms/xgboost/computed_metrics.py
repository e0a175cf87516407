"""The metrics that the library does not have, from sums that can be added up over hosts.

Used by `evaluation`. A metric over several hosts is exact: the hosts add their confusion counts or their sums, and each
computes the value from the whole. The definitions are scikit-learn's, unweighted, a division by zero giving 0.
Source: the public XGBoost container, which calls scikit-learn on each host and averages.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def confusion(labels: npt.NDArray[np.float32], margins: npt.NDArray[np.float32], classes: int) -> Floats:
    """Counts by true class (row) and predicted class (column), from raw margins.

    With one margin a row, class 1 is a margin above 0; with several, the largest margin's column.
    """
    predicted = margins.argmax(axis=1) if margins.ndim == 2 else (margins > 0).astype(np.int64)
    cells = labels.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes)[: classes * classes].reshape(classes, classes).astype(float)


def residuals(labels: npt.NDArray[np.float32], predictions: npt.NDArray[np.float32]) -> Floats:
    """Count, sum of labels, sum of squared labels, sum of squared errors."""
    truth = labels.astype(np.float64)
    error = truth - predictions.astype(np.float64)
    return np.array([len(truth), truth.sum(), truth @ truth, error @ error])


def of_confusion(name: str, counts: Floats) -> float:
    """A classification metric by its name."""
    return _OF_CONFUSION[name](counts)


def of_residuals(name: str, sums: Floats) -> float:
    """`mse` or `r2`."""
    count, total, squares, squared_error = sums
    if name == "mse":
        return float(squared_error / count)
    spread = squares - total * total / count
    if spread <= 0:
        return 1.0 if squared_error == 0 else 0.0
    return float(1 - squared_error / spread)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _recalls(counts: Floats) -> Floats:
    return _ratio(np.diag(counts), counts.sum(axis=1))


def _precisions(counts: Floats) -> Floats:
    return _ratio(np.diag(counts), counts.sum(axis=0))


def _f1s(counts: Floats) -> Floats:
    return _ratio(2 * np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1))


def _accuracy(counts: Floats) -> float:
    return float(np.trace(counts) / counts.sum())


def _balanced_accuracy(counts: Floats) -> float:
    return float(_recalls(counts)[counts.sum(axis=1) > 0].mean())


def _macro(by_class: Callable[[Floats], Floats]) -> Callable[[Floats], float]:
    """The mean over the classes that occur, as truth or as prediction."""

    def mean(counts: Floats) -> float:
        return float(by_class(counts)[(counts.sum(axis=0) + counts.sum(axis=1)) > 0].mean())

    return mean


def _positive(by_class: Callable[[Floats], Floats]) -> Callable[[Floats], float]:
    """The value of class 1."""
    return lambda counts: float(by_class(counts)[1])


_OF_CONFUSION: dict[str, Callable[[Floats], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _macro(_f1s),
    "f1_binary": _positive(_f1s),
    "f1_macro": _macro(_f1s),
    "precision": _positive(_precisions),
    "precision_macro": _macro(_precisions),
    "precision_micro": _accuracy,
    "recall": _positive(_recalls),
    "recall_macro": _macro(_recalls),
    "recall_micro": _accuracy,
}
