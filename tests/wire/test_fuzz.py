"""Three thousand requests that nobody should send, against a real server. `tests/fuzz.py` sends as many as you like."""

import contextlib
import random

import pytest

from fuzz import FILES_MORE, Finding, fuzz, kept, main, stumbled
from server import left_of, serving

REQUESTS = 3000


def test_a_fuzzed_server_answers_in_form_and_loses_nothing():
    """Only well-formed AWS errors, no 5xx but S3's own 501, no memory or file left behind, no full log, no traceback.

    A failure prints seed and request.
    """
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with serving() as server:
        fuzz(server, requests=REQUESTS, seed=seed, warm_up=500)
        home = server.home
    assert left_of(home) == []


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"rss_kib": 4000, "files": FILES_MORE, "log_bytes": 29_000, "threads": 30}, None),
        ({"rss_kib": 5000}, "rss_kib grew by 5000"),
        ({"files": FILES_MORE + 1}, "files grew by"),
        ({"log_bytes": 31_000}, "log_bytes grew by 31000"),
    ],
)
def test_what_a_server_keeps_is_judged(more, word):
    """After a thousand requests in ten seconds."""
    before = {"rss_kib": 90_000, "files": 27, "threads": 7, "log_bytes": 443}
    after = {name: value + more.get(name, 0) for name, value in before.items()}
    problems = kept(before, after, requests=1000, seconds=10)
    assert (len(problems) == 1 and word in problems[0]) if word else problems == []


def test_the_long_mode_ends_with_one_if_something_is_found(monkeypatch, capsys):
    """And says the seed."""

    def finds(_server, **_arguments):
        raise Finding("status 500")

    monkeypatch.setattr("fuzz.serving", contextlib.nullcontext)
    monkeypatch.setattr("fuzz.fuzz", finds)
    monkeypatch.setattr("sys.argv", ["fuzz.py", "--seed", "7"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "found with seed 7: status 500"  # which Python writes out, and ends with 1
    assert "seed 7" in capsys.readouterr().out


def test_a_traceback_in_the_log_is_found():
    """And no other line is."""
    assert stumbled('{"action": "ready"}\n') == []
    assert len(stumbled('{"action": "ready"}\n{"action": "failed", "traceback": "…"}\n')) == 1
