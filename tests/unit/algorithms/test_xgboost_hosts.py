"""Several hosts of one job: two or three processes on loopback addresses of their own, as on one machine."""

import os
import random
import re
import signal

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

HYPERPARAMETERS = {"num_round": 15, "objective": "binary:logistic", "eval_metric": "logloss,accuracy", "nthread": 1}


@pytest.fixture
def addresses():
    """Three hosts on a block of 127.0.0.0/8 that no other test draws."""
    block = f"127.{os.getpid() % 250 + 2}.{random.randrange(2, 250)}"
    return {f"algo-{n}": f"{block}.{n}" for n in (1, 2, 3)}


@pytest.fixture(scope="module")
def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return train_test_split(x, y, random_state=0, stratify=y)


def load(path) -> xgboost.Booster:
    return xgboost.Booster(model_file=bytearray(path.read_bytes()))


def start(opt_ml_of, addresses, shares, hyperparameters=HYPERPARAMETERS, sabotage=()):
    """Start a host for each share of the rows; an empty share is a host without data. `sabotage` is code by host."""
    hosts = [f"algo-{n}" for n in range(1, len(shares) + 1)]
    names = {host: addresses[host] for host in hosts}
    started = []
    for host, (x, y) in reversed(list(zip(hosts, shares, strict=True))):
        box = opt_ml_of(host)
        box.write(hyperparameters, hosts=hosts, current_host=host)
        if len(y):
            box.csv("train", y, x)
        started.append(box.start(hosts=names, sabotage=dict(sabotage).get(host, "")))
    return started[::-1]


def finish(processes):
    logs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), logs
    return logs


def test_two_hosts_train_one_model(opt_ml_of, addresses, cancer):
    """Two hosts with half of the rows each train a model about as good as one host's; the first one alone saves it."""
    x, x_test, y, y_test = cancer
    logs = finish(start(opt_ml_of, addresses, [(x[::2], y[::2]), (x[1::2], y[1::2])]))
    assert "Train matrix has 213 rows" in logs[0]
    assert "Train matrix has 213 rows" in logs[1]
    assert not opt_ml_of("algo-2").model.exists()
    assert not re.search(r"^\[\d+\]\t", logs[1], re.MULTILINE)
    both = xgboost.DMatrix(x)
    booster = load(opt_ml_of("algo-1").model)
    assert booster.num_boosted_rounds() == 15
    alone = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, label=y), 15)
    assert np.abs(booster.predict(both) - alone.predict(both)).mean() < 0.02
    assert roc_auc_score(y_test, booster.predict(xgboost.DMatrix(x_test))) > 0.98
    # The computed metric is of all rows, not of the reporting host's.
    logged = float(re.search(r"^\[14\]\t.*train-accuracy:(\S+)", logs[0], re.MULTILINE)[1])
    assert logged == pytest.approx(((booster.predict(both) > 0.5) == y).mean(), abs=1e-5)


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_host_without_data_stays_out(opt_ml_of, addresses, cancer, empty):
    """Of three hosts one has no data: the other two train, and the first of them saves the model."""
    x, _, y, _ = cancer
    shares = [(x[::2], y[::2]), (x[1::2], y[1::2])]
    shares.insert(empty, ([], []))
    logs = finish(start(opt_ml_of, addresses, shares))
    assert f"Host algo-{empty + 1} not being used for distributed training." in logs[empty]
    savers = [n for n in range(3) if opt_ml_of(f"algo-{n + 1}").model.exists()]
    assert savers == [1 if empty == 0 else 0]


def test_one_host_with_data_trains_alone(opt_ml_of, addresses, cancer):
    """Of two hosts one has all the data: its model is that of a single host."""
    x, _, y, _ = cancer
    finish(start(opt_ml_of, addresses, [([], []), (x, y)]))
    matrix = xgboost.DMatrix(x.astype(np.float32), label=y)
    alone = xgboost.train({"objective": "binary:logistic"}, matrix, 15)
    np.testing.assert_array_equal(load(opt_ml_of("algo-2").model).predict(matrix), alone.predict(matrix))


def test_no_data_anywhere(opt_ml_of, addresses):
    """Without data on any host the job is the caller's mistake, on every host."""
    processes = start(opt_ml_of, addresses, [([], []), ([], [])])
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [2, 2]
    assert opt_ml_of("algo-2").failure == "No hosts received training data."


def wait_for_line(process, start_of_line: str) -> None:
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith(start_of_line):
            return
    raise AssertionError(seen)


ENDLESS = {**HYPERPARAMETERS, "num_round": 1_000_000, "max_depth": 2}


def test_sigterm_on_all_hosts_saves(opt_ml_of, addresses, cancer):
    """The hosts agree on the round after which they end, and the first saves."""
    x, _, y, _ = cancer
    settings = {**ENDLESS, "save_model_on_termination": "true"}
    processes = start(opt_ml_of, addresses, [(x[::2], y[::2]), (x[1::2], y[1::2])], settings)
    wait_for_line(processes[0], "[3]\t")
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
    finish(processes)
    assert load(opt_ml_of("algo-1").model).num_boosted_rounds() > 3


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_host_fails_the_others(opt_ml_of, addresses, cancer, victim):
    """When a host is killed, the other one ends by itself, not with success."""
    x, _, y, _ = cancer
    processes = start(opt_ml_of, addresses, [(x[::2], y[::2]), (x[1::2], y[1::2])], ENDLESS)
    wait_for_line(processes[0], "[3]\t")
    processes[victim].kill()
    other = processes[1 - victim]
    other.communicate(timeout=60)
    assert other.returncode == 1
    assert opt_ml_of(f"algo-{2 - victim}").failure.startswith("Lost the connection to another host")


