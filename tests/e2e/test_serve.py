"""`clary serve` and `clary env` as an operator sees them."""

import os
import subprocess
import urllib.request

import boto3

from clary.base.settings import SETTINGS
from server import CLARY, Server, serving

pytest_plugins = ["server"]


def run(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    return subprocess.run([*CLARY, *arguments], capture_output=True, text=True, timeout=60, env=kept | environment)


def test_a_second_server_on_the_same_home_is_refused_and_the_first_goes_on(server):
    second = run("serve", "--home", str(server.home), "--listen", "127.0.0.1:0")

    assert second.returncode == 1
    assert f"another `clary serve` is using {server.home}" in second.stderr
    assert "Traceback" not in second.stderr
    assert server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_a_port_that_is_taken_is_refused_and_leaves_nothing(server, tmp_path):
    taken = server.url.removeprefix("http://")

    refused = run("serve", "--home", str(tmp_path / "home"), "--listen", taken)

    assert refused.returncode == 1
    assert f"cannot listen on {taken}" in refused.stderr
    assert not (tmp_path / "home" / "s3").exists()


def test_a_bad_setting_is_refused_by_name(tmp_path):
    refused = run("serve", "--home", str(tmp_path), CLARY_INSTANCES="none")

    assert refused.returncode == 1
    assert refused.stderr.startswith("clary: instances: ")


def test_env_before_any_server_says_what_to_do(tmp_path):
    refused = run("env", "--home", str(tmp_path / "nothing"))

    assert refused.returncode == 1
    assert "clary serve" in refused.stderr


def test_a_shell_that_sources_env_needs_nothing_else(server):
    """An AWS profile and a session token of another account, still set, do not get in the way."""
    script = f'eval "$({" ".join(CLARY)} env --home {server.home})"; exec {CLARY[0]} -c "$PROGRAM"'
    program = """
import boto3
print(boto3.client("sts").get_caller_identity()["Arn"])
print(boto3.client("sagemaker").list_training_jobs()["TrainingJobSummaries"])
"""
    environment = os.environ | {
        "AWS_PROFILE": "other",
        "AWS_SESSION_TOKEN": "stale",
        "AWS_ENDPOINT_URL_SAGEMAKER": "http://127.0.0.1:1",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "PROGRAM": program,
    }

    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment, timeout=60)

    assert done.stdout.splitlines() == ["arn:aws:iam::000000000000:user/clary", "[]"], done.stderr


def test_direct_s3_talks_to_the_store_itself_with_one_key_pair(server):
    exports = server.environment("--direct-s3")
    session = boto3.Session(
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        region_name=exports["AWS_DEFAULT_REGION"],
    )
    assert exports["AWS_ENDPOINT_URL_S3"] != exports["AWS_ENDPOINT_URL"]
    direct = session.client("s3", endpoint_url=exports["AWS_ENDPOINT_URL_S3"])
    bucket = server.bucket()
    direct.put_object(Bucket=bucket, Key="k", Body=b"direct")

    assert server.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"direct"
    gated = session.client("sagemaker", endpoint_url=exports["AWS_ENDPOINT_URL"])
    assert gated.list_training_jobs()["TrainingJobSummaries"] == []


def test_the_health_answer_needs_no_signature(server):
    with urllib.request.urlopen(f"{server.url}/_clary/health", timeout=10) as answer:
        assert answer.status == 200


def test_credentials_and_jobs_outlive_a_restart(own_server):
    before = own_server.environment()
    bucket = own_server.bucket()

    assert own_server.stop() == 0
    own_server.start()

    after = own_server.environment()
    assert after["AWS_ACCESS_KEY_ID"] == before["AWS_ACCESS_KEY_ID"]
    assert bucket in [b["Name"] for b in own_server.client("s3").list_buckets()["Buckets"]]


def test_everything_secret_is_for_the_owner_alone(server):
    assert server.home.stat().st_mode & 0o077 == 0


def test_serve_help_lists_every_setting():
    said = run("serve", "--help", COLUMNS="200").stdout

    assert [s.name for s in SETTINGS if f"CLARY_{s.name.upper()}" not in said] == []


def test_a_server_can_be_stopped_while_it_starts(tmp_path):
    """SIGTERM right after the ready line is honoured, exit code 0, and nothing is left (asserted by `serving`)."""
    with serving() as quick:
        assert isinstance(quick, Server)
        assert quick.stop() == 0
