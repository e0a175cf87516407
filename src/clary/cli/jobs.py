"""`clary jobs` and `clary watch`: the training jobs of a server, and one of them followed to its end.

Called by `main`, with boto3 clients. On a terminal the StatusMessage of the moment stays below what has happened, with the
progress of downloads; into a pipe it goes as a line now and then.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from botocore.exceptions import HTTPClientError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clary.cli.job_log import JobLog

_LOOK_EVERY_S = 0.5
_TELL_EVERY_S = 10.0
_WIDE = 10_000
_COLOURS = {"Completed": "green", "Failed": "red", "Stopped": "yellow"}
_UNDER_WAY = {"InProgress", "Stopping"}


def terminal() -> Console:
    """Standard output; lines that go into a pipe are never folded."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=_WIDE)


def show_jobs(sagemaker: Any, console: Console, *, status: str | None, limit: int) -> None:
    """The newest jobs, the latest first: how they are, and how far."""
    wanted = {} if status is None else {"StatusEquals": status}
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        SortBy="CreationTime", SortOrder="Descending", PaginationConfig={"MaxItems": limit}, **wanted
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("TrainingJobName", "TrainingJobStatus", "SecondaryStatus", "CreationTime", "StatusMessage"):
        table.add_column(column, overflow="fold")
    for job in (job for page in pages for job in page["TrainingJobSummaries"]):
        told = job["TrainingJobStatus"]
        message, secondary = "", told
        if told in _UNDER_WAY:
            last = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
            told, secondary, message = last["TrainingJobStatus"], last["SecondaryStatus"], _message(last)
        created = job["CreationTime"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(escape(job["TrainingJobName"]), _coloured(told), secondary, created, escape(message))
    if table.row_count:
        console.print(table)
    else:
        console.print("no training jobs")


class Watch:
    """Follows one job. `sleep` waits for so many seconds."""

    def __init__(
        self,
        sagemaker: Any,
        log: JobLog,
        name: str,
        console: Console,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sagemaker = sagemaker
        self._log = log
        self._name = name
        self._console = console
        self._sleep = sleep
        self._now = now
        self._begun: list[tuple[str, datetime]] = []
        self._message = ""
        self._told_at = 0.0

    def follow(self) -> str:
        """Print what happens, until the job has ended; its TrainingJobStatus.

        A server that goes away meanwhile is waited for: jobs go on without it. Raises what the first request raises.
        """
        description = self._describe()
        with self._console.status("") as line:
            while True:
                self._tell(description)
                line.update(escape(f"{description['SecondaryStatus']}: {_message(description)}"))
                ended = description["TrainingJobStatus"] not in _UNDER_WAY
                try:
                    # Described before the log is read: what the job printed is readable before it ends.
                    for host, message in self._log.read():
                        self._console.print(f"[dim]{host} |[/] {escape(message)}")
                    if ended:
                        break
                    self._sleep(_LOOK_EVERY_S)
                    description = self._describe()
                except HTTPClientError:
                    line.update("the server does not answer; trying again")
                    self._sleep(_LOOK_EVERY_S)
        self._tell_end(description)
        status: str = description["TrainingJobStatus"]
        return status

    def _describe(self) -> Any:
        return self._sagemaker.describe_training_job(TrainingJobName=self._name)

    def _tell(self, description: Any) -> None:
        """What has begun since the last look; into a pipe also how far it is."""
        for step in description.get("SecondaryStatusTransitions", []):
            if (step["Status"], step["StartTime"]) not in self._begun:
                self._begun.append((step["Status"], step["StartTime"]))
                self._say(step["StartTime"], step["Status"], step.get("StatusMessage", ""))
                self._message, self._told_at = step.get("StatusMessage", ""), self._now()
        message = _message(description)
        if message != self._message and not self._console.is_terminal and self._now() - self._told_at >= _TELL_EVERY_S:
            self._say(description["LastModifiedTime"], description["SecondaryStatus"], message)
            self._message, self._told_at = message, self._now()

    def _say(self, at: datetime, status: str, message: str) -> None:
        clock = at.astimezone().strftime("%H:%M:%S")
        self._console.print(f"{clock}  [bold]{status}[/]  {escape(message)}".rstrip())

    def _tell_end(self, description: Any) -> None:
        status = description["TrainingJobStatus"]
        reason = description.get("FailureReason", "")
        self._console.print(f"{self._name}: {_coloured(status)}{': ' if reason else ''}{escape(reason)}")
        for metric in description.get("FinalMetricDataList", []):
            self._console.print(f"{escape(metric['MetricName'])} = {metric['Value']:g}")
        artifacts = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
        if artifacts:
            self._console.print(escape(artifacts))


def _message(description: Any) -> str:
    steps = description.get("SecondaryStatusTransitions", [])
    message: str = steps[-1].get("StatusMessage", "") if steps else ""
    return message


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status)
    return status if colour is None else f"[{colour}]{status}[/]"
