"""The model file and the checkpoints: written whole or not at all, found again after a restart.

Used by the boosting loop and the training program. The format is UBJSON, which the library reads from a name without
a suffix; SageMaker's own images have written the library's internal binary form since 1.3-1.
"""

import re
from pathlib import Path

from clary_algorithms.container import AlgorithmError
from clary_algorithms.xgboost.library import xgboost

MODEL_NAME = "xgboost-model"
#: A checkpoint's name ends in the number of its last round, from 0. Source: the public XGBoost container.
CHECKPOINT_NAME = "xgboost-checkpoint"
CHECKPOINTS_KEPT = 5
#: The platform does not upload files that end so. Source: the public XGBoost container.
_UNFINISHED = ".sagemaker-ignore"


def save_model(booster: xgboost.Booster, directory: Path) -> Path:
    """Write the model under its usual name and return the path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / MODEL_NAME
    _write(path, booster)
    return path


def save_checkpoint(booster: xgboost.Booster, directory: Path, boosting_round: int) -> None:
    """Write the model after this round, and remove all but the newest few checkpoints."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / f"{CHECKPOINT_NAME}.{boosting_round}", booster)
    for _, old in _checkpoints(directory)[:-CHECKPOINTS_KEPT]:
        old.unlink(missing_ok=True)


def load_checkpoint(directory: Path) -> tuple[bytearray, int] | None:
    """The newest checkpoint and the number of its last round; None when there is none. Raises `AlgorithmError`."""
    found = _checkpoints(directory)
    if not found:
        return None
    boosting_round, path = found[-1]
    content = bytearray(path.read_bytes())
    try:
        xgboost.Booster().load_model(content)
    except xgboost.core.XGBoostError:
        raise AlgorithmError(f"{path} is no checkpoint that this version of XGBoost can read") from None
    return content, boosting_round


def _checkpoints(directory: Path) -> list[tuple[int, Path]]:
    name = re.compile(rf"{CHECKPOINT_NAME}\.([0-9]+)")
    matches = [(name.fullmatch(path.name), path) for path in directory.glob(f"{CHECKPOINT_NAME}.*")]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _write(path: Path, booster: xgboost.Booster) -> None:
    unfinished = path.with_name(path.name + _UNFINISHED)
    unfinished.write_bytes(booster.save_raw("ubj"))
    unfinished.replace(path)
