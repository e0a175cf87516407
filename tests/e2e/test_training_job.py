"""A training job from create to artifacts through unmodified boto3 clients, on each runtime."""

import json
from itertools import pairwise

import pytest
from botocore.exceptions import ClientError

from each_runtime import EACH_RUNTIME
from server import new_name, wait

pytest_plugins = ["server"]
pytestmark = pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)

PROGRAM = """
import json, os, sys
root = "/opt/ml"
config = {name: json.load(open(f"{root}/input/config/{name}.json"))
          for name in ("hyperparameters", "inputdataconfig", "resourceconfig")}
print("loss=0.5")
print("config", json.dumps(config, sort_keys=True))
print("names", sorted(os.listdir(f"{root}/input/data/train")))
print("tab\\there", file=sys.stderr)
print("loss=0.25")
open(f"{root}/model/weights", "w").write(open(f"{root}/input/data/train/a.txt").read().upper())
os.makedirs(f"{root}/output/data/plots")
open(f"{root}/output/data/plots/p.txt", "w").write("plot")
"""


@pytest.fixture(scope="module")
def bucket(server):
    name = server.bucket()
    s3 = server.client("s3")
    for key, body in {"in/a.txt": b"hello", "in/sub/b.txt": b"", "in/sub/c.txt": b"c"}.items():
        s3.put_object(Bucket=name, Key=key, Body=body)
    return name


@pytest.fixture(scope="module")
def completed(server, bucket):
    name = new_name("Whole-Job")
    request = server.job(
        name,
        bucket,
        program=PROGRAM,
        channels=[("train", f"s3://{bucket}/in", {})],
        HyperParameters={"epochs": "5"},
        Environment={"MY_SETTING": "x"},
    )
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    arn = server.client("sagemaker").create_training_job(**request)["TrainingJobArn"]
    return arn, server.end(name)


def test_the_job_completes_and_its_history_is_chained(completed):
    arn, description = completed

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert arn.endswith(":training-job/" + description["TrainingJobName"].lower())
    steps = description["SecondaryStatusTransitions"]
    assert [step["Status"] for step in steps] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(before["EndTime"] == after["StartTime"] for before, after in pairwise(steps))
    assert steps[0]["StartTime"] == description["CreationTime"]
    assert steps[-1]["StartTime"] == steps[-1]["EndTime"] == description["TrainingEndTime"]
    assert description["TrainingStartTime"] == steps[1]["StartTime"]
    assert len({step["StatusMessage"] for step in steps}) == len(steps)


def test_the_model_and_the_output_are_in_s3(server, bucket, completed):
    _, description = completed
    model = description["ModelArtifacts"]["S3ModelArtifacts"]

    assert model == f"s3://{bucket}/out/{description['TrainingJobName']}/output/model.tar.gz"
    assert server.files(model) == {"weights": b"HELLO"}
    assert server.files(model.replace("model.tar.gz", "output.tar.gz")) == {"plots/p.txt": b"plot"}


def test_the_log_holds_both_outputs_escaped_and_the_metric_its_last_value(server, completed):
    _, description = completed
    lines = server.lines(description["TrainingJobName"])

    assert "tab#011here" in lines
    assert "names ['a.txt', 'sub']" in lines
    assert [(m["MetricName"], m["Value"]) for m in description["FinalMetricDataList"]] == [("loss", 0.25)]


def test_the_program_sees_the_container_contract(server, completed):
    _, description = completed
    [line] = [line for line in server.lines(description["TrainingJobName"]) if line.startswith("config ")]
    config = json.loads(line.removeprefix("config "))

    assert config["hyperparameters"] == {"epochs": "5"}
    assert config["inputdataconfig"]["train"] == {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    assert sorted(config["inputdataconfig"]) == ["code", "train"]
    assert config["resourceconfig"]["hosts"] == ["algo-1"]
    assert config["resourceconfig"]["current_instance_type"] == "ml.m5.large"


def test_the_waiter_the_paginator_and_the_list_agree(server, completed):
    _, description = completed
    sagemaker = server.client("sagemaker")
    name = description["TrainingJobName"]

    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 3}
    )
    pages = sagemaker.get_paginator("list_training_jobs").paginate(NameContains=name, PaginationConfig={"PageSize": 1})
    [summary] = [summary for page in pages for summary in page["TrainingJobSummaries"]]
    assert summary["TrainingJobStatus"] == "Completed"
    assert summary["TrainingJobArn"] == description["TrainingJobArn"]
    assert summary["TrainingEndTime"] == description["TrainingEndTime"]


def test_a_program_that_fails_says_why(server, bucket):
    name = new_name("fails")
    program = "open('/opt/ml/output/failure', 'w').write('no luck'); raise SystemExit(3)"
    server.client("sagemaker").create_training_job(**server.job(name, bucket, program=program))

    description = server.end(name)

    assert description["FailureReason"] == "AlgorithmError: no luck, exit code: 3"
    assert [step["Status"] for step in description["SecondaryStatusTransitions"]][-2:] == ["Uploading", "Failed"]


