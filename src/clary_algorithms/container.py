"""The program's side of SageMaker's container contract: what stands under /opt/ml, and how a program ends.

Called by each algorithm's `__main__` (`run`, then `leave`), which hands in the program as a function of a `Container`.
Knows no algorithm. Imports nothing heavy: its first log line is the first sign of life that a user sees.

Sources: the developer guide on running your own training container (layout, failure file, signals); captured
hyperparameters.json, inputdataconfig.json, resourceconfig.json and checkpointconfig.json.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

#: Another root for /opt/ml: the variable that the training toolkit reads.
BASE_DIRECTORY_VARIABLE = "SAGEMAKER_BASE_DIR"
DEFAULT_BASE_DIRECTORY = "/opt/ml"

#: The platform shows the first 1024 characters of the failure file. Source: developer guide, signalling failure.
FAILURE_MAX_CHARACTERS = 1024

EXIT_ALGORITHM_ERROR = 1
#: With a failure text, a built-in algorithm's exit code 2 becomes a ClientError (observed once).
EXIT_CUSTOMER_ERROR = 2
EXIT_TERMINATED = 128 + signal.SIGTERM


class CustomerError(Exception):
    """The request or the data are at fault, and the message tells the caller what to change."""


class AlgorithmError(Exception):
    """The program failed for a reason that the caller did not give."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One entry of inputdataconfig.json. `content_type` is None when the request gave none."""

    name: str
    content_type: str | None
    input_mode: str
    directory: Path


@dataclass(frozen=True, kw_only=True)
class Container:
    """What the platform tells this host about the job.

    `hyperparameters` are the strings as sent. `hosts` are in the platform's order, so that every host picks the same
    first one. `checkpoint_directory` is None unless the job asked for checkpoints. `failure_file` is for `fail`.
    """

    hyperparameters: dict[str, str]
    channels: dict[str, Channel]
    hosts: tuple[str, ...]
    current_host: str
    model_directory: Path
    checkpoint_directory: Path | None
    failure_file: Path


class Termination:
    """SIGTERM, as a question that the program asks between two steps of its work.

    A thread waits for the signal, because a Python handler would not run before a long call into native code returns,
    and because process 1 of a container ignores a signal that has no handler. Until `hold` is called the signal ends
    the process at once.
    """

    def __init__(self) -> None:
        self._held = False
        self._requested = threading.Event()

    def listen(self) -> None:
        """Take SIGTERM over. Must be called before any other thread starts: they inherit the blocked signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait, daemon=True, name="sigterm").start()

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        self._requested.set()
        if not self._held:
            log("Received SIGTERM, ending")
            os._exit(EXIT_TERMINATED)

    def hold(self) -> None:
        """From now on the program itself ends, soon after `requested` turned true."""
        self._held = True

    @property
    def requested(self) -> bool:
        """Whether SIGTERM has come."""
        return self._requested.is_set()


Program = Callable[[Container, Termination], None]


def log(message: str, level: str = "INFO") -> None:
    """Write one line to the job's log, in the shape of the built-in algorithms' lines, at once."""
    stamp = time.strftime("%Y-%m-%d:%H:%M:%S")
    sys.stdout.write(f"[{stamp}:{level}] {message}\n")
    sys.stdout.flush()


def base_directory() -> Path:
    """The root of the contract: /opt/ml, unless the environment says otherwise."""
    return Path(os.environ.get(BASE_DIRECTORY_VARIABLE) or DEFAULT_BASE_DIRECTORY)


def read_container(root: Path) -> Container:
    """Read the platform's files below `root`. Raises `AlgorithmError` when one is missing or no JSON object."""
    config = root / "input" / "config"
    resources = _read(config / "resourceconfig.json")
    checkpoints = _read(config / "checkpointconfig.json", optional=True).get("LocalPath")
    return Container(
        hyperparameters={name: str(value) for name, value in _read(config / "hyperparameters.json").items()},
        channels={
            name: Channel(
                name=name,
                content_type=entry.get("ContentType"),
                input_mode=entry.get("TrainingInputMode", "File"),
                directory=root / "input" / "data" / name,
            )
            for name, entry in _read(config / "inputdataconfig.json").items()
        },
        hosts=tuple(resources["hosts"]),
        current_host=resources["current_host"],
        model_directory=root / "model",
        checkpoint_directory=Path(checkpoints) if checkpoints else None,
        failure_file=_failure_file(root),
    )


def run(program: Program, arguments: Sequence[str], *, root: Path | None = None) -> int:
    """Run the program once and return the exit code that the process must end with.

    0 after success; otherwise the failure file holds the reason, and the code says whose fault it is. Takes SIGTERM
    over, so it is called once, early, in the main thread.
    """
    termination = Termination()
    termination.listen()
    root = root or base_directory()
    try:
        if list(arguments) != ["train"]:
            raise AlgorithmError(f"This program knows the command 'train' only, not {list(arguments)}")
        program(read_container(root), termination)
    except CustomerError as error:
        return fail(_failure_file(root), f"{error}", EXIT_CUSTOMER_ERROR)
    except AlgorithmError as error:
        return fail(_failure_file(root), f"{error}", EXIT_ALGORITHM_ERROR)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the failure file must say so
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return fail(_failure_file(root), f"{type(error).__name__}: {error}", EXIT_ALGORITHM_ERROR)
    return 0


def fail(failure_file: Path, reason: str, exit_code: int) -> int:
    """Say in the log and in the failure file why the program ends; returns the exit code. Raises nothing."""
    try:
        log(reason, "ERROR")
        failure_file.parent.mkdir(parents=True, exist_ok=True)
        failure_file.write_text(reason[:FAILURE_MAX_CHARACTERS], encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:  # no reader of the log, a full disk: the exit code must still tell
        with contextlib.suppress(OSError):
            log(f"The failure file cannot be written: {error}", "ERROR")
    return exit_code


def leave(exit_code: int) -> NoReturn:
    """End the process at once, without a word to any library: taking leave, one may wait for hosts that have failed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(exit_code)


def _failure_file(root: Path) -> Path:
    return root / "output" / "failure"


def _read(path: Path, *, optional: bool = False) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        if optional:
            return {}
        raise AlgorithmError(f"The platform did not write {path}") from None
    except ValueError as error:
        raise AlgorithmError(f"{path} is not JSON: {error}") from None
    if type(document) is not dict:
        raise AlgorithmError(f"{path} holds no JSON object")
    return document
