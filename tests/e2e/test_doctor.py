"""`clary doctor` as an operator and as a program sees it."""

import json
import os
import pty
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from server import CLARY

pytest_plugins = ["server"]


def run(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_", "DOCKER_"))}
    return subprocess.run(
        [*CLARY, "doctor", *arguments], capture_output=True, text=True, timeout=120, env=kept | environment
    )


def findings(said):
    return {finding["name"]: finding for finding in json.loads(said.stdout)["findings"]}


@pytest.mark.sandbox
def test_without_a_server_it_tells_what_is_there_and_makes_nothing(tmp_path):
    """An engine that is set and does not answer is told, and training can run without it."""
    home = tmp_path / "home"
    said = run("--home", str(home), "--json", CLARY_LISTEN="127.0.0.1:0", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert (said.returncode, said.stderr) == (0, "")
    found = findings(said)
    assert found["sandbox"]["level"] == "ok"
    assert found["store"]["level"] == "ok"
    assert found["engine"]["level"] == "missing"
    assert f"{tmp_path}/none.sock" in found["engine"]["found"]
    assert found["engine"]["cure"].startswith("start the engine")
    assert all(finding["cure"] for finding in found.values() if finding["level"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_beside_a_server_its_address_is_no_trouble(server):
    """And the home is that of the server, in use."""
    address = urlsplit(server.url).netloc
    said = run("--home", str(server.home), "--json", CLARY_LISTEN=address)
    found = findings(said)
    assert found["listen"]["found"] == f"{address} is where the server of this home listens now"
    assert found["home"]["level"] == "ok"
    assert server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_the_address_of_another_home_is_taken(server, tmp_path):
    """Ends with 1: the server would not start."""
    address = urlsplit(server.url).netloc
    said = run("--home", str(tmp_path), CLARY_LISTEN=address)
    assert said.returncode == 1
    assert f"missing  listen: {address} is taken by another program" in said.stdout
    assert "cure: choose another with --listen" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("Training cannot run here yet")


def test_settings_that_are_wrong_are_told_and_the_rest_too(tmp_path):
    config = tmp_path / "my.toml"
    config.write_text("listn = '127.0.0.1:1'\n")
    said = run("--home", str(tmp_path), "--config", str(config))
    assert said.returncode == 1
    assert "there is no setting listn" in said.stdout
    assert "ok       store" in said.stdout
    assert "Traceback" not in said.stderr


def test_on_a_terminal_it_keeps_to_the_width(tmp_path):
    """In columns, with colours."""
    parent, child = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLARY_", "NO_COLOR"))}
    with subprocess.Popen(
        [*CLARY, "doctor", "--home", str(tmp_path)],
        stdout=child,
        stdin=subprocess.DEVNULL,
        env=kept | {"COLUMNS": "60", "TERM": "xterm-256color"},
    ) as process:
        os.close(child)
        printed = b""
        try:
            while chunk := os.read(parent, 65536):
                printed += chunk
        except OSError:
            pass  # Linux's word for the end of a terminal
        finally:
            os.close(parent)
    assert process.returncode in {0, 1}
    text = printed.decode()
    assert "\x1b[32mok" in text
    assert f"{sys.version.split()[0]} in" in text
    plain = [line for line in text.replace("\r", "").splitlines() if "\x1b" not in line]
    assert max(map(len, plain), default=0) <= 60
