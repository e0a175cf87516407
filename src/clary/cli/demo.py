"""`make demo`: a real training job on a fresh machine, through an unmodified boto3 client.

Starts `clary serve` on a home of its own, uploads a data set, trains AWS's XGBoost image, looks on, and scores the model
that comes back. Everything is removed at the end. A client of the public API and nothing else: what it does, a user can
do.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from clary.cli.job_log import JobLog

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
BUCKET = "clary-demo"
ROUNDS = 60
PASS_AUC = 0.97
"""A practitioner expects about 0.99 on this data set; less than this is no success."""

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo; 0 if the job completed with a score that a practitioner would expect."""
    work = Path(tempfile.mkdtemp(prefix="clary-demo-"))
    try:
        with _server(work / "home") as environment:
            os.environ.update(environment)
            return _train()
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 130
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _server(home: Path) -> Iterator[dict[str, str]]:
    """`clary serve` while the block runs; gives what `clary env` says."""
    command = [sys.executable, "-m", "clary.cli.main"]
    began = time.monotonic()
    log = home.with_name("server.log").open("wb")
    server = subprocess.Popen(
        [*command, "serve", "--home", str(home), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=log,
        env=os.environ | {"CLARY_VOLUMES": "off"},  # the home is deleted at once: nothing may be mounted there
        start_new_session=True,  # Ctrl-C is for the demo, which then stops the server in order
    )
    try:
        assert server.stdout is not None  # noqa: S101  it is a pipe
        ready = server.stdout.readline().decode().strip()
        if not ready.startswith("clary is ready"):
            log.flush()
            raise SystemExit("clary did not start:\n" + Path(log.name).read_text())
        console.print(f"[bold]{ready}[/] after {time.monotonic() - began:.1f} s")
        said = subprocess.run([*command, "env", "--home", str(home)], check=True, capture_output=True, text=True).stdout
        yield _exports(said)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def _exports(shell: str) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in shell.splitlines() if line.startswith("export ")]
    return {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in lines)}


def _train() -> int:
    import boto3  # noqa: PLC0415  the environment is set just before: boto3 reads it when it is imported

    s3, sagemaker, logs = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("logs")
    held_out = _upload(s3)
    name = f"breast-cancer-{time.strftime('%Y-%m-%d-%H-%M-%S')}"
    console.print(f"creating training job [bold]{name}[/] with image {IMAGE}")
    created = time.monotonic()
    sagemaker.create_training_job(**_request(name))
    first_line, description = _watch(sagemaker, logs, name, created)
    _show(description)
    if description["TrainingJobStatus"] != "Completed":
        console.print(
            f"[red]the job ended {description['TrainingJobStatus']}[/]: {description.get('FailureReason', '')}"
        )
        return 1
    artifact = description["ModelArtifacts"]["S3ModelArtifacts"]
    auc, accuracy = _score(s3, artifact, held_out)
    console.print(f"\nmodel:               [bold]{artifact}[/]")
    console.print(f"held-out rows:       {len(held_out[1])}, never seen in training")
    console.print(f"held-out AUC:        [bold green]{auc:.4f}[/]   accuracy: [bold green]{accuracy:.4f}[/]")
    console.print(
        f"create to first log line: [bold]{first_line:.2f} s[/]   create to Completed: {_total(description):.2f} s"
    )
    _next_steps()
    return 0 if auc >= PASS_AUC else 1


def _upload(s3: Any) -> tuple[Any, Any]:
    """Put training and validation rows into S3, label first and without a header; give back the held-out rows."""
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    features, labels = load_breast_cancer(return_X_y=True)
    x_rest, x_held, y_rest, y_held = train_test_split(features, labels, test_size=0.25, random_state=1, stratify=labels)
    x_train, x_valid, y_train, y_valid = train_test_split(
        x_rest, y_rest, test_size=0.2, random_state=1, stratify=y_rest
    )
    s3.create_bucket(Bucket=BUCKET)
    for channel, x, y in (("train", x_train, y_train), ("validation", x_valid, y_valid)):
        text = StringIO()
        np.savetxt(text, np.column_stack([y, x]), delimiter=",", fmt="%.9g")
        s3.put_object(Bucket=BUCKET, Key=f"data/{channel}/rows.csv", Body=text.getvalue().encode())
        console.print(f"uploaded {len(y):>3} rows to s3://{BUCKET}/data/{channel}/")
    return x_held, y_held