def test_a_program_that_dies_by_a_signal_says_which(server, bucket):
    """128 and its number, as the shell has it."""
    name = new_name("segfault")
    description = server.run(name, bucket, program="import ctypes; print('now', flush=True); ctypes.string_at(0)")

    assert description["FailureReason"] == "AlgorithmError: , exit code: 139"
    assert server.lines(name)[0] == "now"


def test_an_image_without_train_fails_as_on_sagemaker(server, bucket):
    name = new_name("no-train")
    server.client("sagemaker").create_training_job(**server.job(name, bucket))

    assert server.end(name)["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert any('exec: "train": executable file not found in $PATH' in line for line in server.lines(name))


SAVES_ON_SIGTERM = """
import signal, sys, time
def save(*_):
    open("/opt/ml/model/saved", "w").write("in time")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready")
while True:
    time.sleep(1)
"""


def test_a_stopped_job_keeps_the_model_that_it_saved_on_sigterm(server, bucket):
    name = new_name("stopped")
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**server.job(name, bucket, program=SAVES_ON_SIGTERM))
    server.reach(name, "Training")
    wait_for_line(server, name, "ready")

    sagemaker.stop_training_job(TrainingJobName=name)

    assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] in {"Stopping", "Stopped"}
    description = server.end(name)
    assert description["SecondaryStatus"] == "Stopped"
    assert server.model(description) == {"saved": b"in time"}
    with pytest.raises(ClientError, match="rejected because the training job is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName=name)


def test_the_time_limit_ends_a_job_and_keeps_its_model(server, bucket):
    """It is long enough for a program to start within it on a busy machine, too."""
    name = new_name("limit")
    request = server.job(name, bucket, program=SAVES_ON_SIGTERM, StoppingCondition={"MaxRuntimeInSeconds": 10})
    server.client("sagemaker").create_training_job(**request)

    description = server.end(name)

    assert (description["TrainingJobStatus"], description["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert server.model(description) == {"saved": b"in time"}
    assert description["TrainingTimeInSeconds"] >= 10


def test_network_isolation_leaves_the_interfaces_that_lead_nowhere_else(server, bucket):
    name = new_name("isolated")
    program = "import socket; print('interfaces', [name for _, name in socket.if_nameindex()])"
    server.client("sagemaker").create_training_job(
        **server.job(name, bucket, program=program, EnableNetworkIsolation=True)
    )

    assert server.end(name)["TrainingJobStatus"] == "Completed"
    assert f"interfaces {list(server.runtime.isolated_interfaces)}" in server.lines(name)


def test_the_program_sees_nothing_of_the_home(server, bucket):
    name = new_name("curious")
    program = f"import os; print('home', os.path.exists({str(server.home)!r})); print('pid', os.getpid())"
    server.client("sagemaker").create_training_job(**server.job(name, bucket, program=program))

    assert server.end(name)["TrainingJobStatus"] == "Completed"
    assert {"home False", "pid 1"} <= set(server.lines(name))


MEETS_ITS_PEERS = """
import json, os, socket, time
config = json.load(open("/opt/ml/input/config/resourceconfig.json"))
me, hosts = config["current_host"], config["hosts"]
if me == "algo-1":
    listener = socket.create_server((me, 7777))
    for _ in hosts[1:]:
        peer, _ = listener.accept()
        print("hello", peer.recv(100).decode())
else:
    for attempt in range(200):
        try:
            master = socket.create_connection(("algo-1", 7777))
            break
        except OSError:
            time.sleep(0.1)
    master.sendall(me.encode())
    master.close()
print("keys", sorted(os.listdir("/opt/ml/input/data/train")))
open(f"/opt/ml/model/{me}", "w").write(me)
"""


def test_hosts_find_each_other_share_the_data_and_merge_their_models(server, bucket):
    name = new_name("hosts")
    s3 = server.client("s3")
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"shards/{number}", Body=b"x")
    sharded = {"S3DataDistributionType": "ShardedByS3Key"}
    request = server.job(
        name,
        bucket,
        program=MEETS_ITS_PEERS,
        channels=[("train", f"s3://{bucket}/shards/", sharded)],
        ResourceConfig={"InstanceCount": 2},
    )
    server.client("sagemaker").create_training_job(**request)

    description = server.end(name)

    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    assert "hello algo-2" in server.lines(name, "algo-1")
    assert "keys ['0', '2', '4']" in server.lines(name, "algo-1")
    assert "keys ['1', '3']" in server.lines(name, "algo-2")
    assert server.model(description) == {
        "algo-1": b"algo-1",
        "algo-2": b"algo-2",
    }


def test_nothing_of_an_instance_is_left_when_its_job_has_ended(server, completed):
    _, description = completed
    instances = server.home / "instances"
    wait(
        lambda: [entry.name for entry in instances.iterdir()],
        until=lambda names: not any(name.startswith(description["TrainingJobName"]) for name in names),
    )


def wait_for_line(server, name, line):
    wait(lambda: server.lines(name), until=lambda lines: line in lines)
