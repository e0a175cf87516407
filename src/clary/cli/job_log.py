"""What a training job prints, read forward through CloudWatch Logs, from all of its hosts.

Used by `watch` and by the demo.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

_GROUP = "/aws/sagemaker/TrainingJobs"


class JobLog:
    """Goes through the job's log streams; each call of `read` gives what is new. `logs` is a boto3 client."""

    def __init__(self, logs: Any, training_job_name: str) -> None:
        self._logs = logs
        self._prefix = f"{training_job_name}/"
        self._tokens: dict[str, dict[str, str]] = {}

    def read(self) -> Iterator[tuple[str, str]]:
        """Host and message of each new line, host after host."""
        self._find_streams()
        for stream, token in self._tokens.items():
            while True:
                page = self._logs.get_log_events(logGroupName=_GROUP, logStreamName=stream, startFromHead=True, **token)
                token["nextToken"] = page["nextForwardToken"]
                if not page["events"]:
                    break
                for event in page["events"]:
                    yield stream.removeprefix(self._prefix).rpartition("-")[0], event["message"]

    def _find_streams(self) -> None:
        """A job that is started again writes to new ones."""
        with contextlib.suppress(self._logs.exceptions.ResourceNotFoundException):
            pages = self._logs.get_paginator("describe_log_streams").paginate(
                logGroupName=_GROUP, logStreamNamePrefix=self._prefix
            )
            for page in pages:
                for stream in page["logStreams"]:
                    self._tokens.setdefault(stream["logStreamName"], {})
