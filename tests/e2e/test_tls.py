"""The TLS listener: unmodified clients, the certificate made here, the operator's own, and the STS host that SDKs hard-code."""

import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import SSLError
from botocore.loaders import create_loader
from botocore.regions import EndpointResolver

from clary.storage.certificate import self_signed
from server import CLARY, serving

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


@pytest.fixture(scope="module")
def server():
    with serving(CLARY_TLS_LISTEN="127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def exports(server):
    """What `clary env --tls` exports."""
    return server.environment("--tls")


def client(exports, service, **options):
    session = boto3.Session(
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        region_name=exports["AWS_DEFAULT_REGION"],
    )
    options = {"endpoint_url": exports["AWS_ENDPOINT_URL"], "verify": exports.get("AWS_CA_BUNDLE")} | options
    return session.client(service, **options)


def test_every_service_is_there_over_tls(server, exports):
    """And the plain listener beside it, with the same state."""
    assert exports["AWS_ENDPOINT_URL"].startswith("https://127.0.0.1:")
    assert client(exports, "sts").get_caller_identity()["Account"] == "000000000000"
    assert client(exports, "sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    bucket = server.bucket()
    assert bucket in [each["Name"] for each in client(exports, "s3").list_buckets()["Buckets"]]


def test_uploads_over_tls_in_every_form(server, exports, tmp_path):
    """boto3 sends trailing checksums over TLS alone: one body, several parts, none at all."""
    s3, bucket = client(exports, "s3"), server.bucket()
    big = os.urandom(1 << 20) * 9
    (tmp_path / "big").write_bytes(big)
    s3.upload_file(str(tmp_path / "big"), bucket, "big")
    s3.put_object(Bucket=bucket, Key="small", Body=b"small")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    for key, body in (("big", big), ("small", b"small"), ("empty", b"")):
        assert server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == body
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body


def test_the_aws_cli_needs_nothing_but_the_exports(server):
    script = f'eval "$({" ".join(CLARY)} env --tls --home {server.home})"; exec "$@"'
    command = [sys.executable, str(Path(sys.executable).with_name("aws")), "sts", "get-caller-identity"]
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True, timeout=120)
    assert '"Account": "000000000000"' in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "sts.us-east-1.amazonaws.com"])
def test_the_certificate_made_here_holds_for_its_names(exports, name):
    context = ssl.create_default_context(cafile=exports["AWS_CA_BUNDLE"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does without being asked
    host, _, port = exports["AWS_ENDPOINT_URL"].removeprefix("https://").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain, server_hostname=name):
        pass
    with socket.create_connection((host, int(port)), 10) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname="sts.eu-west-1.amazonaws.com")


def test_nobody_trusts_it_unasked(exports):
    with pytest.raises(SSLError):
        client(exports, "sts", verify=True).get_caller_identity()


def test_the_key_is_for_the_owner_alone(server):
    assert (server.home / "tls").stat().st_mode & 0o077 == 0
    assert (server.home / "tls" / "key.pem").stat().st_mode & 0o077 == 0


def test_the_recipe_of_the_guide_leads_the_sdks_sts_here(exports, tmp_path, monkeypatch):
    """The SageMaker SDK asks botocore's endpoint table for the host and puts https:// before it, whatever is configured."""
    recipe = re.search(r"python - (\S+) (\S+) <<'EOF'\n(.*?)\nEOF\n", GUIDE.read_text(), re.DOTALL)
    address = exports["AWS_ENDPOINT_URL"].removeprefix("https://")
    done = subprocess.run(
        [sys.executable, "-", "us-east-1", address],
        input=recipe[3],
        text=True,
        capture_output=True,
        env=os.environ | {"HOME": str(tmp_path)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("botocore.loaders.Loader.CUSTOMER_DATA_PATH", str(tmp_path / ".aws" / "models"))
    resolver = EndpointResolver(create_loader().load_data("endpoints"))
    endpoint_url = f"https://{resolver.construct_endpoint('sts', 'us-east-1')['hostname']}"
    assert endpoint_url == exports["AWS_ENDPOINT_URL"]
    assert resolver.construct_endpoint("sts", "eu-west-1")["hostname"] == "sts.eu-west-1.amazonaws.com"
    assert client(exports, "sts", endpoint_url=endpoint_url).get_caller_identity()["Account"] == "000000000000"


def test_the_operators_own_certificate_is_used(tmp_path):
    """`clary env` then says nothing of whom to trust; a restart keeps to it."""
    pair = self_signed(b"1" * 32, common_name="own", names=["127.0.0.1"])
    (tmp_path / "own.pem").write_bytes(pair.certificate)
    (tmp_path / "own.key").write_bytes(pair.private_key)
    with serving(
        CLARY_TLS_LISTEN="127.0.0.1:0",
        CLARY_TLS_CERTIFICATE=str(tmp_path / "own.pem"),
        CLARY_TLS_KEY=str(tmp_path / "own.key"),
    ) as own:
        exports = own.environment("--tls")
        assert "AWS_CA_BUNDLE" not in exports
        assert client(exports, "sts", verify=str(tmp_path / "own.pem")).get_caller_identity()
        assert not (own.home / "tls").exists()


def test_the_certificate_outlives_a_restart():
    with serving(CLARY_TLS_LISTEN="127.0.0.1:0") as own:
        before = (own.home / "tls" / "certificate.pem").read_bytes()
        own.stop()
        own.start()
        assert (own.home / "tls" / "certificate.pem").read_bytes() == before


def run(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    return subprocess.run([*CLARY, *arguments], capture_output=True, text=True, timeout=60, env=kept | environment)


def test_what_cannot_be_used_is_refused_at_start(tmp_path):
    """Half a pair, a certificate without a listener, a file that is none."""
    arguments = ("serve", "--home", str(tmp_path / "home"), "--listen", "127.0.0.1:0")
    half = run(*arguments, CLARY_TLS_LISTEN="127.0.0.1:0", CLARY_TLS_KEY="k")
    assert half.stderr == "clary: tls_certificate and tls_key belong together: give both or none\n"
    idle = run(*arguments, CLARY_TLS_CERTIFICATE="c", CLARY_TLS_KEY="k")
    assert idle.stderr == "clary: tls_certificate is of no use without tls_listen\n"
    bad = run(*arguments, CLARY_TLS_LISTEN="127.0.0.1:0", CLARY_TLS_CERTIFICATE="/dev/null", CLARY_TLS_KEY="/dev/null")
    assert bad.returncode == 1
    assert "tls_certificate /dev/null and tls_key /dev/null cannot be used" in bad.stderr
    assert not (tmp_path / "home" / "s3").exists()
    name = run(*arguments, CLARY_TLS_LISTEN="example.com:1")
    assert name.stderr.startswith("clary: tls_listen: 'example.com' is no IP address")


def test_env_without_a_tls_listener_says_what_is_missing():
    with serving() as plain:
        refused = run("env", "--tls", "--home", str(plain.home))
    assert refused.returncode == 1
    assert "tls_listen" in refused.stderr
