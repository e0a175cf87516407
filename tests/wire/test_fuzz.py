"""Three thousand requests that nobody should send, against a real server. `tests/fuzz.py` sends as many as you like."""

import json
import random

from fuzz import fuzz
from server import left_of, serving

REQUESTS = 3000


def test_a_fuzzed_server_answers_in_form_and_loses_nothing():
    """Only well-formed AWS errors, no 5xx, no memory or file left behind, no full log. A failure prints seed and request."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with serving() as server:
        found = fuzz(server, requests=REQUESTS, seed=seed, warm_up=500)
        before, after = found["before"], found["after"]
        assert after["files"] <= before["files"] + 5, found
        assert after["rss_kib"] - before["rss_kib"] < 20_000, found
        assert (after["log_bytes"] - before["log_bytes"]) / REQUESTS < 20, server.log_text()[-5000:]
        for line in server.log_text().splitlines():
            assert "traceback" not in json.loads(line), line
        home = server.home
    assert left_of(home) == []