def test_a_lost_host_fails_one_that_only_coordinates(opt_ml_of, addresses, cancer):
    """A first host without data waits for the others no longer than they live."""
    x, _, y, _ = cancer
    processes = start(opt_ml_of, addresses, [([], []), (x[::2], y[::2]), (x[1::2], y[1::2])], ENDLESS)
    wait_for_line(processes[1], "[3]\t")
    processes[2].kill()
    for process in processes[:2]:
        process.communicate(timeout=60)
        assert process.returncode == 1
    assert opt_ml_of("algo-1").failure.startswith("Lost the connection to another host")


def test_unreadable_data_on_one_host(opt_ml_of, addresses, cancer):
    """A host that fails before training begins does not keep the first one waiting."""
    x, _, y, _ = cancer
    opt_ml_of("algo-2").data("train", ".hidden", "x")
    processes = start(opt_ml_of, addresses, [(x[::2], y[::2]), (x[1::2], y[1::2])])
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [1, 2]


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_mistake_in_one_hosts_data(opt_ml_of, addresses, cancer, culprit):
    """A label that only one host has ends both: that one with the caller's mistake, the other without success."""
    x, _, y, _ = cancer
    shares = [(x[::2], y[::2].copy()), (x[1::2], y[1::2].copy())]
    shares[culprit][1][3] = 7
    processes = start(opt_ml_of, addresses, shares)
    for process in processes:
        process.communicate(timeout=60)
    assert processes[culprit].returncode == 2
    assert "label must be in" in opt_ml_of(f"algo-{culprit + 1}").failure
    assert processes[1 - culprit].returncode != 0


DIE = "lambda *_: os._exit(3)"
NEVER_RETURN = "lambda *_: __import__('time').sleep(600)"
PLACES = {
    "connecting": "import xgboost.collective; xgboost.collective.CommunicatorContext.__enter__ = ",
    "boosting": "import xgboost; xgboost.Booster.update = ",
    "leaving": "import xgboost.collective; xgboost.collective.CommunicatorContext.__exit__ = ",
}


@pytest.mark.parametrize("victim", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_a_call_that_never_returns_keeps_no_host(opt_ml_of, addresses, cancer, place, victim):
    """When a host dies, the others end, though they are in a call that waits for ever, and say who it was."""
    x, _, y, _ = cancer
    shares = [(x[n::3], y[n::3]) for n in range(3)]
    sabotage = {f"algo-{n}": PLACES[place] + (DIE if n == victim else NEVER_RETURN) for n in (1, 2, 3)}
    processes = start(opt_ml_of, addresses, shares, sabotage=sabotage)
    logs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [3 if n == victim else 1 for n in (1, 2, 3)]
    name = "algo-3" if victim == 3 else f"the coordinating one at {addresses['algo-1']}"
    reason = f"Lost the connection to another host of the training: {name} went away"
    survivors = [n for n in (1, 2, 3) if n != victim]
    assert [opt_ml_of(f"algo-{n}").failure for n in survivors] == [reason, reason]
    assert all(reason in logs[n - 1] for n in survivors)


def test_unreadable_data_does_not_wait_until_the_first_host_has_read_its_own(opt_ml_of, addresses, cancer):
    """A host that dies before all have met ends the first one, though that is still reading its data."""
    x, _, y, _ = cancer
    loading = "from clary_algorithms.xgboost import training; training._load = "
    sabotage = {"algo-1": loading + NEVER_RETURN, "algo-2": loading + DIE}
    processes = start(opt_ml_of, addresses, [(x[::2], y[::2]), (x[1::2], y[1::2])], sabotage=sabotage)
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [1, 3]
    assert "algo-2 went away" in opt_ml_of("algo-1").failure


def test_the_library_waits_in_vain_for_one_that_never_connects(opt_ml_of, addresses, cancer):
    """A host that dies before it connects ends one that is inside the library, waiting for it."""
    x, _, y, _ = cancer
    shares = [(x[::2], y[::2]), (x[1::2], y[1::2])]
    processes = start(opt_ml_of, addresses, shares, sabotage={"algo-2": PLACES["connecting"] + DIE})
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [1, 3]
    assert "algo-2 went away" in opt_ml_of("algo-1").failure


@pytest.mark.parametrize(("host", "function"), [("algo-1", "save_model"), ("algo-2", "Watch.__exit__")])
def test_a_slow_end_is_no_loss(opt_ml_of, addresses, cancer, host, function):
    """A host that is done may end long before or after the first one, which may take long to save its model."""
    x, _, y, _ = cancer
    linger = """
from clary_algorithms.xgboost import training
def late(*arguments, _do=training.{0}):
    import time
    time.sleep(4)
    return _do(*arguments)
training.{0} = late
"""
    shares = [(x[::2], y[::2]), (x[1::2], y[1::2])]
    finish(start(opt_ml_of, addresses, shares, sabotage={host: linger.format(function)}))


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_mistake_ends_the_real_entrypoint(opt_ml_of, addresses, cancer, culprit):
    """The program that the platform starts ends on both hosts, as it does here by another name."""
    x, _, y, _ = cancer
    shares = [(x[::2], y[::2].copy()), (x[1::2], y[1::2].copy())]
    shares[culprit][1][3] = 7
    hosts = [addresses["algo-1"], addresses["algo-2"]]  # an address is a name that always resolves
    processes = []
    for host, (part, labels) in zip(hosts, shares, strict=True):
        box = opt_ml_of(host)
        box.write(HYPERPARAMETERS, hosts=hosts, current_host=host)
        box.csv("train", labels, part)
        processes.append(box.start())
    for process in processes:
        process.communicate(timeout=60)
    assert processes[culprit].returncode == 2
    assert "label must be in" in opt_ml_of(hosts[culprit]).failure
    assert processes[1 - culprit].returncode == 1
