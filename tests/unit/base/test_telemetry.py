"""The log: JSON lines, and events that a caller cannot make fill it."""

import io
import json
import logging
import subprocess
import sys

import pytest

from clary.base import telemetry
from clary.base.telemetry import Seldom, get_logger


@pytest.fixture
def lines():
    """What was logged, as objects; the loggers are left as they were."""
    names = ("clary", "uvicorn", "asyncio")
    before = {name: (*logging.getLogger(name).handlers,) for name in names}
    facts = {name: (logging.getLogger(name).propagate, logging.getLogger(name).level) for name in names}
    stream = io.StringIO()
    telemetry.configure(stream, "info")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers[:] = before[name]
        logger.propagate, level = facts[name]
        logger.setLevel(level)


def test_a_repeated_event_is_logged_once_and_counted(lines, monkeypatch):
    """One line at once; the next after the pause says how many were silenced; other keys are not affected."""
    now = [100.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: now[0])
    seldom = Seldom(get_logger("aws"), seconds=10)
    for _ in range(1000):
        seldom.info("refused", key="a", cause="a")
    seldom.warning("refused", key="b")
    now[0] += 10
    seldom.info("refused", key="a", cause="a")
    now[0] += 10
    seldom.info("refused", key="a", cause="a")
    assert [(line["level"], line.get("silenced")) for line in lines()] == [
        ("info", None),
        ("warning", None),
        ("info", 999),
        ("info", None),
    ]


LIBRARIES = """
import logging, sys
from clary.base import telemetry
telemetry.configure(sys.stdout, "info")
logging.getLogger("uvicorn.error").warning("trouble %d", 1)
logging.getLogger("uvicorn.error").info("chatter")
logging.getLogger("asyncio").error("trouble %d", 2)
"""


def test_what_libraries_say_is_a_json_line_too():
    """Trouble of the web server and the event loop; the rest of theirs is not logged. In a process of its own: their loggers
    are everybody's.
    """
    said = subprocess.run([sys.executable, "-c", LIBRARIES], check=True, capture_output=True, text=True).stdout
    assert [(line["room"], line["action"]) for line in map(json.loads, said.splitlines())] == [
        ("uvicorn.error", "trouble 1"),
        ("asyncio", "trouble 2"),
    ]
