"""The XGBoost program as the platform starts it: files in, log lines, model, failure text and exit code out."""

import re
import signal
import time

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

LINE = re.compile(r"^\[(\d+)\]\ttrain-(\S+?):(\d+\.\d{5})(?:\tvalidation-(\S+?):(\d+\.\d{5}))?$", re.MULTILINE)


@pytest.fixture(scope="module")
def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return train_test_split(x, y, random_state=0, stratify=y)


@pytest.fixture(scope="module")
def noisy():
    return make_classification(600, 8, flip_y=0.3, random_state=1)


def load(path) -> xgboost.Booster:
    return xgboost.Booster(model_file=bytearray(path.read_bytes()))


@pytest.mark.filterwarnings("ignore:.*Unknown file format:UserWarning")
def test_breast_cancer(opt_ml, cancer):
    """A real data set trains to a model that tells held-out rows apart, and load_model reads the file by its path."""
    x_train, x_test, y_train, y_test = cancer
    hyperparameters = {"num_round": 40, "objective": '"binary:logistic"', "eta": "0.2", "eval_metric": "auc,logloss"}
    opt_ml.write(hyperparameters, channels={"train": "text/csv", "validation": "text/csv"})
    opt_ml.csv("train", y_train, x_train)
    opt_ml.csv("validation", y_test, x_test)
    code, log = opt_ml.train()
    assert code == 0, log
    assert opt_ml.failure is None
    assert "Train matrix has 426 rows and 30 columns" in log
    assert "Validation matrix has 143 rows" in log
    assert (
        len(re.findall(r"^\[\d+\]\ttrain-auc:\d\.\d{5}\ttrain-logloss:\S+\tvalidation-auc:\S+\t", log, re.MULTILINE))
        == 40
    )
    booster = xgboost.Booster()
    booster.load_model(opt_ml.model)
    assert roc_auc_score(y_test, booster.predict(xgboost.DMatrix(x_test))) > 0.98


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"subsample": 0.7, "colsample_bytree": 0.5, "seed": 7, "max_depth": 3},
        {"tree_method": "exact", "min_child_weight": 3},
        {"booster": "dart", "rate_drop": 0.2},
        {"booster": "gblinear", "nthread": 1, "updater": "coord_descent"},
    ],
)
def test_equals_the_library(opt_ml, cancer, extra):
    """The model is the one that xgboost.train makes of the same rows and parameters, and the log has its scores."""
    x, _, y, _ = cancer
    opt_ml.write({"num_round": 8, "objective": "binary:logistic", **extra})
    opt_ml.csv("train", y, x)
    code, log = opt_ml.train()
    assert code == 0, log
    matrix = xgboost.DMatrix(x.astype(np.float32), label=y)
    history: dict = {}
    expected = xgboost.train(
        {"objective": "binary:logistic", **extra},
        matrix,
        8,
        evals=[(matrix, "train")],
        evals_result=history,
        verbose_eval=False,
    )
    np.testing.assert_array_equal(load(opt_ml.model).predict(matrix), expected.predict(matrix))
    assert [found[2] for found in LINE.findall(log)] == [f"{v:.5f}" for v in history["train"]["logloss"]]


def test_libsvm_is_the_default(opt_ml):
    """A channel without a content type is read as libsvm, several files and folders as one matrix."""
    opt_ml.write({"num_round": 2, "objective": "reg:squarederror"}, channels={"train": None})
    opt_ml.data("train", "a/one.libsvm", "1 0:1 3:2\n0 1:5\n")
    opt_ml.data("train", "b/c/two.libsvm", "1:2.5 4:1\n")
    opt_ml.data("train", "_SUCCESS", "")
    code, log = opt_ml.train()
    assert code == 0, log
    assert "Train matrix has 3 rows and 5 columns" in log


def test_computed_metrics(opt_ml, noisy):
    """Metrics that the library lacks stand in the line too, after its own, for both data sets."""
    x, y = noisy
    opt_ml.write(
        {"num_round": 2, "objective": "binary:logistic", "eval_metric": "accuracy,error,f1"},
        channels={"train": "text/csv", "validation": "text/csv"},
    )
    opt_ml.csv("train", y[:400], x[:400])
    opt_ml.csv("validation", y[400:], x[400:])
    code, log = opt_ml.train()
    assert code == 0, log
    scores = dict(column.split(":") for column in re.search(r"^\[1\]\t(.*)$", log, re.MULTILINE)[1].split("\t"))
    assert list(scores) == [f"{d}-{m}" for d in ("train", "validation") for m in ("error", "accuracy", "f1")]
    assert float(scores["validation-accuracy"]) == pytest.approx(1 - float(scores["validation-error"]), abs=1e-5)


def test_early_stopping(opt_ml, noisy):
    """Boosting ends after so many rounds without gain on the validation data, and the best round's model is kept."""
    x, y = noisy
    opt_ml.write(
        {"num_round": 300, "objective": "binary:logistic", "eval_metric": "logloss", "early_stopping_rounds": 4},
        channels={"train": "text/csv", "validation": "text/csv"},
    )
    opt_ml.csv("train", y[:300], x[:300])
    opt_ml.csv("validation", y[300:], x[300:])
    code, log = opt_ml.train()
    assert code == 0, log
    scores = [float(found[4]) for found in LINE.findall(log)]
    best = scores.index(min(scores))
    assert len(scores) == best + 1 + 4
    booster = load(opt_ml.model)
    assert booster.num_boosted_rounds() == best + 1
    assert booster.attr("best_iteration") == str(best)


