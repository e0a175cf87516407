"""What becomes of a job when its container engine goes away and comes back: an engine of the test's own, as root."""

import signal
import time

import pytest

from clary.jobs.instance_files import InstanceFiles
from container_images import shell_image
from own_engine import own_engine
from server import new_name, serving, wait

pytest_plugins = ["own_engine"]
pytestmark = pytest.mark.docker

# Prints until it is told to end, by a file, with an exit code that neither an engine nor a signal makes up.
TALKING = """trap 'exit 143' TERM
n=0
while [ ! -e /opt/ml/model/go ]; do echo line $n; n=$((n + 1)); sleep 0.02; done
echo end
exit 3"""
LISTENS = "trap 'echo stopped; exit 5' TERM; echo begin; while :; do sleep 0.05; done"
AWAY_S = 1.0  # long enough for the program to print and for the instance program to ask in vain


@pytest.fixture(params=["live-restore", "no live-restore"])
def engine(request, needs_own_engine):
    with own_engine(live_restore=request.param == "live-restore") as engine:
        engine.load(shell_image())
        engine.outlived = request.param == "live-restore"
        yield engine


@pytest.fixture
def held(tmp_path):
    """While this file is there, instance programs wait before they do anything."""
    return tmp_path / "held"


@pytest.fixture
def server(engine, held):
    hold = f"instance.prepare:{held}"
    # The engine has mounts of its own, in which a volume that is mounted later may not be seen.
    with serving(CLARY_CONTAINER_ENGINE=engine.url, CLARY_VOLUMES="off", CLARY_FAULT_HOLD=hold) as server:
        yield server


def submit(server, script: str) -> str:
    """The name of a job that is Training, and has been heard."""
    name = new_name("engine")
    request = server.job(name, server.bucket())
    request["AlgorithmSpecification"] |= {"TrainingImage": shell_image(), "ContainerEntrypoint": ["sh", "-c", script]}
    server.client("sagemaker").create_training_job(**request)
    server.reach(name, "Training")
    wait(lambda: server.lines(name), until=bool, why=server.log_text)
    return name


def go_away(server, engine, number: signal.Signals) -> str:
    """What the status is while the engine is away for a second."""
    engine.end(number)
    time.sleep(AWAY_S)
    (job,) = server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    return server.client("sagemaker").describe_training_job(TrainingJobName=job["TrainingJobName"])["SecondaryStatus"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_restarts(server, engine, number):
    """With live-restore the program ends as if nothing had been; without it by the engine's signal, and the job says so.

    Either way nothing that was printed is lost or repeated, and the job waits for as long as the engine is away.
    """
    name = submit(server, TALKING.replace("\n", "; "))
    (root,) = (server.home / "instances").glob(f"{name}-*")
    files = InstanceFiles(root)
    assert go_away(server, engine, number) == "Training"
    heard = len(files.output.read_text().splitlines())
    engine.start()
    if engine.outlived:
        # A program that ends while its engine is away takes what it has printed since then with it: see docs/containers.md.
        wait(
            lambda: len(files.output.read_text().splitlines()), until=lambda now: now > heard + 50, why=server.log_text
        )
        (files.opt_ml / "model/go").touch()
    description = server.end(name)
    lines = server.lines(name)

    assert description["TrainingJobStatus"] == "Failed"
    if engine.outlived:
        assert description["FailureReason"] == "AlgorithmError: , exit code: 3"
        assert lines == [*(f"line {n}" for n in range(len(lines) - 1)), "end"]
    else:
        assert description["FailureReason"] in {f"AlgorithmError: , exit code: {code}" for code in (137, 143)}
        assert lines == [f"line {n}" for n in range(len(lines))]


def test_a_stop_while_the_engine_is_away(server, engine):
    """It takes effect when the engine is back, at the latest: the program hears SIGTERM, from one or the other."""
    name = submit(server, LISTENS)
    assert go_away(server, engine, signal.SIGKILL) == "Training"
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    server.reach(name, "Stopping")
    engine.start()
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Stopped", description
    assert server.lines(name) == ["begin", "stopped"]


def test_a_job_whose_engine_is_away_before_its_start(server, engine, held):
    """It waits for the engine, and then begins."""
    held.touch()
    name = new_name("engine")
    request = server.job(name, server.bucket())
    request["AlgorithmSpecification"] |= {"TrainingImage": shell_image(), "ContainerEntrypoint": ["echo", "here"]}
    server.client("sagemaker").create_training_job(**request)
    wait(lambda: next((server.home / "instances").glob(f"{name}-*/agent.log"), None), until=bool)
    engine.end(signal.SIGKILL)
    held.unlink()
    time.sleep(AWAY_S)  # for the instance program to ask in vain
    engine.start()

    assert server.end(name)["TrainingJobStatus"] == "Completed"
    assert server.lines(name) == ["here"]
