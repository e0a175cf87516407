"""Script mode with the toolkit of AWS's framework images, sagemaker-training: the user's sources run, and find SM_*."""

import json
from pathlib import Path

import pytest

import container_images
from each_runtime import CONTAINERS, EACH_RUNTIME, PROCESSES
from server import serving

CLIENT = "sagemaker_v2"
HERE = Path(__file__).parent
STAND_IN = HERE / "toolkit_image"


@pytest.fixture(scope="module")
def toolkit(request, python_of, of_guide, tmp_path_factory):
    """A server on which AWS's framework images are the toolkit's environment, as the guide says, or (docker) which has an
    image with the toolkit; and that image's name, None for AWS's own.
    """
    python = python_of("toolkit")
    if request.param is CONTAINERS:
        with serving(runtime=CONTAINERS) as server:
            yield server, _image(python)
        return
    catalogue = tmp_path_factory.mktemp("images") / "images.toml"
    rule = of_guide(r"```toml\n([^`]*?pytorch-training[^`]*)```")
    rule = rule.replace('"/opt/envs/toolkit"', json.dumps(str(python.parents[1])))
    rule = rule.replace('PYTHONPATH = "', f'PYTHONPATH = "{STAND_IN}:')
    catalogue.write_text(f"{rule}read_only_paths = [{json.dumps(str(STAND_IN))}]\n")
    with serving(CLARY_IMAGES=str(catalogue)) as server:
        yield server, None


def _image(python):
    """An image with the toolkit, whose `train` is on PATH, as in AWS's."""
    site = next(python.parents[1].glob("lib/python3.*/site-packages"))
    packages = sorted(place.name for place in site.iterdir() if not place.name.startswith(("pip", "setuptools")))
    image = container_images.python_image(*packages, site=site)
    train = (python.parent / "train").read_text().partition("\n")[2]
    files = (
        ("/usr/bin/train", f"#!{container_images.python_path()}\n{train}"),
        ("/usr/bin/which", '#!/usr/bin/sh\ncommand -v "$1"\n'),  # the toolkit looks for programs of other frameworks
        ("/packages/gethostname.py", (STAND_IN / "gethostname.py").read_text()),
    )
    return container_images.changed_image(image, ("ENV PYTHONUNBUFFERED=1",), files)


@pytest.mark.parametrize("toolkit", EACH_RUNTIME, indirect=True)
def test_the_pytorch_estimator_runs_sources_of_a_channel(run_on, toolkit):
    """Without network the SDK sends the sources as the channel `code`. The script sees its data and hyperparameters by
    the toolkit's variables, its model and metrics come back; of a script that raises, FailureReason is the toolkit's
    failure file.
    """
    server, image = toolkit
    result, printed = run_on(server, CLIENT, "sagemaker_v2_pytorch", image=image, sources=str(HERE / "sources"))
    model = server.files(result["model_data"])
    seen = json.loads(model["seen.json"])
    environment = seen["environment"]

    assert result["status"] == "Completed"
    assert image or result["ran"].endswith("/pytorch-training:2.3-cpu-py311")
    assert result["channels"] == ["training", "code"]
    submitted = result["hyperparameters"]["sagemaker_submit_directory"]
    assert submitted == '"/opt/ml/input/data/code/sourcedir.tar.gz"'
    assert json.loads(model["line.json"]) == {"slope": pytest.approx(3), "intercept": pytest.approx(2)}
    assert server.files(result["model_data"].replace("model.tar.gz", "output.tar.gz")) == {"notes.txt": b"a line\n"}
    assert printed.count("rows=5 loss=0.000000;") == 1
    assert result["metrics"] == {"train:loss": 0.0}

    assert seen["arguments"] == ["--name", "a line", "--rate", "0.3", "--steps", "100"]
    expected = {
        "SM_CHANNEL_TRAINING": "/opt/ml/input/data/training",
        "SM_CHANNEL_CODE": "/opt/ml/input/data/code",
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DIR": "/opt/ml/output",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_INPUT_CONFIG_DIR": "/opt/ml/input/config",
        "SM_CURRENT_HOST": "algo-1",
        "SM_CURRENT_INSTANCE_TYPE": "ml.m5.xlarge",
        "SM_CURRENT_INSTANCE_GROUP": "homogeneousCluster",
        "SM_NETWORK_INTERFACE_NAME": server.runtime.network_interface,
        "SM_NUM_GPUS": "0",
        "SM_USER_ENTRY_POINT": "train.py",
        "SM_MODULE_DIR": "/opt/ml/input/data/code/sourcedir.tar.gz",
        "SM_HP_NAME": "a line",
        "SM_HP_RATE": "0.3",
        "SM_HP_STEPS": "100",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert json.loads(environment["SM_HPS"]) == {"name": "a line", "rate": 0.3, "steps": 100}
    assert json.loads(environment["SM_HOSTS"]) == ["algo-1"]
    assert sorted(json.loads(environment["SM_CHANNELS"])) == ["code", "training"]
    config = json.loads(environment["SM_INPUT_DATA_CONFIG"])["training"]
    assert (config["TrainingInputMode"], config["S3DistributionType"]) == ("File", "FullyReplicated")
    groups = json.loads(environment["SM_RESOURCE_CONFIG"])["instance_groups"]
    assert [(group["instance_group_name"], group["hosts"]) for group in groups] == [("homogeneousCluster", ["algo-1"])]
    assert int(environment["SM_NUM_CPUS"]) >= 1

    command = "-- train.py --fail no such column: label --rate 0.3 --steps 1"
    assert result["failed"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\n")
    assert result["failed"].endswith(f'{command}", exit code: 1')
    assert "ExecuteUserScriptError" in result["failure"]
    assert "ValueError: no such column: label" in server.lines(result["failed_job"])


@pytest.mark.parametrize("toolkit", [pytest.param(PROCESSES, id="process")], indirect=True)
def test_the_sklearn_estimator_fetches_sources_from_s3(run_on, toolkit):
    """A job that is given credentials and the endpoint in its Environment gets its sources, and what they require, by the
    toolkit's own hand.
    """
    server, _ = toolkit
    result, printed = run_on(server, CLIENT, "sagemaker_v2_sklearn", sources=str(HERE / "sources"))

    assert result["status"] == "Completed"
    assert result["ran"].endswith("/sagemaker-scikit-learn:1.2-1-cpu-py3")
    assert result["submitted"].startswith(f'"s3://{result["bucket"]}/sagemaker-scikit-learn-')
    model = json.loads(server.files(result["model_data"])["line.json"])
    assert model == {"slope": pytest.approx(2), "intercept": pytest.approx(-1)}
    assert printed.count("rows=3 loss=0.000000;") == 1
    assert printed.count("required /tmp/site-packages/greeting.py") == 1