@pytest.mark.parametrize(
    ("hyperparameters", "channels", "files", "failure"),
    [
        ({}, None, {}, "Missing required hyperparameter: num_round"),
        ({"num_round": 1, "depth": 2}, None, {}, "Additional properties are not allowed ('depth' was unexpected)"),
        ({"num_round": 1}, {}, {}, "Missing required channel: train"),
        ({"num_round": 1}, {"train": "text/csv", "test": "text/csv"}, {}, "Extraneous channel found: test"),
        ({"num_round": 1}, None, {}, "No data in training channel path"),
        (
            {"num_round": 1},
            None,
            {"train/a.csv": "label,x\n1,2\n"},
            "First line 'label,x...' of file 'a.csv' is not 'CSV'",
        ),
        ({"num_round": 1}, None, {"train/a.csv": "1,2\n1,x\n"}, "file 'a.csv', line 2: could not convert string 'x'"),
        ({"num_round": 1}, None, {"train/a.csv": "1,2\n", "train/.x": "1"}, "Hidden file found in the data path!"),
        ({"num_round": 1}, {"train": None}, {"train/a": "1 2 3\n"}, "of file 'a' is not 'LIBSVM' format"),
        (
            {"num_round": 1},
            {"train": "text/csv", "validation": "text/csv"},
            {"train/a.csv": "1,2\n"},
            "No data in validation channel path",
        ),
        (
            {"num_round": 1, "objective": "binary:logistic"},
            None,
            {"train/a.csv": "0,2\n3,2\n"},
            "label must be in [0,1] for logistic regression",
        ),
        (
            {"num_round": 1, "objective": "multi:softmax", "num_class": 2},
            None,
            {"train/a.csv": "0,2\n3,2\n"},
            "label must be discrete values in the range of [0, num_class)",
        ),
        ({"num_round": 1}, None, {"train/a.csv": "1,inf\n0,2\n"}, "contains `inf`"),
        ({"num_round": 1}, None, {"train/a.csv": ",1\n0,2\n"}, "Label contains NaN"),
        ({"num_round": 1, "max_bin": 1}, None, {"train/a.csv": "1,1\n0,2\n"}, "max_bin should be greater equal to 2"),
    ],
)
def test_customer_errors(opt_ml, hyperparameters, channels, files, failure):
    """What the caller did wrong ends in exit code 2, with the reason in the failure file and in the log."""
    opt_ml.write(hyperparameters, channels=channels)
    for name, text in files.items():
        opt_ml.data(*name.split("/"), text)
    code, log = opt_ml.train()
    assert code == 2, log
    assert failure in opt_ml.failure
    assert failure in log
    assert not opt_ml.model.exists()


def test_a_platform_error_is_not_the_callers(opt_ml):
    """Files that the platform should have written are missing: exit code 1 and a reason."""
    opt_ml.root.mkdir()
    code, _ = opt_ml.train()
    assert code == 1
    assert "resourceconfig.json" in opt_ml.failure or "checkpointconfig.json" in opt_ml.failure


def wait_for_round(process, number: int) -> str:
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(f"[{number}]\t"):
            return seen
    raise AssertionError(seen)


def test_sigterm_saves_the_model(opt_ml, noisy):
    """With save_model_on_termination, SIGTERM ends the program with code 0 and a model of the rounds so far."""
    x, y = noisy
    opt_ml.write({"num_round": 1_000_000, "save_model_on_termination": "true", "max_depth": 2})
    opt_ml.csv("train", y, x)
    process = opt_ml.start()
    wait_for_round(process, 5)
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    last = max((int(found[0]) for found in LINE.findall(rest)), default=5)
    assert load(opt_ml.model).num_boosted_rounds() == last + 1


def test_sigterm_without_saving(opt_ml, noisy):
    """Without it, SIGTERM ends the program at once and no model is left."""
    x, y = noisy
    opt_ml.write({"num_round": 1_000_000, "max_depth": 2})
    opt_ml.csv("train", y, x)
    process = opt_ml.start()
    wait_for_round(process, 5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert not opt_ml.model.exists()


def test_checkpoints_go_on(opt_ml, noisy, tmp_path):
    """A second run with the first one's checkpoints does only the rounds that are missing, to the same model."""
    x, y = noisy
    checkpoints = tmp_path / "checkpoints"
    opt_ml.csv("train", y, x)
    opt_ml.write({"num_round": 10})
    assert opt_ml.train()[0] == 0
    whole = load(opt_ml.model)
    opt_ml.write({"num_round": 6}, checkpoints=checkpoints)
    assert opt_ml.train()[0] == 0
    assert (checkpoints / "xgboost-checkpoint.5").exists()
    opt_ml.write({"num_round": 10}, checkpoints=checkpoints)
    code, log = opt_ml.train()
    assert code == 0, log
    assert [int(found[0]) for found in LINE.findall(log)] == [6, 7, 8, 9]
    assert (checkpoints / "xgboost-checkpoint.9").exists(), "the last round is always kept"
    matrix = xgboost.DMatrix(x)
    np.testing.assert_allclose(load(opt_ml.model).predict(matrix), whole.predict(matrix), rtol=1e-6)


def test_first_line_comes_before_the_library(opt_ml):
    """The first log line is out before the library is loaded: its timestamped words name the host."""
    opt_ml.write({"num_round": 1})
    started = time.monotonic()
    process = opt_ml.start()
    first = process.stdout.readline()
    after_s = time.monotonic() - started
    rest, _ = process.communicate(timeout=60)
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d:\d\d:\d\d:\d\d:INFO\] XGBoost training on host algo-1 of 1\n", first), rest
    assert after_s < time.monotonic() - started
