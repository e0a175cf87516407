"""The boosting loop: rounds, their log lines, early stopping, checkpoints, and an early end on SIGTERM.

Used by the training program. The rounds are the library's own `update`, so that a model equals the one of
`xgboost.train`; the loop is ours because its rounds go on counting after a restart, and because it can end in
agreement with the other hosts.
"""

import time
from pathlib import Path

from clary_algorithms.container import Termination, log
from clary_algorithms.xgboost import cluster, evaluation
from clary_algorithms.xgboost.early_stopping import EarlyStopping
from clary_algorithms.xgboost.evaluation import Evaluation, Scores
from clary_algorithms.xgboost.hyperparameters import Settings
from clary_algorithms.xgboost.library import xgboost
from clary_algorithms.xgboost.metric_names import maximized
from clary_algorithms.xgboost.model_files import load_checkpoint, save_checkpoint, save_model

#: The least time between two checkpoints, and between two models kept in case that SIGTERM leaves no time.
CHECKPOINT_INTERVAL_S = 1.0
SAFETY_INTERVAL_S = 10.0


def boost(
    settings: Settings,
    train: xgboost.DMatrix,
    validation: xgboost.DMatrix | None,
    *,
    model_directory: Path,
    checkpoint_directory: Path | None,
    leads: bool,
    termination: Termination,
) -> xgboost.Booster:
    """Train and return the model. `leads` is true on the one host that writes and reports.

    With save_model_on_termination a SIGTERM on any host ends the loop on all of them after the round in progress.
    Raises `xgboost.core.XGBoostError`.
    """
    datasets = [(train, "train")] + ([(validation, "validation")] if validation is not None else [])
    scoring = Evaluation(settings, datasets, cluster.add_up)
    parameters: dict[str, object] = {"objective": settings.objective, **settings.parameters}
    if scoring.native_metrics:
        parameters["eval_metric"] = scoring.native_metrics
    restored = load_checkpoint(checkpoint_directory) if checkpoint_directory else None
    booster = xgboost.Booster(parameters, [matrix for matrix, _ in datasets], restored[0] if restored else None)
    first_round = restored[1] + 1 if restored else 0
    if restored:
        log(f"Resuming from the checkpoint of round {restored[1]}")
    stopping = _stopping(settings, validation is not None)
    if settings.save_model_on_termination:
        termination.hold()
    saved = kept = time.monotonic()
    for boosting_round in range(first_round, settings.num_round):
        booster.update(train, boosting_round)
        scores = scoring.score(booster, boosting_round)
        if leads:
            print(evaluation.line(boosting_round, scores), flush=True)  # noqa: T201 -- the metric definitions read it
        stop = stopping is not None and stopping(boosting_round, scores)
        last = stop or boosting_round == settings.num_round - 1
        now = time.monotonic()
        if leads and checkpoint_directory and (last or now - saved >= CHECKPOINT_INTERVAL_S):
            save_checkpoint(booster, checkpoint_directory, boosting_round)
            saved = now
        if stop:
            break
        if settings.save_model_on_termination:
            if cluster.any_host(termination.requested):
                log(f"Ending after round {boosting_round}, as SIGTERM asked")
                break
            if leads and now - kept >= SAFETY_INTERVAL_S:
                save_model(booster, model_directory)
                kept = time.monotonic()
    return stopping.best(booster) if stopping is not None else booster


class _Watch:
    """Early stopping on the last metric of the validation data."""

    def __init__(self, settings: Settings, rounds: int) -> None:
        self._metric = settings.eval_metrics[-1] if settings.eval_metrics else None
        self._rounds = rounds
        self._linear = settings.parameters.get("booster") == "gblinear"
        self._watch: EarlyStopping | None = None

    def __call__(self, boosting_round: int, scores: Scores) -> bool:
        metric = self._metric or list(scores["validation"])[-1]
        if self._watch is None:
            self._watch = EarlyStopping(self._rounds, maximize=maximized(metric))
        stop = self._watch.should_stop(boosting_round, scores["validation"][metric])
        if stop:
            log(f"Early stopping: validation-{metric} was best in round {self._watch.best_round}")
        return stop

    def best(self, booster: xgboost.Booster) -> xgboost.Booster:
        """The model as it was in the best round; a linear one cannot be cut back and stays whole."""
        if self._watch is None or self._watch.best_round is None:
            return booster
        rounds = self._watch.best_round + 1
        best = booster if self._linear or rounds == booster.num_boosted_rounds() else booster[:rounds]
        best.set_attr(best_iteration=str(self._watch.best_round), best_score=str(self._watch.best_score))
        return best


def _stopping(settings: Settings, has_validation: bool) -> _Watch | None:
    if settings.early_stopping_rounds is None:
        return None
    if not has_validation:
        log("early_stopping_rounds has no effect: there is no validation channel", "WARNING")
        return None
    return _Watch(settings, settings.early_stopping_rounds)
