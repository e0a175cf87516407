"""What Clary says of itself: one JSON object a line, with an `action` that names the event and the facts beside it.

Every room logs through `get_logger`. The output of training jobs is no business of this file: see `clary.logs`.
"""

import json
import logging
import sys
import time
from collections import Counter
from typing import TextIO


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "room": record.name.removeprefix("clary."),
            "action": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Logger:
    """Logs events of one room; `bind` returns a logger that repeats facts on each line."""

    def __init__(self, logger: logging.Logger, facts: dict[str, object]) -> None:
        self._logger = logger
        self._facts = facts

    def bind(self, **facts: object) -> "Logger":
        """A logger that adds these facts to every line."""
        return Logger(self._logger, self._facts | facts)

    def debug(self, action: str, **facts: object) -> None:
        """Something a developer of Clary looks for."""
        self._log(logging.DEBUG, action, facts)

    def info(self, action: str, **facts: object) -> None:
        """Something that the operator may want to know later."""
        self._log(logging.INFO, action, facts)

    def warning(self, action: str, **facts: object) -> None:
        """Something went wrong and was dealt with."""
        self._log(logging.WARNING, action, facts)

    def error(self, action: str, **facts: object) -> None:
        """Something went wrong and was not dealt with; inside `except`, the traceback is added."""
        self._log(logging.ERROR, action, facts, exc_info=sys.exc_info()[0] is not None)

    def _log(self, level: int, action: str, facts: dict[str, object], *, exc_info: bool = False) -> None:
        self._logger.log(level, action, extra={"facts": self._facts | facts}, exc_info=exc_info)


class Seldom:
    """Logs an event once in so many seconds for each of its keys, so that no caller can fill the log.

    A line that follows silenced ones says how many they were (`silenced`). Keys must be few: they are kept.
    """

    def __init__(self, logger: Logger, *, seconds: float = 10.0) -> None:
        self._logger = logger
        self._seconds = seconds
        self._next: dict[tuple[str, str], float] = {}
        self._silenced: Counter[tuple[str, str]] = Counter()

    def info(self, action: str, *, key: str, **facts: object) -> None:
        """As `Logger.info`, seldom."""
        if self._is_due((action, key)):
            self._logger.info(action, **facts, **self._count((action, key)))

    def warning(self, action: str, *, key: str, **facts: object) -> None:
        """As `Logger.warning`, seldom."""
        if self._is_due((action, key)):
            self._logger.warning(action, **facts, **self._count((action, key)))

    def _is_due(self, event: tuple[str, str]) -> bool:
        now = time.monotonic()
        if now < self._next.get(event, now):
            self._silenced[event] += 1
            return False
        self._next[event] = now + self._seconds
        return True

    def _count(self, event: tuple[str, str]) -> dict[str, object]:
        silenced = self._silenced.pop(event, 0)
        return {"silenced": silenced} if silenced else {}


def get_logger(room: str, **facts: object) -> Logger:
    """The logger of a room, such as "controller"."""
    return Logger(logging.getLogger(f"clary.{room}"), facts)


def configure(stream: TextIO, level: str) -> None:
    """Send Clary's own log to `stream`, from `level` ("debug", "info", "warning", "error") up."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    # What the web server and the event loop have to say must be JSON lines too; of theirs, only trouble is of interest.
    levels = {"clary": level.upper(), "uvicorn": "WARNING", "asyncio": "WARNING"}
    for name, least in levels.items():
        root = logging.getLogger(name)
        root.handlers[:] = [handler]
        root.propagate = False
        root.setLevel(least)
