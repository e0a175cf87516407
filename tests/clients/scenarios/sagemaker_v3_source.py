"""ModelTrainer with SourceCode: local data and code go up file by file, the SDK's drivers run the entry script."""

import logging
import sys
from pathlib import Path

import boto3
from common import ROLE, found, put_wheel, told
from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ARGUMENTS = told()
Path("src/pkg").mkdir(parents=True)
Path("src/pkg/__init__.py").write_text("")
Path("src/pkg/words.py").write_text("HELLO = 'hello from the package'\n")
put_wheel("src")
Path("src/train.py").write_text(
    "import argparse, os\n"
    "import greeting\n"
    "from pkg.words import HELLO\n"
    "parser = argparse.ArgumentParser()\n"
    "parser.add_argument('--epochs', type=int)\n"
    "parser.add_argument('--names')\n"
    "given = parser.parse_args()\n"
    "print(greeting.WORD, greeting.__file__)\n"
    "print(HELLO, given.epochs, given.names, os.getcwd(), os.environ['SM_CHANNEL_TRAIN'], os.environ['MY_FLAG'])\n"
    "print(sorted(os.listdir(os.environ['SM_CHANNEL_TRAIN'])))\n"
    "open(os.path.join(os.environ['SM_MODEL_DIR'], 'weights'), 'w').write('w')\n"
)
Path("data").mkdir()
Path("data/a.csv").write_text("1,2\n")


def trainer(name, **source):
    return ModelTrainer(
        training_image="clary/python",
        source_code=SourceCode(source_dir="src", **source),
        compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=10),
        hyperparameters={"epochs": 3, "names": ["a", "b"]},
        environment={"MY_FLAG": "1"},
        role=ROLE,
        base_job_name=name,
        sagemaker_session=Session(default_bucket=ARGUMENTS["bucket"]),
    )


data = InputData(channel_name="train", data_source="data", content_type="text/csv")
works = trainer("v3-source", entry_script="train.py", requirements="requirements.txt")
works.train(input_data_config=[data], wait=True, logs=True)
job = works._latest_training_job
job.refresh()
fails = trainer("v3-fails", command="echo to the end >&2; exit 3")
failure = ""
try:
    fails.train(wait=True, logs=False)
except Exception as error:
    failure = f"{type(error).__name__}: {error}"
bucket, _, key = job.model_artifacts.s3_model_artifacts.removeprefix("s3://").partition("/")
found(
    status=job.training_job_status,
    size=boto3.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"],
    entrypoint=job.algorithm_specification.container_entrypoint,
    failure=failure,
)
