"""A server for the clients, and a way to run a scenario: a program in the client's own environment.

A scenario sees only what `clary env` exports, and a home of its own. It is told its arguments as JSON, talks to the
server as users of that client do, and prints as its last line what it found, as JSON; the test judges that.

Tests need the process runtime and the environments. Where one cannot be made they are skipped, with the reason; with
`clients` in CLARY_REQUIRE they fail.
"""

import contextlib
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from clients.environments import CannotMake, interpreter
from needs import need
from server import new_name, serving

HERE = Path(__file__).parent
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/acceptance:latest"


def pytest_configure(config):
    config.addinivalue_line("markers", "clients: runs an AWS client in an environment of its own")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.clients)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(1200))  # the first test of a client may have to install it


@pytest.fixture(scope="session")
def clients_server(tmp_path_factory):
    """A server whose catalogue knows a bring-your-own-container image; one for all clients of this process."""
    catalogue = tmp_path_factory.mktemp("images") / "images.toml"
    place = json.dumps(str(HERE / "image"))
    catalogue.write_text(
        f"[[image]]\nimage = {json.dumps(IMAGE.replace('.', '[.]'))}\nsearch_path = [{place}]\nread_only_paths = [{place}]\n"
    )
    with serving(CLARY_IMAGES=str(catalogue), CLARY_TLS_LISTEN="127.0.0.1:0") as server:
        yield server
        _stop_all(server)


@pytest.fixture(scope="session")
def of_guide():
    """A file or program that the guide tells users of the SageMaker SDKs to make, by a pattern with one group."""
    return _of_guide


def _of_guide(pattern):
    return re.search(pattern, (HERE.parents[1] / "docs" / "guide.md").read_text(), re.DOTALL)[1]


def _stop_all(server):
    """End what a scenario that failed has left running."""
    sagemaker = server.client("sagemaker")
    while running := sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        for job in running:
            with contextlib.suppress(ClientError):  # it has ended in between
                sagemaker.stop_training_job(TrainingJobName=job["TrainingJobName"])
            server.end(job["TrainingJobName"])


@pytest.fixture(scope="session")
def python_of():
    """The interpreter of a client; skips or fails the test if there is none."""

    def find(client):
        if client == "boto3_new":
            return Path(sys.executable)
        try:
            return interpreter(client)
        except CannotMake as problem:
            return need("clients", f"no environment for {problem}")

    return find


@pytest.fixture
def run(run_on, clients_server):
    """As `run_on`, on the server for all clients."""
    return functools.partial(run_on, clients_server)


@pytest.fixture
def run_on(python_of, tmp_path):
    """Runs a scenario on a server; answers what it found, and all it printed before.

    It is told `arguments` besides the usual, and set up as the guide tells users of the SageMaker SDKs, with `tls` for HTTPS.
    """

    def scenario(server, client, name, *, tls=False, **arguments):
        python = python_of(client)
        (tmp_path / "sagemaker.yaml").write_text(_of_guide(r"```yaml\n(SchemaVersion.*?)```"))
        environment = server.environment(*(["--tls"] if tls else [])) | {
            "HOME": str(tmp_path),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "sagemaker.yaml"),
        }
        if tls:
            region, address = (
                environment["AWS_DEFAULT_REGION"],
                environment["AWS_ENDPOINT_URL"].removeprefix("https://"),
            )
            recipe = _of_guide(r"<<'EOF'\n(import json.*?)EOF\n")
            subprocess.run([python, "-c", recipe, region, address], check=True, env=environment)
        told = {"name": new_name("c"), "bucket": server.bucket(), "image": IMAGE, **arguments}
        done = subprocess.run(
            [python, "-W", "ignore", HERE / "scenarios" / f"{name}.py", json.dumps(told)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=400,  # an SDK takes seconds to import, and minutes on a machine that is busy with other tests
        )
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}\n{server.log_text()[-3000:]}"
        *printed, result = done.stdout.splitlines()
        return told | json.loads(result), "\n".join(printed) + done.stderr

    return scenario
