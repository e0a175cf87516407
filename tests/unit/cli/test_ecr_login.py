"""Clary's credential helper for Amazon ECR, against an endpoint that speaks as ECR does."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


class Ecr(BaseHTTPRequestHandler):
    """Gives a token to who signs as AKTEST for ECR in eu-west-1."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        signed = (
            "Credential=AKTEST/" in self.headers["Authorization"] and "/eu-west-1/ecr/" in self.headers["Authorization"]
        )
        if signed and self.headers["X-Amz-Target"].endswith(".GetAuthorizationToken"):
            token = base64.b64encode(b"AWS:to:ken").decode()
            status, answer = 200, {"authorizationData": [{"authorizationToken": token, "expiresAt": 1}]}
        else:
            status, answer = 400, {"__type": "UnrecognizedClientException", "message": "The token is invalid."}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def ecr():
    """The URL of the endpoint."""
    with HTTPServer(("127.0.0.1", 0), Ecr) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def ask(tmp_path, ecr):
    """Asks the helper about a registry; what it ended with and said."""
    config = tmp_path / "config"
    config.write_text(
        f"[profile good]\naws_access_key_id = AKTEST\naws_secret_access_key = x\nendpoint_url = {ecr}\n"
        f"[profile bad]\naws_access_key_id = AKOTHER\naws_secret_access_key = x\nendpoint_url = {ecr}\n"
    )

    def ask(profile, registry, verb="get"):
        # What `clary env` exports is there, and must lead nowhere.
        clary = {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "CLARY",
            "AWS_SECRET_ACCESS_KEY": "CLARY",
        }
        done = subprocess.run(
            [sys.executable, "-P", "-m", "clary.cli.ecr_login", profile, verb],
            input=registry.encode(),
            capture_output=True,
            env={**os.environ, **clary, "AWS_CONFIG_FILE": str(config), "AWS_MAX_ATTEMPTS": "1"},
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return ask


def test_the_profile_gets_a_token(ask):
    """In the region of the registry, as a login of Docker's protocol."""
    code, said, _ = ask("good", f"{REGISTRY}\n")

    assert code == 0
    assert json.loads(said) == {"ServerURL": REGISTRY, "Username": "AWS", "Secret": "to:ken"}


@pytest.mark.parametrize(
    ("profile", "registry", "told"),
    [
        ("bad", REGISTRY, "profile bad (setting ecr_profile) gets no token of ECR in eu-west-1"),
        ("none", REGISTRY, "The config profile (none) could not be found"),
        ("good", "quay.io", "quay.io is no registry of Amazon ECR"),
    ],
)
def test_why_there_is_none_is_said_in_a_line(ask, profile, registry, told):
    """On standard output, where the protocol has it, without a traceback."""
    code, said, errors = ask(profile, registry)

    assert (code, errors, said.count("\n")) == (1, "", 1)
    assert told in said


def test_nothing_is_kept_or_erased(ask):
    """It only gets."""
    assert ask("good", REGISTRY, verb="store")[0] == 1