def _request(name: str) -> dict[str, Any]:
    def channel(channel_name: str) -> dict[str, Any]:
        source = {
            "S3DataType": "S3Prefix",
            "S3Uri": f"s3://{BUCKET}/data/{channel_name}/",
            "S3DataDistributionType": "FullyReplicated",
        }
        return {"ChannelName": channel_name, "ContentType": "text/csv", "DataSource": {"S3DataSource": source}}

    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::000000000000:role/demo",
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {
            "objective": "binary:logistic",
            "num_round": str(ROUNDS),
            "max_depth": "3",
            "eta": "0.2",
            "eval_metric": "logloss,auc",
        },
        "InputDataConfig": [channel("train"), channel("validation")],
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }


def _watch(sagemaker: Any, logs: Any, name: str, created: float) -> tuple[float, dict[str, Any]]:
    """Follow the job to its end; seconds until its first log line, and the last description."""
    first_line: float | None = None
    log = JobLog(logs, name)
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(40),
        TextColumn("{task.completed:.0f}/{task.total:.0f} rounds"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("Starting", total=ROUNDS)
        while True:
            # Described before the logs are read: what the job printed is readable before it ends.
            description = sagemaker.describe_training_job(TrainingJobName=name)
            for _, message in log.read():
                if first_line is None:
                    first_line = time.monotonic() - created
                round_number = _round(message)
                if round_number is None or round_number % 10 == 0 or round_number == ROUNDS - 1:
                    progress.console.print(f"[dim]algo-1 |[/] {escape(message.replace('#011', '  '))}", soft_wrap=True)
                if round_number is not None:
                    progress.update(bar, completed=round_number + 1)
            progress.update(bar, description=description["SecondaryStatus"])
            if description["TrainingJobStatus"] not in {"InProgress", "Stopping"}:
                return first_line if first_line is not None else float("nan"), description
            time.sleep(0.05)


def _round(message: str) -> int | None:
    number = message.partition("]")[0].removeprefix("[")
    return int(number) if message.startswith("[") and number.isdigit() else None


def _show(description: dict[str, Any]) -> None:
    steps = Table(title="SecondaryStatusTransitions", title_justify="left", box=None, header_style="bold")
    for column in ("status", "seconds", "message"):
        steps.add_column(column)
    for step in description["SecondaryStatusTransitions"]:
        lasted = (step["EndTime"] - step["StartTime"]).total_seconds()
        steps.add_row(step["Status"], f"{lasted:.2f}", step["StatusMessage"])
    metrics = Table(title="FinalMetricDataList", title_justify="left", box=None, header_style="bold")
    metrics.add_column("metric")
    metrics.add_column("value", justify="right")
    for metric in description.get("FinalMetricDataList", []):
        metrics.add_row(metric["MetricName"], f"{metric['Value']:.5f}")
    console.print()
    console.print(steps)
    console.print()
    console.print(metrics)
    console.print(f"\nfinal status:        [bold green]{description['TrainingJobStatus']}[/]")


def _score(s3: Any, artifact: str, held_out: tuple[Any, Any]) -> tuple[float, float]:
    """Download the model, load it and score it: area under the ROC curve, and accuracy at 0.5."""
    import xgboost  # noqa: PLC0415
    from sklearn.metrics import accuracy_score, roc_auc_score  # noqa: PLC0415

    bucket, _, key = artifact.removeprefix("s3://").partition("/")
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=BytesIO(body), mode="r:gz") as archive:
        model = archive.extractfile("xgboost-model")
        assert model is not None  # noqa: S101  it is a file
        booster = xgboost.Booster()
        booster.load_model(bytearray(model.read()))
    features, labels = held_out
    scores = booster.predict(xgboost.DMatrix(features))
    return float(roc_auc_score(labels, scores)), float(accuracy_score(labels, scores > 0.5))


def _total(description: dict[str, Any]) -> float:
    seconds: float = (description["TrainingEndTime"] - description["CreationTime"]).total_seconds()
    return seconds


def _next_steps() -> None:
    console.print(
        "\n[bold]Where to go next[/]\n"
        "  .venv/bin/clary serve                 the same server, to stay\n"
        '  eval "$(.venv/bin/clary env)"         point boto3, the AWS CLI and the SageMaker SDK at it\n'
        "  README.md, docs/                      your own program, settings, what acts and what is refused"
    )


if __name__ == "__main__":
    sys.exit(main())
