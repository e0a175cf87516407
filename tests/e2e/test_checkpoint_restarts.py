"""Programs that go on from a checkpoint: after a loss of the program, and the built-in XGBoost after a stop."""

import io
import json
import os
import random
import signal
import tarfile

import pytest
import xgboost

from checkpoint_jobs import objects, steps_of, training
from server import left_of, new_name, wait

pytest_plugins = ["server"]

XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


@pytest.fixture(scope="module")
def bucket(server):
    return server.bucket()


def supervisor(server, name):
    """The process ids of what watches over a job's sandbox."""
    return [
        int(line.partition(":")[0])
        for line in left_of(server.home)
        if f"clary-sandbox:{server.home}" in line and name in line
    ]


def test_a_job_that_is_lost_goes_on_from_its_checkpoint(server, bucket):
    """Its program is started again, finds what was at rest in S3, and does only the rest."""
    name, prefix = new_name("lost"), new_name("ckpt")
    training(server, bucket, name, prefix, "+4", RetryStrategy={"MaximumRetryAttempts": 2})
    wait(lambda: objects(server, bucket, prefix), until=lambda found: len(steps_of(found)) >= 2)
    watching = supervisor(server, name)
    assert watching
    for process in watching:
        os.kill(process, signal.SIGKILL)
    description = server.end(name)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert [step["Status"] for step in description["SecondaryStatusTransitions"]].count("Starting") == 2
    restored = [line for line in server.lines(name) if line.startswith("restored")]
    assert len(restored) == 2
    assert restored[0] == "restored []"
    last = json.loads(restored[1].removeprefix("restored "))[-1]
    told = [line for line in server.lines(name) if line.startswith("step")]
    assert last >= 1
    assert told.count(f"step {last}") == 1, "what was restored was not done again"
    assert told[-1] == f"step {last + 4}"
    assert steps_of(objects(server, bucket, prefix)) == list(range(max(0, last - 1), last + 5))


def boosting(server, bucket, name, rounds):
    """A job of the built-in XGBoost; its checkpoints are those of every such job in this bucket."""
    channels = [("train", f"s3://{bucket}/train/", {})]
    request = server.job(
        name,
        bucket,
        channels=channels,
        HyperParameters={"num_round": str(rounds), "objective": "reg:squarederror", "max_depth": "3"},
        CheckpointConfig={"S3Uri": f"s3://{bucket}/boosting/"},
    )
    request["AlgorithmSpecification"]["TrainingImage"] = XGBOOST
    request["InputDataConfig"][0]["ContentType"] = "text/csv"
    server.client("sagemaker").create_training_job(**request)


def rounds_of(server, name):
    """The numbers of the rounds that a job has told of."""
    heads = [line.split("#011")[0] for line in server.lines(name)]
    return [int(head[1:-1]) for head in heads if head.startswith("[") and head[1:-1].isdigit()]


def test_the_built_in_xgboost_goes_on_where_it_was_stopped(server, bucket):
    """A second job with the same S3Uri does the rounds that are missing; its model has them all."""
    draw = random.Random(1)
    rows = "".join(f"{draw.random()},{draw.random()},{draw.random()}\n" for _ in range(2000))
    server.client("s3").put_object(Bucket=bucket, Key="train/rows.csv", Body=rows.encode())
    first, second = new_name("boost"), new_name("boost")
    boosting(server, bucket, first, 1_000_000)
    wait(lambda: objects(server, bucket, "boosting"), until=lambda found: len(found) >= 2)
    server.client("sagemaker").stop_training_job(TrainingJobName=first)
    assert server.end(first)["TrainingJobStatus"] == "Stopped"

    kept = objects(server, bucket, "boosting")
    last = max(int(name.removeprefix("xgboost-checkpoint.")) for name in kept)
    boosting(server, bucket, second, last + 6)
    description = server.end(second)
    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert any(f"Resuming from the checkpoint of round {last}" in line for line in server.lines(second))
    assert rounds_of(server, second) == list(range(last + 1, last + 6))
    assert f"xgboost-checkpoint.{last + 5}" in objects(server, bucket, "boosting")
    assert model_rounds(server, description) == last + 6


def model_rounds(server, description):
    """How many rounds the model in S3 has."""
    bucket, _, key = description["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    body = server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        booster = xgboost.Booster()
        booster.load_model(bytearray(archive.extractfile("xgboost-model").read()))
    return booster.num_boosted_rounds()
