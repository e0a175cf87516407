"""A private /opt/ml for each test, and the program run on it as the platform would run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import clary_algorithms

#: The programs run from another directory than the tests, and find what the tests test.
SOURCES = str(Path(clary_algorithms.__file__).parents[1])

# Stands in for /etc/hosts: the hosts of a job are loopback addresses of one machine.
DRIVER = """
import json, os, sys
from clary_algorithms.container import leave, run
def program(container, termination):
    from clary_algorithms.xgboost.training import train
    exec(os.environ["SABOTAGE"])
    train(container, termination, resolve=json.loads(os.environ["HOSTS"]).__getitem__)
leave(run(program, ["train"]))
"""


@dataclass
class OptMl:
    root: Path
    processes: list[subprocess.Popen] = field(default_factory=list)

    def write(
        self, hyperparameters, *, channels=None, hosts=("algo-1",), current_host="algo-1", checkpoints=None
    ) -> None:
        config = self.root / "input" / "config"
        config.mkdir(parents=True, exist_ok=True)
        (config / "hyperparameters.json").write_text(json.dumps({k: str(v) for k, v in hyperparameters.items()}))
        channels = {"train": "text/csv"} if channels is None else channels
        entries = {
            name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
            | ({"ContentType": value} if isinstance(value, str) else value or {})
            for name, value in channels.items()
        }
        (config / "inputdataconfig.json").write_text(json.dumps(entries))
        (config / "resourceconfig.json").write_text(
            json.dumps({"current_host": current_host, "hosts": list(hosts), "network_interface_name": "lo"})
        )
        if checkpoints:
            (config / "checkpointconfig.json").write_text(json.dumps({"LocalPath": str(checkpoints)}))
        for name in channels:
            (self.root / "input" / "data" / name).mkdir(parents=True, exist_ok=True)

    def data(self, channel: str, name: str, text: str | bytes) -> Path:
        path = self.root / "input" / "data" / channel / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def csv(self, channel: str, labels, features, name: str = "part.csv") -> Path:
        rows = [
            "{},{}".format(int(y), ",".join(map(repr, map(float, x)))) for y, x in zip(labels, features, strict=True)
        ]
        return self.data(channel, name, "\n".join(rows) + "\n")

    def start(self, *, hosts: dict[str, str] | None = None, sabotage: str = "") -> subprocess.Popen:
        """Start the program; with addresses of `hosts` not by its own entrypoint, and after the statements given."""
        environment = os.environ | {"SAGEMAKER_BASE_DIR": str(self.root), "PYTHONPATH": SOURCES}
        command = [sys.executable, "-m", "clary_algorithms.xgboost", "train"]
        if hosts:
            environment |= {"HOSTS": json.dumps(hosts), "SABOTAGE": sabotage}
            command = [sys.executable, "-c", DRIVER]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.root
        )
        self.processes.append(process)
        return process

    def train(self) -> tuple[int, str]:
        """Run to the end: the exit code and the log."""
        process = self.start()
        log, _ = process.communicate(timeout=120)
        return process.returncode, log

    @property
    def failure(self) -> str | None:
        path = self.root / "output" / "failure"
        return path.read_text() if path.exists() else None

    @property
    def model(self) -> Path:
        return self.root / "model" / "xgboost-model"

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def opt_ml(tmp_path) -> Iterator[OptMl]:
    box = OptMl(tmp_path / "ml")
    yield box
    box.close()


@pytest.fixture
def opt_ml_of(tmp_path) -> Iterator:
    boxes: dict[str, OptMl] = {}

    def of(host: str) -> OptMl:
        return boxes.setdefault(host, OptMl(tmp_path / host))

    yield of
    for box in boxes.values():
        box.close()
